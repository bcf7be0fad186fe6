import { hostLittleEndian } from '../../netlink/index.ts';
import { XfrmGroup, XfrmMsg } from '../../xfrm/index.ts';
import type { AcquireFacts, MigrateFacts, NewMapping } from './facts.ts';
import type { Namespace } from './namespace.ts';
import type { Policy } from './policy.ts';
import { Pol, Tmpl } from './requests/policy-construct.ts';
import { InfoByte, Row } from './row.ts';
import { Sel } from './selector.ts';
import { POLICY_INFO, writePolicy, writePolicyExtras, writePolicyType } from './write-policy.ts';
import { copyInfo, writeCpuAndDir, writeExtras, writeMark, writeSa } from './write-sa.ts';

/** Netlink as a key manager: what its multicast groups are told (xfrm_user.c: netlink_mgr and its functions). */

const little = hostLittleEndian;
const XFRMA_ENCAP = 4;
const XFRMA_SA = 6;
const XFRMA_POLICY = 7;
const XFRMA_MIGRATE = 17;
const XFRMA_KMADDRESS = 19;
const XFRMA_IF_ID = 31;
const OUT = 1;

/** Byte offsets in xfrm_usersa_id. */
const SaId = { FAMILY: 20, PROTO: 22, SIZE: 24 } as const;
const EXPIRE_SIZE = 232;

/** NEWSA or UPDSA: shows the SA as it was asked for. */
export function sendSa(ns: Namespace, slot: number, type: number, seq: number, pid: number): void {
  ns.host.writer.reset();
  writeSa(ns, slot, type, 0, seq, pid);
  ns.multicast(XfrmGroup.SA);
}

/** Writes address, SPI, family and protocol of an SA as xfrm_usersa_id. */
function writeSaId({ sad, host: { writer } }: Namespace, slot: number, at: number): void {
  const base = 4 * sad.row(slot);
  writer.bytes.set(sad.bytes.subarray(base + InfoByte.DADDR, base + InfoByte.DADDR + SaId.FAMILY), at);
  writer.bytes.set(sad.bytes.subarray(base + InfoByte.FAMILY, base + InfoByte.FAMILY + 2), at + SaId.FAMILY);
  writer.bytes[at + SaId.PROTO] = sad.proto(slot);
}

export function sendSaDeleted(ns: Namespace, slot: number, seq: number, pid: number): void {
  const { writer } = ns.host;
  writeSaId(ns, slot, writer.reset().begin(XfrmMsg.DELSA, 0, seq, pid, SaId.SIZE));
  copyInfo(ns, slot, writer.attribute(XFRMA_SA, InfoByte.SIZE));
  writeExtras(ns, slot);
  writer.end();
  ns.multicast(XfrmGroup.SA);
}

export function sendSaFlush(ns: Namespace, proto: number, seq: number, pid: number): void {
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.FLUSHSA, 0, seq, pid, 1);
  writer.bytes[at] = proto;
  writer.end();
  ns.multicast(XfrmGroup.SA);
}

export function sendExpire(ns: Namespace, slot: number, hard: boolean, pid: number): void {
  const { sad, host } = ns;
  const { writer } = host;
  const row = sad.row(slot);
  const { words } = sad;
  const at = writer.reset().begin(XfrmMsg.EXPIRE, 0, 0, pid, EXPIRE_SIZE);
  copyInfo(ns, slot, at);
  writer.bytes[at + InfoByte.SIZE] = hard ? 1 : 0;
  writeMark(writer, words[row + Row.MARK] as number, words[row + Row.MARK_MASK] as number);
  const ifId = words[row + Row.IF_ID] as number;
  if (ifId !== 0) writer.u32(XFRMA_IF_ID, ifId);
  writeCpuAndDir(ns, slot);
  writer.end();
  ns.multicast(XfrmGroup.EXPIRE);
}

/** Byte offsets in xfrm_user_acquire. */
const Acq = { SADDR: 24, SEL: 40, POLICY: 96, AALGOS: 264, SEQ: 276, SIZE: 280 } as const;
/** Bytes of the three sets of algorithms. */
const ALGOS = 12;

/** ACQUIRE under the machine's number. False: nobody on the machine listens. */
export function sendAcquire(ns: Namespace, { id, saddr, selector, policy, template }: AcquireFacts): boolean {
  const { writer } = ns.host;
  const to = writer.reset().begin(XfrmMsg.ACQUIRE, 0, 0, 0, Acq.SIZE);
  writer.bytes.set(id, to);
  writer.bytes.set(saddr, to + Acq.SADDR);
  writer.bytes.set(selector, to + Acq.SEL);
  writer.bytes.set(policy.info, to + Acq.POLICY);
  writer.bytes[to + Acq.POLICY + Pol.DIR] = OUT;
  const algorithms = template + Tmpl.AALGOS;
  writer.bytes.set(policy.templates.subarray(algorithms, algorithms + ALGOS), to + Acq.AALGOS);
  writer.view.setUint32(to + Acq.SEQ, ns.host.acquireSeq, little);
  writePolicyExtras(ns, policy);
  writer.end();
  return ns.multicast(XfrmGroup.ACQUIRE);
}

