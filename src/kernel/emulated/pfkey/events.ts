import { IpsecLevel, IpsecPolicy, PfkeyExt, PfkeyMsg, SaType } from '../../../pfkey/index.ts';
import { IpProto, XfrmMsg } from '../../../xfrm/index.ts';
import { type AcquireFacts, Km, type MigrateFacts, Move, type NewMapping } from '../facts.ts';
import type { Namespace } from '../namespace.ts';
import type { Policy as PolicyEntry } from '../policy.ts';
import { Tmpl } from '../requests/policy-construct.ts';
import { InfoByte, Row } from '../row.ts';
import { halfAt, Sel, wordAt } from '../selector.ts';
import { authById, encryptById, type PfkeyAlgorithm } from './algorithms.ts';
import {
  Comb,
  Ext,
  ipsecModeOf,
  KmAddress,
  Policy,
  Prop,
  pairSize,
  Rule,
  Sa,
  satypeOf,
  sockaddrOf,
  WORD,
} from './layout.ts';
import type { Audience } from './sockets.ts';
import { writePolicyMessage } from './write-policy.ts';
import { writePort, writeSaMessage } from './write-sa.ts';

/** PF_KEY as a key manager: what its sockets are told of what happens (af_key.c: pfkeyv2_mgr and its functions). */

const MAIN = 0;
const DIR_OUT = 2;

function broadcast(ns: Namespace, audience: Audience): boolean {
  const { pfkeyWriter } = ns.host;
  // Nobody can make a copy.
  if (ns.host.memoryPressure) return false;
  return ns.pfkey.broadcast(pfkeyWriter.bytes, pfkeyWriter.at, audience);
}

/** Netlink's types of SA events, as PF_KEY calls them. */
const saTypes: Readonly<Record<number, number>> = {
  [XfrmMsg.NEWSA]: PfkeyMsg.ADD,
  [XfrmMsg.UPDSA]: PfkeyMsg.UPDATE,
  [XfrmMsg.DELSA]: PfkeyMsg.DELETE,
};

/** `type`: NEWSA, UPDSA or DELSA. */
export function sendSa(ns: Namespace, slot: number, type: number, seq: number, pid: number): void {
  if (ns.pfkey.isEmpty) return;
  if (writeSaMessage(ns, slot, saTypes[type] as number, seq, pid)) broadcast(ns, 'all');
}

export function sendSaFlush(ns: Namespace, proto: number, seq: number, pid: number): void {
  if (ns.pfkey.isEmpty) return;
  const { pfkeyWriter: writer } = ns.host;
  writer.begin(PfkeyMsg.FLUSH, satypeOf(proto), seq, pid);
  writer.end();
  broadcast(ns, 'all');
}

export function sendExpire(ns: Namespace, slot: number, hard: boolean): void {
  if (ns.pfkey.isEmpty) return;
  const parts = { hard, soft: !hard, keys: false };
  if (writeSaMessage(ns, slot, PfkeyMsg.EXPIRE, 0, 0, parts)) broadcast(ns, 'registered');
}

/** ACQUIRE under the machine's number, with the combinations of algorithms that the template allows. False: nobody was there for it. */
export function sendAcquire(ns: Namespace, facts: AcquireFacts): boolean {
  const { host } = ns;
  const { pfkeyWriter: writer } = host;
  const { family, proto, id, saddr, policy, template } = facts;
  if (ns.pfkey.isEmpty || sockaddrOf(family) === undefined) return false;
  writer.begin(PfkeyMsg.ACQUIRE, satypeOf(proto), host.acquireSeq, 0);
  writer.address(PfkeyExt.addressSrc, family, saddr);
  writer.address(PfkeyExt.addressDst, family, id);
  const at = writer.extension(PfkeyExt.policy, Policy.SIZE);
  writer.u16(at + Policy.TYPE, IpsecPolicy.IPSEC);
  writer.bytes[at + Policy.DIR] = DIR_OUT;
  writer.u32(at + Policy.ID, policy.index);
  writer.u32(at + Policy.PRIORITY, policy.priority);
  if (proto === IpProto.AH || proto === IpProto.ESP) writeProposal(ns, policy, template, proto === IpProto.ESP);
  writer.end();
  return broadcast(ns, 'registered');
}

