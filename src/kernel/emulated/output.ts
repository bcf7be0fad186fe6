import { hostLittleEndian } from '../../netlink/index.ts';
import { IpProto, SaDir, SaFlag, XfrmMode } from '../../xfrm/index.ts';
import { flowIsOfSa } from './data-plane.ts';
import { Errno } from './errno.ts';
import type { AcquireFacts } from './facts.ts';
import { account } from './input.ts';
import { announceAcquire, hearsAcquire } from './key-managers.ts';
import { insertLarval, newLarval, showLarval } from './larval.ts';
import { checkExpire } from './lifetime.ts';
import type { Namespace } from './namespace.ts';
import type { Policy } from './policy.ts';
import { touchPolicy } from './policy-timer.ts';
import { Esn, Legacy, nextEsnOseq, nextOseq, ReplayMode } from './replay.ts';
import { onCounterChange } from './replay-notify.ts';
import { Pol, TEMPLATES_MAX, Tmpl } from './requests/policy-construct.ts';
import { atLeast64, InfoByte, Row, RowBit, SaState } from './row.ts';
import { NO_SLOT } from './sad.ts';
import { type Flow, halfAt, Sel, wordAt } from './selector.ts';

/** Outbound packets: which SA, may it, which number (xfrm_policy.c:xfrm_lookup, xfrm_output.c:xfrm_output_one). */

const little = hostLittleEndian;
const OUT = 1;
/** Types of policies. */
const MAIN = 0;
const SUB = 1;
const POLICY_BLOCK = 1;
/** Bytes of xfrm_id. */
const ID_SIZE = 24;

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
  /** How many SAs have numbered it one after the other; what is told here is of the last. */
  depth: number;
}

const result: OutboundResult = { errno: 0, slot: NO_SLOT, seq: 0, seqHi: 0, sent: false, depth: 0 };

