import { hostLittleEndian } from '../../netlink/index.ts';
import { IpProto, SaDir, SaFlag, XfrmGroup, XfrmMode, XfrmMsg } from '../../xfrm/index.ts';
import { onCounterChange } from './aevent.ts';
import { Errno } from './errno.ts';
import { account } from './input.ts';
import { insertLarval, newLarval, showLarval } from './larval.ts';
import { checkExpire } from './lifetime.ts';
import type { Namespace } from './namespace.ts';
import { touchPolicy } from './policy-timer.ts';
import { Esn, nextEsnOseq, nextOseq } from './replay.ts';
import { Tmpl } from './requests/policy-construct.ts';
import { InfoByte, Row, RowBit, SaState } from './row.ts';
import { NO_SLOT } from './sad.ts';
import { type Flow, Sel, selectorMatches } from './selector.ts';
import type { Policy } from './spd.ts';
import { writePolicyExtras } from './write-policy.ts';

/** Outbound packets: which SA, may it, which number (xfrm_policy.c:xfrm_lookup, xfrm_output.c:xfrm_output_one). */

const little = hostLittleEndian;
const OUT = 1;
/** Types of policies. */
const MAIN = 0;
const SUB = 1;
const POLICY_BLOCK = 1;
const ACTION = 161;

/** What became of an outbound packet; one object that every call returns. */
export interface OutboundResult {
  /** The errno that the sender gets; 0 also for a packet that is dropped without a word. */
  errno: number;
  /** The SA that numbered it, or NO_SLOT: the packet went out unprotected or not at all. */
  slot: number;
  /** The number it carries, in two halves. */
  seq: number;
  seqHi: number;
  /** Whether it left the host. */
  sent: boolean;
}

const result: OutboundResult = { errno: 0, slot: NO_SLOT, seq: 0, seqHi: 0, sent: false };

function ended(errno: number): OutboundResult {
  result.errno = errno;
  result.slot = NO_SLOT;
  result.seq = 0;
  result.seqHi = 0;
  result.sent = false;
  return result;
}

function refused(ns: Namespace, stat: Parameters<Namespace['stat']>[0], errno: number): OutboundResult {
  ns.stat(stat);
  return ended(errno);
}

/** Numbers and accounts one packet on an SA. The result is valid until the next call. */
export function outputSa(ns: Namespace, slot: number, bytes: number): OutboundResult {
  const { sad } = ns;
  if (sad.state(slot) !== SaState.VALID) return refused(ns, 'XfrmOutStateInvalid', Errno.EINVAL);
  if (sad.dir(slot) === SaDir.IN) return refused(ns, 'XfrmOutStateDirError', Errno.EINVAL);
  if (!checkExpire(ns, slot)) return refused(ns, 'XfrmOutStateExpired', Errno.EINVAL);
  const proto = sad.proto(slot);
  ended(0);
  if (proto === IpProto.ESP || proto === IpProto.AH) {
    if (!takeNumber(ns, slot)) return refused(ns, 'XfrmOutStateSeqError', Errno.EOVERFLOW);
    onCounterChange(ns, slot);
  }
  account(ns, slot, bytes);
  result.slot = slot;
  result.sent = true;
  return result;
}

function takeNumber(ns: Namespace, slot: number): boolean {
  const { sad } = ns;
  const row = sad.row(slot);
  const esn = sad.esnAt(slot);
  const mayWrap = sad.has(slot, RowBit.OSEQ_MAY_WRAP);
  if (esn === 0) {
    if (!nextOseq(sad.words, row + Row.REPLAY, mayWrap)) return false;
    result.seq = sad.words[row + Row.REPLAY] as number;
    return true;
  }
  const { words } = sad.arena;
  if ((sad.flags(slot) & SaFlag.ESN) === 0) {
    if (!nextOseq(words, esn + Esn.OSEQ, mayWrap)) return false;
    result.seq = words[esn + Esn.OSEQ] as number;
    return true;
  }
  if (!nextEsnOseq(words, esn)) return false;
  result.seq = words[esn + Esn.OSEQ] as number;
  result.seqHi = words[esn + Esn.OSEQ_HI] as number;
  return true;
}

/** What the sender of a packet says of it beside the flow. */
export interface OutboundFacts {
  readonly flow: Flow;
  readonly mark: number;
  readonly ifId: number;
  /** Bytes behind the IP header, and of the whole packet: which of them counts depends on the SA's mode. */
  readonly payloadBytes: number;
  readonly packetBytes: number;
}

