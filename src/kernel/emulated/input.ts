import { hostLittleEndian } from '../../netlink/index.ts';
import { IpProto, SaDir } from '../../xfrm/index.ts';
import { announceMapping } from './key-managers.ts';
import { checkExpire } from './lifetime.ts';
import type { Namespace } from './namespace.ts';
import { Check, Esn, esnInferHi, ReplayMode, replayAdvance, replayCheck } from './replay.ts';
import { onCounterChange } from './replay-notify.ts';
import { add64, Row, RowBit, SaState } from './row.ts';
import { NO_SLOT } from './sad.ts';

/** An inbound IPsec packet through the SA database, in the kernel's order (xfrm_input.c:xfrm_input). Facts in, verdict out; no ciphers. */

const little = hostLittleEndian;

/** What the data plane knows of an inbound packet. One object can serve for all packets. */
export interface InboundFacts {
  family: number;
  /** The outer addresses as four words in network order each; of an IPv4 address the first counts. */
  daddr: { w0: number; w1: number; w2: number; w3: number };
  saddr: { w0: number; w1: number; w2: number; w3: number };
  spi: number;
  proto: number;
  mark: number;
  /** The 32 bits that travel. */
  seq: number;
  /** ESN: the upper half with which the sender signed. */
  seqHi: number;
  /** Whether the signature holds, given the right upper half. */
  icvGood: boolean;
  /** The packet is too short for its SA: the type's own input refuses it. */
  truncated: boolean;
  /** Bytes of the inner data, as the lifetime counts them. */
  bytes: number;
  /** UDP encapsulation: its type, 0 for none, and the port it came from. */
  encapType: number;
  sport: number;
}

export const newInboundFacts = (): InboundFacts => ({
  family: 2,
  daddr: { w0: 0, w1: 0, w2: 0, w3: 0 },
  saddr: { w0: 0, w1: 0, w2: 0, w3: 0 },
  spi: 0,
  proto: IpProto.ESP,
  mark: 0,
  seq: 0,
  seqHi: 0,
  icvGood: true,
  truncated: false,
  bytes: 0,
  encapType: 0,
  sport: 0,
});

export const Verdict = { ACCEPT: 0, LATE: 1, REPLAY: 2, INTEGRITY: 3, DROP: 4 } as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** A number in network order as a word of a row. */
export const toRowWord: (word: number) => number = little
  ? (word) => ((word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff_0000) | (word << 24)) >>> 0
  : (word) => word;

/** The SA that an inbound packet is for. */
export function findInbound(ns: Namespace, facts: InboundFacts): number {
  const { daddr } = facts;
  return ns.sad.lookup(
    toRowWord(daddr.w0),
    toRowWord(daddr.w1),
    toRowWord(daddr.w2),
    toRowWord(daddr.w3),
    toRowWord(facts.spi),
    facts.proto,
    facts.family,
    facts.mark,
  );
}

/** What the window of an SA says of a number, without any consequence. */
export function check({ sad }: Namespace, slot: number, seq: number): Check {
  const words = sad.replayWords(slot);
  return replayCheck(sad.replayMode(slot), words, sad.replayAt(slot), sad.replayWindow(slot), seq);
}

/** Counts a refusal by the window. */
function refused(ns: Namespace, slot: number, result: Check): Verdict {
  const { sad } = ns;
  ns.stat('XfrmInStateSeqError');
  if (result === Check.REJECT) return Verdict.DROP;
  const at = sad.row(slot) + (result === Check.LATE ? Row.STATS_WINDOW : Row.STATS_REPLAY);
  sad.words[at] = (sad.words[at] as number) + 1;
  return result === Check.LATE ? Verdict.LATE : Verdict.REPLAY;
}

