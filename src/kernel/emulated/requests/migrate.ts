import { hostLittleEndian } from '../../../netlink/index.ts';
import { AddressFamily, EncapType, IpProto, XfrmMode } from '../../../xfrm/index.ts';
import { MessageWriter } from '../build.ts';
import { encodedAttribute } from '../encoded.ts';
import { Errno } from '../errno.ts';
import { Km, Move } from '../facts.ts';
import { announceMigrate } from '../key-managers.ts';
import { deleteSa } from '../lifetime.ts';
import type { Namespace } from '../namespace.ts';
import type { Policy } from '../policy.ts';
import type { Request } from '../request.ts';
import { InfoByte, Row, SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { type Flow, halfAt, Sel } from '../selector.ts';
import { DIRECTIONS } from '../spd.ts';
import { checkType, policyType, Tmpl } from './policy-construct.ts';
import { addSa, insertSa } from './sa.ts';
import { A } from './sa-check.ts';
import { without } from './sa-update.ts';

/** MIGRATE: SAs and templates of a policy move to other addresses (xfrm_user.c:xfrm_do_migrate, xfrm_policy.c:xfrm_migrate). */

const little = hostLittleEndian;
const MIGRATE = 17;
const KMADDRESS = 19;
const ENTRIES_MAX = 6;
const DIR = 60;
/** Bytes of xfrm_encap_tmpl. */
const ENCAP_SIZE = 24;
/** Two bytes of it that nobody sets. */
const ENCAP_PAD = 6;
/** What an SA shows behind its encapsulation. */
const behindEncap = [A.TFCPAD, A.MARK, A.SET_MARK] as const;
const NLA_HEADER = 4;
const scratch = new MessageWriter(false);

interface Entry {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function migrate(r: Request): number {
  const { ns, attributes } = r;
  if (!attributes.has(MIGRATE)) return r.failSince62(Errno.EINVAL, 'Missing required MIGRATE attribute');
  const wrong = checkType(r);
  if (wrong !== 0) return wrong;
  const count = Math.floor(attributes.length(MIGRATE) / Move.SIZE);
  if (count < 1 || count > ENTRIES_MAX) {
    return r.failSince62(Errno.EINVAL, 'Invalid number of SAs to migrate, must be 0 < num <= XFRM_MAX_DEPTH (6)');
  }
  const moves = readMoves(attributes.payload(MIGRATE), count);
  const fault = faultOf(moves);
  if (fault !== undefined) return r.failSince62(Errno.EINVAL, fault);
  const dir = r.u8(DIR);
  if (dir >= DIRECTIONS) return r.failSince62(Errno.EINVAL, 'Invalid policy direction');
  const { migrateByFlow } = ns.host.profile;
  const policy = migrateByFlow ? findPolicyByFlow(r, dir) : findPolicy(r, dir);
  if (policy === undefined) {
    const family = r.u16(Sel.FAMILY);
    const isStrange = migrateByFlow && family !== AddressFamily.INET && family !== AddressFamily.INET6;
    return r.failSince62(isStrange ? Errno.EAFNOSUPPORT : Errno.ENOENT, 'Target policy not found');
  }

  const made: number[] = [];
  const replaced = new Set<number>();
  const undo = (): number => {
    for (const slot of made) deleteSa(ns, slot);
    return Errno.ENODATA;
  };
  for (const move of moves) {
    const slot = findSa(ns, move, attributes.u32(A.IF_ID));
    if (slot === NO_SLOT) continue;
    const clone = moveSa(r, slot, move);
    if (clone === NO_SLOT) return undo();
    made.push(clone);
    replaced.add(slot);
  }
  if (!moveTemplates(policy, moves)) return undo();
  for (const slot of replaced) deleteSa(ns, slot);
  const kmAddress = attributes.has(KMADDRESS) ? attributes.payload(KMADDRESS).subarray(0, Km.SIZE) : undefined;
  announceMigrate(ns, {
    selector: r.slice(0, Sel.SIZE),
    dir,
    type: policyType(r),
    moves: moves.map(({ bytes }) => bytes),
    kmAddress,
    encap: attributes.has(A.ENCAP) ? attributes.payload(A.ENCAP).subarray(0, ENCAP_SIZE) : undefined,
  });
  return 0;
}

/** Any protocol, in the selector of a MIGRATE (IPSEC_ULPROTO_ANY). */
const PROTO_ANY = 255;

/** Whatever its mark; an if_id counts if it is given (xfrm_policy.c:xfrm_migrate_policy_find). */
function findPolicy(r: Request, dir: number): Policy | undefined {
  const selector = r.slice(0, Sel.SIZE);
  const ifId = r.attributes.u32(A.IF_ID);
  const size = sizeOf(r.u16(Sel.FAMILY));
  const same = ({ info }: Policy, at: number, length: number): boolean => equal(info, at, selector, at, length);
  const matches = (policy: Policy): boolean => {
    if (ifId !== 0 && policy.ifId !== ifId) return false;
    if (selector[Sel.PROTO] !== PROTO_ANY) return same(policy, 0, Sel.SIZE);
    return same(policy, Sel.FAMILY, 4) && same(policy, Sel.DADDR, size) && same(policy, Sel.SADDR, size);
  };
  let best: Policy | undefined;
  for (let policy = r.ns.spd.newest; policy !== undefined; policy = policy.older) {
    if (policy.dir !== dir || policy.type !== policyType(r) || !matches(policy)) continue;
    if (best === undefined || policy.priority <= best.priority) best = policy;
  }
  return best;
}

/** As for a packet without a mark between the selector's addresses (6.12). */
function findPolicyByFlow(r: Request, dir: number): Policy | undefined {
  const flow: Flow = {
    family: r.u16(Sel.FAMILY),
    saddr: r.slice(Sel.SADDR, 16),
    daddr: r.slice(Sel.DADDR, 16),
    proto: r.u8(Sel.PROTO),
    sport: r.view.getUint16(r.body + Sel.SPORT),
    dport: r.view.getUint16(r.body + Sel.DPORT),
    ifindex: r.u32(Sel.IFINDEX),
  };
  return r.ns.spd.lookup(dir, flow, 0, r.attributes.u32(A.IF_ID), policyType(r));
}

function readMoves(payload: Uint8Array, count: number): Entry[] {
  return Array.from({ length: count }, (_, i) => {
    const bytes = payload.slice(i * Move.SIZE, (i + 1) * Move.SIZE);
    return { bytes, view: new DataView(bytes.buffer) };
  });
}

/** Bytes of an address that count in a comparison (net/xfrm.h:xfrm_addr_equal). */
const sizeOf = (family: number): number => (family === AddressFamily.INET6 ? 16 : 4);

/** Of a family that the kernel does not know no address is empty (net/xfrm.h:xfrm_addr_any). */
function isAny(bytes: Uint8Array, at: number, family: number): boolean {
  if (family !== AddressFamily.INET && family !== AddressFamily.INET6) return false;
  return bytes.subarray(at, at + sizeOf(family)).every((byte) => byte === 0);
}

function equal(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

const NULL_ADDRESS = "Addresses in the MIGRATE attribute's list cannot be null";
const NOT_UNIQUE = "Entries in the MIGRATE attribute's list must be unique";

/** What is wrong: a new address is empty, or two entries speak of the same SA (xfrm_policy.c:xfrm_migrate_check). */
function faultOf(moves: readonly Entry[]): string | undefined {
  for (const [i, { bytes, view }] of moves.entries()) {
    const family = view.getUint16(Move.NEW_FAMILY, little);
    if (isAny(bytes, Move.NEW_DADDR, family) || isAny(bytes, Move.NEW_SADDR, family)) return NULL_ADDRESS;
    const same = (other: Entry): boolean =>
      equal(bytes, 0, other.bytes, 0, 32) &&
      equal(bytes, Move.PROTO, other.bytes, Move.PROTO, Move.NEW_FAMILY - Move.PROTO);
    if (moves.slice(i + 1).some(same)) return NOT_UNIQUE;
  }
  return undefined;
}

/** One SA for an entry (xfrm_state.c:xfrm_migrate_state_find). */
function findSa({ sad }: Namespace, { bytes, view }: Entry, ifId: number): number {
  const family = view.getUint16(Move.OLD_FAMILY, little);
  const reqid = view.getUint32(Move.REQID, little);
  const size = sizeOf(family);
  for (let slot = sad.newest(); slot >= 0; slot = sad.older(slot)) {
    const base = 4 * sad.row(slot);
    if (sad.mode(slot) !== bytes[Move.MODE] || sad.proto(slot) !== bytes[Move.PROTO] || sad.family(slot) !== family)
      continue;
    if (reqid !== 0 && sad.words[sad.row(slot) + Row.REQID] !== reqid) continue;
    if (ifId !== 0 && sad.words[sad.row(slot) + Row.IF_ID] !== ifId) continue;
    if (!equal(sad.bytes, base + InfoByte.DADDR, bytes, Move.OLD_DADDR, size)) continue;
    if (equal(sad.bytes, base + InfoByte.SADDR, bytes, Move.OLD_SADDR, size)) return slot;
  }
  return NO_SLOT;
}

/**
 * Puts a clone with the new addresses into the database (xfrm_state.c:xfrm_state_migrate). NO_SLOT: its mode does not go with the new
 * family, it is a larval one, or there is an SA with the new identity.
 */
function moveSa(r: Request, slot: number, { bytes, view }: Entry): number {
  const { ns } = r;
  const { sad } = ns;
  if (!takesEncap(r, sad.proto(slot))) return NO_SLOT;
  const family = view.getUint16(Move.NEW_FAMILY, little);
  const selFamily = halfAt(sad.selector(slot), Sel.FAMILY);
  const isTunnel = sad.mode(slot) === XfrmMode.TUNNEL || sad.mode(slot) === XfrmMode.BEET;
  if (sad.state(slot) === SaState.ACQ || (family !== 2 && family !== 10)) return NO_SLOT;
  if (!isTunnel && selFamily !== 0 && selFamily !== family) return NO_SLOT;
  const clone = cloneSa(ns, slot);
  if (r.attributes.has(A.ENCAP)) setEncap(ns, clone, r.attributes.payload(A.ENCAP).subarray(0, ENCAP_SIZE));
  const to = 4 * sad.row(clone);
  const stays = equal(sad.bytes, 4 * sad.row(slot) + InfoByte.DADDR, bytes, Move.NEW_DADDR, sizeOf(family));
  sad.bytes.set(bytes.subarray(Move.NEW_DADDR, Move.NEW_DADDR + 16), to + InfoByte.DADDR);
  sad.bytes.set(bytes.subarray(Move.NEW_SADDR, Move.NEW_SADDR + 16), to + InfoByte.SADDR);
  sad.view.setUint16(to + InfoByte.FAMILY, family, little);
  if (stays) insertSa(ns, clone);
  else if (addSa(ns, clone) !== 0) {
    sad.release(clone);
    return NO_SLOT;
  }
  return clone;
}

/** Whether the ENCAP of the request, if there is one, is of a kind that an SA of this protocol can have. */
function takesEncap(r: Request, proto: number): boolean {
  const at = r.attributes.at(A.ENCAP);
  if (at < 0) return true;
  const type = r.u16(at - r.body);
  if (proto !== IpProto.ESP) return false;
  return type === EncapType.ESPINUDP || (type === EncapType.ESPINUDP_NON_IKE && r.ns.host.profile.nonIkeEncap);
}

/** Gives an SA an encapsulation, in place of the one that it has. */
function setEncap({ sad }: Namespace, slot: number, encap: Uint8Array): void {
  const { head, body, tail } = sad.attributes(slot);
  const others = without(body, [A.ENCAP]);
  const places = behindEncap.map((type) => encodedAttribute(others, type) - NLA_HEADER).filter((at) => at >= 0);
  const at = Math.min(others.length, ...places);
  scratch.reset().copy(A.ENCAP, encap);
  const encoded = scratch.bytes.slice(0, scratch.at);
  encoded.fill(0, NLA_HEADER + ENCAP_PAD, NLA_HEADER + ENCAP_PAD + 2);
  sad.setAttributes(slot, { head, body: joined(others.subarray(0, at), encoded, others.subarray(at)), tail });
}

const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

/** All that an SA is, without its place in the tables. */
function cloneSa({ sad }: Namespace, slot: number): number {
  const clone = sad.clone(slot);
  sad.words[sad.row(clone) + Row.STATE] = SaState.VALID;
  return clone;
}

/** Tunnel and BEET templates between the old addresses get the new ones. False: no template was concerned. */
function moveTemplates({ templates }: Policy, moves: readonly Entry[]): boolean {
  const view = new DataView(templates.buffer, templates.byteOffset);
  let moved = false;
  for (let at = 0; at < templates.length; at += Tmpl.SIZE) {
    for (const { bytes, view: move } of moves) {
      const size = sizeOf(move.getUint16(Move.OLD_FAMILY, little));
      const reqid = move.getUint32(Move.REQID, little);
      const mode = templates[at + Tmpl.MODE];
      if (mode !== XfrmMode.TRANSPORT && mode !== XfrmMode.TUNNEL && mode !== XfrmMode.BEET) continue;
      if (mode !== bytes[Move.MODE] || templates[at + Tmpl.PROTO] !== bytes[Move.PROTO]) continue;
      if (reqid !== 0 && view.getUint32(at + Tmpl.REQID, little) !== reqid) continue;
      const hasAddresses = mode !== XfrmMode.TRANSPORT;
      if (hasAddresses && !equal(templates, at + Tmpl.DADDR, bytes, Move.OLD_DADDR, size)) continue;
      if (hasAddresses && !equal(templates, at + Tmpl.SADDR, bytes, Move.OLD_SADDR, size)) continue;
      moved = true;
      if (!hasAddresses) continue;
      templates.set(bytes.subarray(Move.NEW_DADDR, Move.NEW_DADDR + 16), at + Tmpl.DADDR);
      templates.set(bytes.subarray(Move.NEW_SADDR, Move.NEW_SADDR + 16), at + Tmpl.SADDR);
      view.setUint16(at + Tmpl.FAMILY, move.getUint16(Move.NEW_FAMILY, little), little);
    }
  }
  return moved;
}
