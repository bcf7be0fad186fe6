import { IpsecDir, PfkeyExt, PfkeyMsg } from '../../../pfkey/index.ts';
import { XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import { Km, Move } from '../facts.ts';
import { announcePolicyDeleted, announcePolicyFlush } from '../key-managers.ts';
import type { Policy as PolicyEntry } from '../policy.ts';
import { deletePolicy } from '../policy-timer.ts';
import { migrate } from '../requests/migrate.ts';
import { flushPolicies, putPolicy } from '../requests/policy.ts';
import { DIRECTIONS, policyKey } from '../spd.ts';
import { netlinkRequest } from './as-netlink.ts';
import { KmAddress, Policy, Rule, xfrmModeOf } from './layout.ts';
import { policyRequest, selectorOf } from './policy-request.ts';
import type { PfkeyRequest } from './request.ts';
import { reply, replyBare } from './sa-requests.ts';
import { writePolicyMessage } from './write-policy.ts';

/** X_SPD* and X_MIGRATE (af_key.c). Policies of type "sub" are not PF_KEY's affair. */

const MAIN = 0;
const DIR_MASK = 7;

/** X_SPDADD, X_SPDSETIDX, X_SPDUPDATE. */
export function addPolicy(r: PfkeyRequest): number {
  const netlink = policyRequest(r);
  return typeof netlink === 'number' ? netlink : putPolicy(netlink);
}

/** X_SPDDELETE, by selector. */
export function deleteBySelector(r: PfkeyRequest): number {
  const { ns } = r;
  const at = r.at(PfkeyExt.policy);
  if (!r.hasAddresses() || at < 0) return Errno.EINVAL;
  const dir = r.u8(at + Policy.DIR);
  if (dir === 0 || dir > IpsecDir.FWD) return Errno.EINVAL;
  const policy = ns.spd.byKey(policyKey(selectorOf(r), dir - 1, MAIN, 0, 0, 0));
  if (policy === undefined) return Errno.ENOENT;
  deletePolicy(ns, policy);
  announcePolicyDeleted(ns, policy, false, r.seq, r.pid);
  return 0;
}

/** The policy of the index that a request names, which says its direction; or a positive errno. */
function byIndex(r: PfkeyRequest): PolicyEntry | number {
  const at = r.at(PfkeyExt.policy);
  if (at < 0) return Errno.EINVAL;
  const index = r.u32(at + Policy.ID);
  if ((index & DIR_MASK) >= DIRECTIONS) return Errno.EINVAL;
  const policy = r.ns.spd.byIndex(index);
  if (policy === undefined || policy.type !== MAIN || policy.ifId !== 0) return Errno.ENOENT;
  return policy.mark === 0 && policy.markMask === 0 ? policy : Errno.ENOENT;
}

/** X_SPDGET. */
export function getPolicy(r: PfkeyRequest): number {
  const policy = byIndex(r);
  if (typeof policy === 'number') return policy;
  if (!writePolicyMessage(r.ns, policy, PfkeyMsg.X_SPDGET, r.seq, r.pid, { others: 1 })) return Errno.EINVAL;
  reply(r);
  return 0;
}

/** X_SPDDELETE2, by index. */
export function deleteByIndex(r: PfkeyRequest): number {
  const policy = byIndex(r);
  if (typeof policy === 'number') return policy;
  deletePolicy(r.ns, policy);
  announcePolicyDeleted(r.ns, policy, true, r.seq, r.pid);
  return 0;
}

/** As with SAs, the sender gets an answer of its own beside the event. */
export function flush(r: PfkeyRequest): number {
  const deleted = flushPolicies(r.ns, MAIN);
  replyBare(r);
  if (deleted > 0) announcePolicyFlush(r.ns, MAIN, r.seq, r.pid);
  return 0;
}

const XFRMA_MIGRATE = 17;
const XFRMA_KMADDRESS = 19;
const MOVES_MAX = 6;
/** Byte offsets in xfrm_userpolicy_id. */
const Id = { DIR: 60, SIZE: 64 } as const;

/** X_MIGRATE: pairs of rules, the first with the old ends and the second with the new ones. */
export function migrateSas(r: PfkeyRequest): number {
  const at = r.at(PfkeyExt.policy);
  if (!r.hasAddresses() || at < 0) return Errno.EINVAL;
  const dir = r.u8(at + Policy.DIR);
  if (dir > IpsecDir.FWD) return Errno.EINVAL;
  const kmAddress = kmAddressOf(r);
  const moves = movesOf(r, at);
  if (kmAddress === null || moves === undefined) return Errno.EINVAL;
  const netlink = netlinkRequest(r.ns, XfrmMsg.MIGRATE, Id.SIZE, r, (writer, body) => {
    writer.bytes.set(selectorOf(r), body);
    writer.bytes[body + Id.DIR] = dir - 1;
    if (kmAddress !== undefined) writer.copy(XFRMA_KMADDRESS, kmAddress);
    writer.copy(XFRMA_MIGRATE, Uint8Array.from(Buffer.concat(moves)));
  });
  return migrate(netlink);
}

/** xfrm_user_kmaddress; undefined: there is none, null: it makes no sense. */
function kmAddressOf(r: PfkeyRequest): Uint8Array | undefined | null {
  const at = r.at(PfkeyExt.kmaddress);
  if (at < 0) return undefined;
  const pair = r.pairAt(at + KmAddress.SIZE, at + r.lengthAt(at));
  if (pair === undefined) return null;
  const address = new Uint8Array(Km.SIZE);
  address.set(pair.first, Km.LOCAL);
  address.set(pair.second, Km.REMOTE);
  address.set(r.bytes.subarray(at + KmAddress.RESERVED, at + KmAddress.RESERVED + 4), Km.RESERVED);
  address.set(new Uint8Array(Uint16Array.of(pair.family).buffer), Km.FAMILY);
  return address;
}

/** xfrm_user_migrate of each pair of rules; undefined: they make no sense. */
function movesOf(r: PfkeyRequest, policy: number): Uint8Array[] | undefined {
  const moves: Uint8Array[] = [];
  const end = policy + r.lengthAt(policy);
  for (let at = policy + Policy.SIZE; at < end; ) {
    const first = ruleLength(r, at, end);
    const second = first === 0 ? 0 : ruleLength(r, at + first, end);
    if (second === 0 || moves.length === MOVES_MAX) return undefined;
    const move = moveOf(r, at, at + first, at + first + second);
    if (move === undefined) return undefined;
    moves.push(move);
    at += first + second;
  }
  return moves.length === 0 ? undefined : moves;
}

/** 0: there is no rule. */
function ruleLength(r: PfkeyRequest, at: number, end: number): number {
  if (end - at < Rule.SIZE) return 0;
  const length = r.u16(at + Rule.LEN);
  return length < Rule.SIZE || length > end - at ? 0 : length;
}

function moveOf(r: PfkeyRequest, first: number, second: number, end: number): Uint8Array | undefined {
  const from = r.pairAt(first + Rule.SIZE, second);
  const to = r.pairAt(second + Rule.SIZE, end);
  const mode = xfrmModeOf(r.u8(first + Rule.MODE));
  if (from === undefined || to === undefined || mode < 0) return undefined;
  const same = (at: number, length: number): boolean =>
    r.bytes.subarray(first + at, first + at + length).every((byte, i) => byte === r.bytes[second + at + i]);
  if (!same(Rule.PROTO, 3) || !same(Rule.REQID, 4)) return undefined;
  const move = new Uint8Array(Move.SIZE);
  move.set(from.first, Move.OLD_SADDR);
  move.set(from.second, Move.OLD_DADDR);
  move.set(to.first, Move.NEW_SADDR);
  move.set(to.second, Move.NEW_DADDR);
  move[Move.PROTO] = r.u16(first + Rule.PROTO);
  move[Move.MODE] = mode;
  move.set(r.bytes.subarray(first + Rule.REQID, first + Rule.REQID + 4), Move.REQID);
  move.set(new Uint8Array(Uint16Array.of(from.family).buffer), Move.OLD_FAMILY);
  move.set(new Uint8Array(Uint16Array.of(to.family).buffer), Move.NEW_FAMILY);
  return move;
}