/** Takes an outbound packet through policies and SAs. */
export function output(ns: Namespace, facts: OutboundFacts): OutboundResult {
  const policies = outboundPolicies(ns, facts);
  if (policies.length === 0) {
    if (ns.spd.defaults[OUT] === POLICY_BLOCK) return refused(ns, 'XfrmOutPolBlock', Errno.EPERM);
    ended(0);
    result.sent = true;
    return result;
  }
  if (policies.some(({ info }) => info[ACTION] === POLICY_BLOCK)) {
    for (const policy of policies) touchPolicy(ns, policy);
    return refused(ns, 'XfrmOutPolBlock', Errno.EPERM);
  }
  const slots: number[] = [];
  for (const policy of policies) {
    for (let at = 0; at < policy.templates.length; at += Tmpl.SIZE) {
      const slot = stateFor(ns, policy, at, facts.flow);
      if (slot !== NO_SLOT) slots.push(slot);
      else if (policy.templates[at + Tmpl.OPTIONAL] === 0) {
        acquireFor(ns, policy, at, facts.flow);
        // xfrm_larval_drop: the packet waits for no SA, and its sender is told nothing.
        return refused(ns, 'XfrmOutNoStates', 0);
      }
    }
  }
  for (const policy of policies) touchPolicy(ns, policy);
  ended(0);
  result.sent = true;
  for (const slot of slots) {
    const bytes = ns.sad.mode(slot) === XfrmMode.TRANSPORT ? facts.payloadBytes : facts.packetBytes;
    outputSa(ns, slot, bytes);
    if (!result.sent) return result;
  }
  return result;
}

/** A policy of type SUB comes first, and where there is one, that of type MAIN counts too (xfrm_policy.c:xfrm_expand_policies). */
function outboundPolicies(ns: Namespace, { flow, mark, ifId }: OutboundFacts): Policy[] {
  const matches = (policy: Policy): boolean =>
    (mark & policy.markMask) >>> 0 === policy.mark &&
    policy.ifId === ifId &&
    policy.view.getUint16(Sel.FAMILY, little) === flow.family &&
    selectorMatches(policy.view, policy.info, 0, flow);
  return [SUB, MAIN].map((type) => ns.spd.first(OUT, type, matches)).filter((policy) => policy !== undefined);
}

const zeros = new Uint8Array(16);

function addressOf(templates: Uint8Array, at: number, own: Uint8Array): Uint8Array {
  const address = templates.subarray(at, at + 16);
  return Buffer.compare(address, zeros) === 0 ? own : address;
}

function ends(policy: Policy, at: number, flow: Flow): { daddr: Uint8Array; saddr: Uint8Array; family: number } {
  const { templates } = policy;
  const mode = templates[at + Tmpl.MODE];
  if (mode !== XfrmMode.TUNNEL && mode !== XfrmMode.BEET) return flow;
  const view = new DataView(templates.buffer, templates.byteOffset);
  return {
    daddr: addressOf(templates, at + Tmpl.DADDR, flow.daddr),
    saddr: addressOf(templates, at + Tmpl.SADDR, flow.saddr),
    family: view.getUint16(at + Tmpl.FAMILY, little),
  };
}

const wordOf = (address: Uint8Array, i: number): number =>
  new DataView(address.buffer, address.byteOffset).getUint32(4 * i, little);

/** The best SA for a template (xfrm_state.c:xfrm_state_find): valid, not dying, the newest by its time. */
function stateFor(ns: Namespace, policy: Policy, at: number, flow: Flow): number {
  const { sad } = ns;
  const { templates } = policy;
  const view = new DataView(templates.buffer, templates.byteOffset);
  const { daddr, saddr, family } = ends(policy, at, flow);
  const reqid = view.getUint32(at + Tmpl.REQID, little);
  const spi = view.getUint32(at + Tmpl.SPI, little);
  const length = family === 2 ? 1 : 4;
  let best = NO_SLOT;
  const first = sad.firstCandidate(wordOf(daddr, 0), wordOf(saddr, 0), reqid, family);
  for (let slot = first; slot >= 0; slot = sad.nextCandidate(slot)) {
    const row = sad.row(slot);
    const word = (offset: number): number => sad.words[row + offset] as number;
    if (sad.family(slot) !== family || word(Row.REQID) !== reqid || word(Row.IF_ID) !== policy.ifId) continue;
    if ((policy.mark & word(Row.MARK_MASK)) >>> 0 !== word(Row.MARK)) continue;
    if (sad.proto(slot) !== templates[at + Tmpl.PROTO] || sad.mode(slot) !== templates[at + Tmpl.MODE]) continue;
    if (spi !== 0 && word(Row.SPI) !== spi) continue;
    if (sad.state(slot) !== SaState.VALID || (sad.flags(slot) & SaFlag.WILDRECV) !== 0) continue;
    let same = true;
    for (let i = 0; i < length && same; i++) {
      same = word(Row.DADDR + i) === wordOf(daddr, i) && word(Row.SADDR + i) === wordOf(saddr, i);
    }
    if (!same) continue;
    const selFamily = sad.view.getUint16(4 * row + Sel.FAMILY, little);
    if (selFamily !== 0 && (selFamily !== flow.family || !selectorMatches(sad.view, sad.bytes, 4 * row, flow)))
      continue;
    if (best === NO_SLOT || isBetter(ns, slot, best)) best = slot;
  }
  return best;
}