function ended(errno: number): OutboundResult {
  result.errno = errno;
  result.slot = NO_SLOT;
  result.seq = 0;
  result.seqHi = 0;
  result.sent = false;
  result.depth = 0;
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

/** The next number of an SA into the result (xfrm_replay_overflow). False: there is none left. */
function takeNumber({ sad }: Namespace, slot: number): boolean {
  const mode = sad.replayMode(slot);
  const words = sad.replayWords(slot);
  const at = sad.replayAt(slot);
  if (mode === ReplayMode.ESN) {
    if (!nextEsnOseq(words, at)) return false;
    result.seq = words[at + Esn.OSEQ] as number;
    result.seqHi = words[at + Esn.OSEQ_HI] as number;
    return true;
  }
  const oseq = at + (mode === ReplayMode.LEGACY ? Legacy.OSEQ : Esn.OSEQ);
  if (!nextOseq(words, oseq, sad.has(slot, RowBit.OSEQ_MAY_WRAP))) return false;
  result.seq = words[oseq] as number;
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

/** The SAs of the packet under way, in the order of the templates of its policies, of which there are two at most. */
const slots = new Int32Array(2 * TEMPLATES_MAX);

/** Takes an outbound packet through policies and SAs (xfrm_policy.c: xfrm_lookup_with_ifid, xfrm_tmpl_resolve_one). */
export function output(ns: Namespace, facts: OutboundFacts): OutboundResult {
  const { flow } = facts;
  const policies = outboundPolicies(ns, facts);
  if (policies.length === 0) {
    // Not counted in XfrmOutPolBlock: no policy has blocked it.
    if (ns.spd.defaults[OUT] === POLICY_BLOCK) return ended(Errno.EPERM);
    ended(0);
    result.sent = true;
    return result;
  }
  if (policies.some(({ info }) => info[Pol.ACTION] === POLICY_BLOCK)) {
    for (const policy of policies) touchPolicy(ns, policy);
    return refused(ns, 'XfrmOutPolBlock', Errno.EPERM);
  }
  let count = 0;
  for (const policy of policies) {
    for (let at = 0; at < policy.templates.length; at += Tmpl.SIZE) {
      const slot = stateFor(ns, policy, at, flow);
      if (slot !== NO_SLOT) {
        slots[count++] = slot;
        continue;
      }
      const failed = acquireFor(ns, policy, at, flow);
      if (policy.templates[at + Tmpl.OPTIONAL] !== 0) continue;
      if (failed !== 0) return refused(ns, 'XfrmOutPolError', failed);
      // xfrm_larval_drop: the packet waits for no SA, and its sender is told nothing.
      return refused(ns, 'XfrmOutNoStates', 0);
    }
  }
  for (const policy of policies) touchPolicy(ns, policy);
  ended(0);
  result.sent = true;
  for (let i = 0; i < count; i++) {
    const slot = slots[i] as number;
    const bytes = ns.sad.mode(slot) === XfrmMode.TRANSPORT ? facts.payloadBytes : facts.packetBytes;
    outputSa(ns, slot, bytes);
    if (!result.sent) return result;
  }
  result.depth = count;
  return result;
}

const found: Policy[] = [];

/** A policy of type SUB comes first, and where there is one, that of type MAIN counts too (xfrm_policy.c:xfrm_expand_policies). */
function outboundPolicies(ns: Namespace, { flow, mark, ifId }: OutboundFacts): readonly Policy[] {
  found.length = 0;
  const sub = ns.spd.lookup(OUT, flow, mark, ifId, SUB);
  if (sub !== undefined) found.push(sub);
  const main = ns.spd.lookup(OUT, flow, mark, ifId, MAIN);
  if (main !== undefined) found.push(main);
  return found;
}

/** The ends between which a template wants its SA: its own of a tunnel, else the packet's. Words as rows keep them. */
const ends = { words: new Uint32Array(8), family: 0 };
const ends8 = new Uint8Array(ends.words.buffer);
const DADDR = 0;
const SADDR = 4;

function setEnds({ templates }: Policy, at: number, flow: Flow): void {
  const mode = templates[at + Tmpl.MODE];
  const isTunnel = mode === XfrmMode.TUNNEL || mode === XfrmMode.BEET;
  ends.family = isTunnel ? halfAt(templates, at + Tmpl.FAMILY) : flow.family;
  setEnd(DADDR, templates, at + Tmpl.DADDR, isTunnel, flow.daddr);
  setEnd(SADDR, templates, at + Tmpl.SADDR, isTunnel, flow.saddr);
}

/** A tunnel that does not say where it ends does so at the packet's own address. */
function setEnd(to: number, templates: Uint8Array, at: number, isTunnel: boolean, own: Uint8Array): void {
  let any = 0;
  if (isTunnel) for (let i = 0; i < 16; i++) any |= templates[at + i] as number;
  for (let i = 0; i < 4; i++) ends.words[to + i] = any === 0 ? wordAt(own, 4 * i) : wordAt(templates, at + 4 * i);
}

/** The best SA for a template (xfrm_state.c:xfrm_state_find): valid, not dying, the newest by its time. */
function stateFor(ns: Namespace, policy: Policy, at: number, flow: Flow): number {
  const { sad } = ns;
  const { words } = sad;
  const { templates } = policy;
  setEnds(policy, at, flow);
  const { family } = ends;
  const reqid = wordAt(templates, at + Tmpl.REQID);
  const spi = wordAt(templates, at + Tmpl.SPI);
  let best = NO_SLOT;
  const first = sad.firstCandidate(ends.words, DADDR, SADDR, reqid, family);
  for (let slot = first; slot >= 0; slot = sad.nextCandidate(slot)) {
    const row = sad.row(slot);
    if (words[row + Row.REQID] !== reqid || !hasEnds(words, row, family) || sad.family(slot) !== family) continue;
    if (words[row + Row.IF_ID] !== policy.ifId) continue;
    if ((policy.mark & (words[row + Row.MARK_MASK] as number)) >>> 0 !== words[row + Row.MARK]) continue;
    if (sad.proto(slot) !== templates[at + Tmpl.PROTO] || sad.mode(slot) !== templates[at + Tmpl.MODE]) continue;
    if (spi !== 0 && words[row + Row.SPI] !== spi) continue;
    if (sad.state(slot) !== SaState.VALID || (sad.flags(slot) & SaFlag.WILDRECV) !== 0) continue;
    if (!flowIsOfSa(ns, slot, flow)) continue;
    if (best === NO_SLOT || isBetter(ns, slot, best)) best = slot;
  }
  return best;
}

function hasEnds(words: Uint32Array, row: number, family: number): boolean {
  const length = family === 2 ? 1 : 4;
  for (let i = 0; i < length; i++) {
    if (words[row + Row.DADDR + i] !== ends.words[DADDR + i]) return false;
    if (words[row + Row.SADDR + i] !== ends.words[SADDR + i]) return false;
  }
  return true;
}

function isBetter({ sad }: Namespace, slot: number, than: number): boolean {
  if (sad.isDying(slot) !== sad.isDying(than)) return !sad.isDying(slot);
  return !atLeast64(sad.words, sad.row(than) + Row.ADD_TIME, sad.row(slot) + Row.ADD_TIME);
}

/** Whether there is a larval SA between the ends that `setEnds` has set. */
function isAskedFor({ sad }: Namespace, { templates, mark, ifId }: Policy, at: number): boolean {
  const { words } = sad;
  const { family } = ends;
  const reqid = wordAt(templates, at + Tmpl.REQID);
  const spi = wordAt(templates, at + Tmpl.SPI);
  for (const slot of sad.larval) {
    const row = sad.row(slot);
    if (words[row + Row.REQID] !== reqid || sad.proto(slot) !== templates[at + Tmpl.PROTO]) continue;
    if (sad.mode(slot) !== templates[at + Tmpl.MODE] || sad.family(slot) !== family) continue;
    if (words[row + Row.IF_ID] !== ifId || !hasEnds(words, row, family)) continue;
    if ((mark & (words[row + Row.MARK_MASK] as number)) >>> 0 !== words[row + Row.MARK]) continue;
    if (spi === 0 || words[row + Row.SPI] === spi) return true;
  }
  return false;
}

/** Whether an SA that does not do has the SPI of a template between the ends that `setEnds` has set. */
function isSpiTaken({ sad }: Namespace, { templates, mark }: Policy, at: number): boolean {
  const spi = wordAt(templates, at + Tmpl.SPI);
  const word = (i: number): number => ends.words[DADDR + i] as number;
  const proto = templates[at + Tmpl.PROTO] as number;
  return spi !== 0 && sad.lookup(word(0), word(1), word(2), word(3), spi, proto, ends.family, mark) !== NO_SLOT;
}

/**
 * Asks the key managers for an SA, of an optional template too, unless it is being asked for already or nobody would hear it. EEXIST: its
 * SPI is taken.
 */
function acquireFor(ns: Namespace, policy: Policy, at: number, flow: Flow): number {
  const { host, sad } = ns;
  const { templates } = policy;
  setEnds(policy, at, flow);
  const { family } = ends;
  const proto = templates[at + Tmpl.PROTO] as number;
  const mode = templates[at + Tmpl.MODE] as number;
  if (isAskedFor(ns, policy, at)) return 0;
  if (isSpiTaken(ns, policy, at)) return Errno.EEXIST;
  if (!hearsAcquire(ns)) return 0;
  // The ends of the template count in every mode here, unless they are empty (xfrm_state.c:xfrm_init_tempstate).
  const length = family === 2 ? 4 : 16;
  const end = (to: number, own: number): Uint8Array => {
    const address = templates.slice(own, own + 16);
    return address.subarray(0, length).every((byte) => byte === 0) ? ends8.slice(4 * to, 4 * to + 16) : address;
  };
  const slot = newLarval(ns, {
    family,
    mode,
    proto,
    reqid: wordAt(templates, at + Tmpl.REQID),
    ifId: policy.ifId,
    mark: policy.mark,
    markMask: policy.markMask,
    daddr: end(DADDR, at + Tmpl.DADDR),
    saddr: end(SADDR, at + Tmpl.SADDR),
    seq: 0,
    spi: wordAt(templates, at + Tmpl.SPI),
  });
  sad.setSelector(slot, selectorOf(flow));
  if (host.profile.saDir) {
    sad.setDir(slot, SaDir.OUT);
    showLarval(ns, slot);
  }
  const seq = announceAcquire(ns, acquireFacts(ns, slot, policy, at));
  if (seq === 0) {
    sad.release(slot);
    return 0;
  }
  sad.words[sad.row(slot) + Row.ACQ_SEQ] = seq;
  insertLarval(ns, slot);
  ns.runThreads();
  return 0;
}

function acquireFacts({ sad }: Namespace, slot: number, policy: Policy, template: number): AcquireFacts {
  const base = 4 * sad.row(slot);
  const part = (start: number, length: number): Uint8Array => sad.bytes.slice(base + start, base + start + length);
  return {
    family: sad.family(slot),
    proto: sad.proto(slot),
    id: part(InfoByte.DADDR, ID_SIZE),
    saddr: part(InfoByte.SADDR, 16),
    selector: sad.selector(slot),
    policy,
    template,
  };
}

/** The selector of an SA that a packet has asked for: this flow alone. */
function selectorOf(flow: Flow): Uint8Array {
  const selector = new Uint8Array(Sel.SIZE);
  const view = new DataView(selector.buffer);
  const length = flow.family === 2 ? 4 : 16;
  selector.set(flow.daddr.subarray(0, length), Sel.DADDR);
  selector.set(flow.saddr.subarray(0, length), Sel.SADDR);
  view.setUint16(Sel.DPORT, flow.dport);
  view.setUint16(Sel.DPORT_MASK, 0xffff);
  view.setUint16(Sel.SPORT, flow.sport);
  view.setUint16(Sel.SPORT_MASK, 0xffff);
  view.setUint16(Sel.FAMILY, flow.family, little);
  selector[Sel.PREFIX_D] = 8 * length;
  selector[Sel.PREFIX_S] = 8 * length;
  selector[Sel.PROTO] = flow.proto;
  view.setUint32(Sel.IFINDEX, flow.ifindex ?? 0, little);
  return selector;
}