/** Checks, accounts and numbers one inbound packet, and raises the events that go with it. */
export function input(ns: Namespace, facts: InboundFacts): Verdict {
  const { sad } = ns;
  const slot = findInbound(ns, facts);
  if (slot === NO_SLOT) return dropped(ns, 'XfrmInNoStates');
  const row = sad.row(slot);
  if (sad.dir(slot) === SaDir.OUT) return dropped(ns, 'XfrmInStateDirError');
  const state = sad.state(slot);
  if (state !== SaState.VALID) return dropped(ns, state === SaState.ACQ ? 'XfrmAcquireError' : 'XfrmInStateInvalid');
  if (encapType(ns, slot) !== facts.encapType) return dropped(ns, 'XfrmInStateMismatch');

  const { seq } = facts;
  const mode = sad.replayMode(slot);
  const words = sad.replayWords(slot);
  const at = sad.replayAt(slot);
  const window = sad.replayWindow(slot);
  const result = replayCheck(mode, words, at, window, seq);
  if (result !== Check.ACCEPT) return refused(ns, slot, result);
  if (!checkExpire(ns, slot)) return dropped(ns, 'XfrmInStateExpired');

  if (facts.truncated) return dropped(ns, 'XfrmInStateProtoError');
  // ESN: the signature was made with the upper half that the SA infers.
  const isEsn = mode === ReplayMode.ESN && words[at + Esn.WINDOW] !== 0;
  if (!facts.icvGood || (isEsn && esnInferHi(words, at, seq) !== facts.seqHi)) {
    sad.words[row + Row.STATS_INTEGRITY] = (sad.words[row + Row.STATS_INTEGRITY] as number) + 1;
    ns.stat('XfrmInStateProtoError');
    return Verdict.INTEGRITY;
  }
  if (facts.encapType !== 0) noticeMapping(ns, slot, facts);
  // The window is asked again after decryption only where that takes time; here nothing can have come between.
  if (replayAdvance(mode, words, at, window, seq)) onCounterChange(ns, slot);
  account(ns, slot, facts.bytes);
  return Verdict.ACCEPT;
}

function dropped(ns: Namespace, stat: Parameters<Namespace['stat']>[0]): Verdict {
  ns.stat(stat);
  return Verdict.DROP;
}

/** One more packet, after its number: events that it raised show the SA without it. */
export function account(ns: Namespace, slot: number, bytes: number): void {
  const { sad } = ns;
  const row = sad.row(slot);
  add64(sad.words, row + Row.BYTES, bytes);
  add64(sad.words, row + Row.PACKETS, 1);
  if (ns.host.profile.lastUsed) sad.words[row + Row.LASTUSED] = ns.host.seconds();
}

/** The type of an SA's encapsulation; 0: none. */
export function encapType({ sad }: Namespace, slot: number): number {
  return sad.has(slot, RowBit.ENCAP) ? (sad.words[sad.row(slot) + Row.ENCAP] as number) >>> 16 : 0;
}

/** A peer behind a NAT whose address or port has changed: MAPPING (esp4.c:esp_input_done2, xfrm_state.c:km_new_mapping). */
function noticeMapping(ns: Namespace, slot: number, facts: InboundFacts): void {
  const { sad, host } = ns;
  const row = sad.row(slot);
  const sport = (sad.words[row + Row.ENCAP] as number) & 0xffff;
  const { saddr } = facts;
  const sameAddress =
    sad.words[row + Row.SADDR] === toRowWord(saddr.w0) &&
    (facts.family === 2 ||
      (sad.words[row + Row.SADDR + 1] === toRowWord(saddr.w1) &&
        sad.words[row + Row.SADDR + 2] === toRowWord(saddr.w2) &&
        sad.words[row + Row.SADDR + 3] === toRowWord(saddr.w3)));
  if (sameAddress && sport === facts.sport) return;
  const maxage = sad.words[row + Row.MAPPING_MAXAGE] as number;
  if (maxage !== 0) {
    const now = host.seconds();
    const since = now - (sad.words[row + Row.MAPPING_TIME] as number);
    if (since <= maxage && sad.words[row + Row.MAPPING_PORT] === facts.sport) return;
    sad.words[row + Row.MAPPING_TIME] = now;
    sad.words[row + Row.MAPPING_PORT] = facts.sport;
  }
  announceMapping(ns, slot, { saddr: addressBytes(saddr, facts.family), oldPort: sport, port: facts.sport });
}

/** An address as 16 bytes; of an IPv4 one the first four are set. */
function addressBytes({ w0, w1, w2, w3 }: InboundFacts['saddr'], family: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  [w0, w1, w2, w3].slice(0, family === 2 ? 1 : 4).forEach((word, i) => {
    view.setUint32(4 * i, word);
  });
  return bytes;
}