/** Byte offsets in xfrm_user_mapping. */
const Mapping = { REQID: 24, OLD_SADDR: 28, NEW_SADDR: 44, OLD_SPORT: 60, NEW_SPORT: 62, SIZE: 64 } as const;

export function sendMapping(ns: Namespace, slot: number, { saddr, oldPort, port }: NewMapping): void {
  const { sad, host } = ns;
  const { writer } = host;
  const row = sad.row(slot);
  const base = 4 * row;
  const at = writer.reset().begin(XfrmMsg.MAPPING, 0, 0, 0, Mapping.SIZE);
  writeSaId(ns, slot, at);
  writer.words(at + Mapping.REQID, sad.words, row + Row.REQID, 1);
  const old = sad.bytes.subarray(base + InfoByte.SADDR, base + InfoByte.SADDR + 16);
  writer.bytes.set(old, at + Mapping.OLD_SADDR);
  writer.bytes.set(saddr, at + Mapping.NEW_SADDR);
  writer.view.setUint16(at + Mapping.OLD_SPORT, oldPort);
  writer.view.setUint16(at + Mapping.NEW_SPORT, port);
  writer.end();
  ns.multicast(XfrmGroup.MAPPING);
}

/** NEWPOLICY or UPDPOLICY. */
export function sendPolicy(ns: Namespace, policy: Policy, type: number, seq: number, pid: number): void {
  ns.host.writer.reset();
  writePolicy(ns, policy, type, 0, seq, pid);
  ns.multicast(XfrmGroup.POLICY);
}

/** Byte offsets in xfrm_userpolicy_id. */
const PolicyId = { INDEX: 56, DIR: 60, SIZE: 64 } as const;

/** DELPOLICY names the policy by what it was deleted by. */
export function sendPolicyDeleted(ns: Namespace, policy: Policy, byIndex: boolean, seq: number, pid: number): void {
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.DELPOLICY, 0, seq, pid, PolicyId.SIZE);
  if (byIndex) writer.bytes.set(policy.info.subarray(Pol.INDEX, Pol.INDEX + 4), at + PolicyId.INDEX);
  else writer.bytes.set(policy.info.subarray(0, Sel.SIZE), at);
  writer.bytes[at + PolicyId.DIR] = policy.dir;
  writer.copy(XFRMA_POLICY, policy.info);
  writePolicyExtras(ns, policy);
  writer.end();
  ns.multicast(XfrmGroup.POLICY);
}

export function sendPolicyFlush(ns: Namespace, type: number, seq: number, pid: number): void {
  const { writer } = ns.host;
  writer.reset().begin(XfrmMsg.FLUSHPOLICY, 0, seq, pid, 0);
  writePolicyType(ns, type);
  writer.end();
  ns.multicast(XfrmGroup.POLICY);
}

export function sendPolicyExpire(ns: Namespace, policy: Policy, hard: boolean, pid: number): void {
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.POLEXPIRE, 0, 0, pid, POLICY_INFO + 8);
  writer.bytes.set(policy.info, at);
  writer.bytes[at + POLICY_INFO] = hard ? 1 : 0;
  writePolicyExtras(ns, policy);
  writer.end();
  ns.multicast(XfrmGroup.EXPIRE);
}

/** Byte offsets in xfrm_user_migrate. */
const Move = { RESERVED: 66, REQID: 68, SIZE: 76 } as const;

export function sendMigrate(ns: Namespace, { selector, dir, type, moves, kmAddress, encap }: MigrateFacts): void {
  const { writer } = ns.host;
  const at = writer.reset().begin(XfrmMsg.MIGRATE, 0, 0, 0, PolicyId.SIZE);
  writer.bytes.set(selector, at);
  writer.bytes[at + PolicyId.DIR] = dir;
  if (kmAddress !== undefined) writer.copy(XFRMA_KMADDRESS, kmAddress);
  if (encap !== undefined) writer.copy(XFRMA_ENCAP, encap);
  writePolicyType(ns, type);
  for (const bytes of moves) {
    const place = writer.attribute(XFRMA_MIGRATE, Move.SIZE);
    writer.bytes.set(bytes, place);
    writer.bytes.fill(0, place + Move.RESERVED, place + Move.REQID);
  }
  writer.end();
  ns.multicast(XfrmGroup.MIGRATE);
}