const HOUR = 3600;
const COMBINATION_WINDOW = 32;

function writeProposal({ host }: Namespace, { templates }: PolicyEntry, template: number, isEsp: boolean): void {
  const { pfkeyWriter: writer } = host;
  const allowed = (list: readonly PfkeyAlgorithm[], at: number): PfkeyAlgorithm[] => {
    const bits = wordAt(templates, template + at);
    return list.filter(({ id }) => id < 32 && ((bits >>> id) & 1) === 1);
  };
  const auth = allowed(authById, Tmpl.AALGOS);
  const encrypt = isEsp ? allowed(encryptById, Tmpl.AALGOS + 4) : [undefined];
  const at = writer.extension(PfkeyExt.proposal, Prop.SIZE);
  writer.bytes[at + Prop.REPLAY] = COMBINATION_WINDOW;
  for (const cipher of encrypt) {
    for (const signer of auth) {
      const comb = writer.take(Comb.SIZE);
      writer.bytes[comb + Comb.AUTH] = signer.id;
      writer.u16(comb + Comb.AUTH_MINBITS, signer.minBits);
      writer.u16(comb + Comb.AUTH_MAXBITS, signer.maxBits);
      if (cipher !== undefined) {
        writer.bytes[comb + Comb.ENCRYPT] = cipher.id;
        writer.u16(comb + Comb.ENCRYPT_MINBITS, cipher.minBits);
        writer.u16(comb + Comb.ENCRYPT_MAXBITS, cipher.maxBits);
      }
      writer.u64(comb + Comb.HARD_ADDTIME, 24 * HOUR);
      writer.u64(comb + Comb.SOFT_ADDTIME, 20 * HOUR);
      writer.u64(comb + Comb.HARD_USETIME, 8 * HOUR);
      writer.u64(comb + Comb.SOFT_USETIME, 7 * HOUR);
    }
  }
  writer.u16(at + Ext.LEN, (writer.at - at) / WORD);
}

/** X_NAT_T_NEW_MAPPING, of ESP alone. */
export function sendMapping(ns: Namespace, slot: number, { saddr, oldPort, port }: NewMapping): void {
  const { sad, host } = ns;
  const { pfkeyWriter: writer } = host;
  if (ns.pfkey.isEmpty || sad.proto(slot) !== IpProto.ESP) return;
  const family = sad.family(slot);
  const row = sad.row(slot);
  const base = 4 * row + InfoByte.SADDR;
  writer.begin(PfkeyMsg.X_NAT_T_NEW_MAPPING, SaType.ESP, sad.words[row + Row.ACQ_SEQ] as number, 0);
  writer.words(writer.extension(PfkeyExt.sa, Sa.SIZE) + Sa.SPI, sad.words, row + Row.SPI, 1);
  writer.address(PfkeyExt.addressSrc, family, sad.bytes.subarray(base, base + 16));
  writePort(writer, PfkeyExt.natTSport, oldPort);
  writer.address(PfkeyExt.addressDst, family, saddr);
  writePort(writer, PfkeyExt.natTDport, port);
  writer.end();
  broadcast(ns, 'registered');
}

/** X_SPDADD or X_SPDUPDATE. */
export function sendPolicy(ns: Namespace, policy: PolicyEntry, type: number, seq: number, pid: number): void {
  if (ns.pfkey.isEmpty || policy.type !== MAIN) return;
  const kind = type === XfrmMsg.NEWPOLICY ? PfkeyMsg.X_SPDADD : PfkeyMsg.X_SPDUPDATE;
  if (writePolicyMessage(ns, policy, kind, seq, pid, { others: 1 })) broadcast(ns, 'all');
}

export function sendPolicyDeleted(
  ns: Namespace,
  policy: PolicyEntry,
  byIndex: boolean,
  seq: number,
  pid: number,
): void {
  if (ns.pfkey.isEmpty || policy.type !== MAIN) return;
  const kind = byIndex ? PfkeyMsg.X_SPDDELETE2 : PfkeyMsg.X_SPDDELETE;
  if (writePolicyMessage(ns, policy, kind, seq, pid, { others: 1, isDeleted: true })) broadcast(ns, 'all');
}