function isBetter({ sad }: Namespace, slot: number, than: number): boolean {
  if (sad.isDying(slot) !== sad.isDying(than)) return !sad.isDying(slot);
  const time = (s: number): bigint => sad.view.getBigUint64(4 * (sad.row(s) + Row.ADD_TIME), little);
  return time(slot) > time(than);
}

/** Asks the key managers for an SA, unless it is being asked for already or nobody would hear it. */
function acquireFor(ns: Namespace, policy: Policy, at: number, flow: Flow): void {
  const { host, sad } = ns;
  const { templates } = policy;
  const view = new DataView(templates.buffer, templates.byteOffset);
  const { daddr, saddr, family } = ends(policy, at, flow);
  const reqid = view.getUint32(at + Tmpl.REQID, little);
  const facts = {
    family,
    mode: templates[at + Tmpl.MODE] as number,
    proto: templates[at + Tmpl.PROTO] as number,
    reqid,
    ifId: policy.ifId,
    mark: policy.mark,
    markMask: policy.markMask,
    daddr,
    saddr,
    seq: 0,
  };
  for (const slot of sad.larval) {
    const row = sad.row(slot);
    if (sad.words[row + Row.REQID] !== reqid || sad.proto(slot) !== facts.proto || sad.mode(slot) !== facts.mode)
      continue;
    const ofRow = sad.bytes.subarray(4 * row + InfoByte.DADDR, 4 * row + InfoByte.DADDR + (family === 2 ? 4 : 16));
    if (Buffer.compare(ofRow, daddr.subarray(0, ofRow.length)) === 0) return;
  }
  if (host.listeners[XfrmGroup.ACQUIRE] === 0) return;
  host.acquireSeq = (host.acquireSeq + 1) >>> 0 || 1;
  const slot = newLarval(ns, { ...facts, seq: host.acquireSeq });
  selectFlow(ns, slot, flow);
  if (host.profile.saDir) {
    sad.setDir(slot, SaDir.OUT);
    showLarval(ns, slot);
  }
  sendAcquire(ns, slot, policy, at);
  insertLarval(ns, slot);
}

/** The selector of an SA that a packet has asked for: this flow alone. */
function selectFlow({ sad }: Namespace, slot: number, flow: Flow): void {
  const base = 4 * sad.row(slot);
  const length = flow.family === 2 ? 4 : 16;
  sad.bytes.fill(0, base, base + Sel.SIZE);
  sad.bytes.set(flow.daddr.subarray(0, length), base + Sel.DADDR);
  sad.bytes.set(flow.saddr.subarray(0, length), base + Sel.SADDR);
  sad.view.setUint16(base + Sel.DPORT, flow.dport);
  sad.view.setUint16(base + Sel.DPORT_MASK, 0xffff);
  sad.view.setUint16(base + Sel.SPORT, flow.sport);
  sad.view.setUint16(base + Sel.SPORT_MASK, 0xffff);
  sad.view.setUint16(base + Sel.FAMILY, flow.family, little);
  sad.bytes[base + Sel.PREFIX_D] = 8 * length;
  sad.bytes[base + Sel.PREFIX_S] = 8 * length;
  sad.bytes[base + Sel.PROTO] = flow.proto;
  sad.view.setUint32(base + Sel.IFINDEX, flow.ifindex ?? 0, little);
}

/** Byte offsets in xfrm_user_acquire. */
const Acq = { SADDR: 24, SEL: 40, POLICY: 96, AALGOS: 264, SEQ: 276, SIZE: 280 } as const;

function sendAcquire(ns: Namespace, slot: number, policy: Policy, at: number): void {
  const { sad, host } = ns;
  const { writer } = host;
  const base = 4 * sad.row(slot);
  const from = (start: number, length: number): Uint8Array => sad.bytes.subarray(base + start, base + start + length);
  const to = writer.reset().begin(XfrmMsg.ACQUIRE, 0, 0, 0, Acq.SIZE);
  writer.bytes.set(from(InfoByte.DADDR, 24), to);
  writer.bytes.set(from(InfoByte.SADDR, 16), to + Acq.SADDR);
  writer.bytes.set(from(0, Sel.SIZE), to + Acq.SEL);
  writer.bytes.set(policy.info, to + Acq.POLICY);
  writer.bytes.set(policy.templates.subarray(at + Tmpl.AALGOS, at + Tmpl.AALGOS + 12), to + Acq.AALGOS);
  writer.view.setUint32(to + Acq.SEQ, host.acquireSeq, little);
  writePolicyExtras(ns, policy);
  writer.end();
  ns.multicast(XfrmGroup.ACQUIRE);
}