export function sendPolicyFlush(ns: Namespace, type: number, seq: number, pid: number): void {
  if (ns.pfkey.isEmpty || type !== MAIN) return;
  const { pfkeyWriter: writer } = ns.host;
  writer.begin(PfkeyMsg.X_SPDFLUSH, 0, seq, pid);
  writer.end();
  broadcast(ns, 'all');
}

/** X_MIGRATE. Nothing is sent where PF_KEY has no words for a family or a mode. */
export function sendMigrate(ns: Namespace, { selector, dir, type, moves, kmAddress }: MigrateFacts): void {
  if (ns.pfkey.isEmpty || type !== MAIN) return;
  const { pfkeyWriter: writer } = ns.host;
  const family = halfAt(selector, Sel.FAMILY);
  const known = (move: Uint8Array): boolean =>
    ipsecModeOf(move[Move.MODE] as number) >= 0 &&
    sockaddrOf(halfAt(move, Move.OLD_FAMILY)) !== undefined &&
    sockaddrOf(halfAt(move, Move.NEW_FAMILY)) !== undefined;
  if (sockaddrOf(family) === undefined || !moves.every(known)) return;
  writer.begin(PfkeyMsg.X_MIGRATE, satypeOf(moves[0]?.[Move.PROTO] ?? 0), 0, 0);
  if (kmAddress !== undefined) {
    const own = halfAt(kmAddress, Km.FAMILY);
    if (sockaddrOf(own) === undefined) return;
    const at = writer.extension(PfkeyExt.kmaddress, KmAddress.SIZE + pairSize(own));
    writer.bytes.set(kmAddress.subarray(Km.RESERVED, Km.RESERVED + 4), at + KmAddress.RESERVED);
    writePair(ns, at + KmAddress.SIZE, own, kmAddress.subarray(Km.LOCAL), kmAddress.subarray(Km.REMOTE));
  }
  const proto = selector[Sel.PROTO] as number;
  const prefix = (at: number): { proto: number; prefixlen: number } => ({ proto, prefixlen: selector[at] as number });
  writer.address(PfkeyExt.addressSrc, family, selector.subarray(Sel.SADDR), prefix(Sel.PREFIX_S));
  writer.address(PfkeyExt.addressDst, family, selector.subarray(Sel.DADDR), prefix(Sel.PREFIX_D));
  const at = writer.extension(PfkeyExt.policy, Policy.SIZE);
  writer.u16(at + Policy.TYPE, IpsecPolicy.IPSEC);
  writer.bytes[at + Policy.DIR] = dir + 1;
  for (const move of moves) {
    writeMoveRule(ns, move, Move.OLD_FAMILY, Move.OLD_SADDR, Move.OLD_DADDR);
    writeMoveRule(ns, move, Move.NEW_FAMILY, Move.NEW_SADDR, Move.NEW_DADDR);
  }
  writer.u16(at + Ext.LEN, (writer.at - at) / WORD);
  writer.end();
  broadcast(ns, 'all');
}

function writeMoveRule(ns: Namespace, move: Uint8Array, family: number, saddr: number, daddr: number): void {
  const { pfkeyWriter: writer } = ns.host;
  const own = halfAt(move, family);
  const size = Rule.SIZE + pairSize(own);
  const at = writer.take(size);
  const reqid = wordAt(move, Move.REQID);
  writer.u16(at + Rule.LEN, size);
  writer.u16(at + Rule.PROTO, move[Move.PROTO] as number);
  writer.bytes[at + Rule.MODE] = ipsecModeOf(move[Move.MODE] as number);
  writer.bytes[at + Rule.LEVEL] = reqid === 0 ? IpsecLevel.REQUIRE : IpsecLevel.UNIQUE;
  writer.u32(at + Rule.REQID, reqid);
  writePair(ns, at + Rule.SIZE, own, move.subarray(saddr), move.subarray(daddr));
}

/** Two sockaddrs one behind the other. */
function writePair({ host }: Namespace, at: number, family: number, first: Uint8Array, second: Uint8Array): void {
  host.pfkeyWriter.sockaddr(at, family, first);
  host.pfkeyWriter.sockaddr(at + (sockaddrOf(family)?.SIZE ?? 0), family, second);
}
