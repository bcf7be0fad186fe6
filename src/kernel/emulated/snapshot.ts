import { decodeMessage, formatAddress, formatSpi, type JsonObject, messageToJson, XfrmMsg } from '../../xfrm/index.ts';
import { toRowWord } from './input.ts';
import type { SocketSnapshot } from './listener.ts';
import type { Namespace } from './namespace.ts';
import type { PfkeySocketSnapshot } from './pfkey/sockets.ts';
import type { Policy } from './policy.ts';
import { Esn, Legacy, Sent } from './replay.ts';
import { number64, Row, RowBit, SaState } from './row.ts';
import { writePolicy } from './write-policy.ts';
import { writeSa } from './write-sa.ts';

/** A namespace as it stands, for people and for assertions: what netlink shows, and what it does not. Nothing in it changes later. */

export interface SnapshotOptions {
  /** Keys of algorithms as hex text; without it their length alone is told. */
  readonly showKeys?: boolean;
}

/** Counters of both directions; those of ESN are whole, upper half and lower half. */
export interface CounterSnapshot {
  readonly seq: bigint;
  readonly oseq: bigint;
}

export interface SaSnapshot extends CounterSnapshot {
  readonly daddr: string;
  readonly spi: string;
  readonly proto: number;
  readonly state: 'larval' | 'valid' | 'expired' | 'other';
  /** A soft limit has been announced: outbound packets prefer another SA. */
  readonly dying: boolean;
  readonly bytes: number;
  readonly packets: number;
  /** Numbers that the replay window holds; 0: no replay protection. */
  readonly window: number;
  /** The window, newest number first: '1' where one was seen. */
  readonly seen: string;
  /** The counters that listeners were last told. */
  readonly notified: CounterSnapshot;
  /** What makes an aevent: packets, 0 for never; jiffies, 0 for no timer. */
  readonly thresholds: { readonly packets: number; readonly jiffies: number };
  /** The replay timer ran out with nothing to tell: the next packet makes an event. */
  readonly deferred: boolean;
  /** When its timers are due, in ms of the monotonic clock; null: not at all. */
  readonly timers: { readonly aeventMs: number | null; readonly lifetimeMs: number | null };
  /** All that NEWSA shows, as `messageToJson` has it. */
  readonly message: JsonObject;
}

export interface PolicySnapshot {
  readonly index: number;
  /** When its limits are looked at next, in ms of the monotonic clock; null: there are none. */
  readonly timerMs: number | null;
  /** All that NEWPOLICY shows, as `messageToJson` has it. */
  readonly message: JsonObject;
}

export interface NamespaceSnapshot {
  /** The two clocks, in ms. */
  readonly monotonicMs: number;
  readonly realtimeMs: number;
  /** Newest first, as dumps have them. */
  readonly sas: readonly SaSnapshot[];
  readonly policies: readonly PolicySnapshot[];
  /** Oldest first. */
  readonly sockets: readonly SocketSnapshot[];
  /** Newest first. */
  readonly pfkeySockets: readonly PfkeySocketSnapshot[];
  /** Counters of /proc/net/xfrm_stat that are not 0. */
  readonly stats: Readonly<Record<string, number>>;
}

export function takeSnapshotOf(ns: Namespace, options: SnapshotOptions): NamespaceSnapshot {
  const { sad, spd, host } = ns;
  const sas: SaSnapshot[] = [];
  for (let slot = sad.newest(); slot >= 0; slot = sad.older(slot)) sas.push(saSnapshot(ns, slot, options));
  const policies: PolicySnapshot[] = [];
  for (let policy = spd.newest; policy !== undefined; policy = policy.older) policies.push(policySnapshot(ns, policy));
  return {
    monotonicMs: host.clock.monotonicMs(),
    realtimeMs: host.clock.realtimeMs(),
    sas,
    policies,
    sockets: [...ns.sockets.values()].map((socket) => socket.snapshot()),
    pfkeySockets: ns.pfkey.all.map((socket) => socket.snapshot()),
    stats: Object.fromEntries(ns.stats),
  };
}

const states: Readonly<Record<number, SaSnapshot['state']>> = {
  [SaState.ACQ]: 'larval',
  [SaState.VALID]: 'valid',
  [SaState.EXPIRED]: 'expired',
};

/** `decodeMessage` of what the host's writer holds, without the header, which says nothing. */
function shown(ns: Namespace, options: SnapshotOptions): JsonObject {
  const { writer } = ns.host;
  const { header: _, ...json } = messageToJson(decodeMessage(writer.bytes.slice(0, writer.at)), options);
  return json;
}

const finite = (ms: number): number | null => (ms === Number.POSITIVE_INFINITY ? null : ms);

function saSnapshot(ns: Namespace, slot: number, options: SnapshotOptions): SaSnapshot {
  const { sad, host } = ns;
  const row = sad.row(slot);
  const word = (at: number): number => sad.words[row + at] as number;
  const network = (at: number): number => toRowWord(word(at));
  host.writer.reset();
  writeSa(ns, slot, XfrmMsg.NEWSA, 0, 0, 0);
  const [w0, w1, w2, w3] = [0, 1, 2, 3].map((i) => network(Row.DADDR + i)) as [number, number, number, number];
  return {
    daddr: formatAddress({ w0, w1, w2, w3 }, sad.family(slot)),
    spi: formatSpi(network(Row.SPI)),
    proto: sad.proto(slot),
    state: states[sad.state(slot)] ?? 'other',
    dying: sad.isDying(slot),
    bytes: number64(sad.words, row + Row.BYTES),
    packets: number64(sad.words, row + Row.PACKETS),
    ...replaySnapshot(ns, slot),
    thresholds: { packets: word(Row.MAXDIFF), jiffies: word(Row.MAXAGE) },
    deferred: sad.has(slot, RowBit.DEFERRED),
    timers: { aeventMs: finite(ns.replayTimers.dueMs(slot)), lifetimeMs: finite(ns.lifetimeTimers.dueMs(slot)) },
    message: shown(ns, options),
  };
}

type ReplaySnapshot = CounterSnapshot & Pick<SaSnapshot, 'window' | 'seen' | 'notified'>;

function replaySnapshot({ sad }: Namespace, slot: number): ReplaySnapshot {
  const words = sad.replayWords(slot);
  const live = sad.replayAt(slot);
  const sent = sad.sentAt(slot);
  const word = (at: number): number => words[at] as number;
  if (!sad.hasBitmap(slot)) {
    const counters = (seq: number, oseq: number): CounterSnapshot => ({
      seq: BigInt(word(seq)),
      oseq: BigInt(word(oseq)),
    });
    const window = sad.replayWindow(slot);
    const bitmap = word(live + Legacy.BITMAP);
    const seen = bits(window, (behind) => bitmap >>> behind);
    const notified = counters(sent + Sent.SEQ, sent + Sent.OSEQ);
    return { ...counters(live + Legacy.SEQ, live + Legacy.OSEQ), window, seen, notified };
  }
  const whole = (hi: number, lo: number): bigint => (BigInt(word(hi)) << 32n) | BigInt(word(lo));
  const now = {
    seq: whole(live + Esn.SEQ_HI, live + Esn.SEQ),
    oseq: whole(live + Esn.OSEQ_HI, live + Esn.OSEQ),
  };
  const notified = {
    seq: whole(sent + Sent.SEQ_HI, sent + Sent.SEQ),
    oseq: whole(sent + Sent.OSEQ_HI, sent + Sent.OSEQ),
  };
  const window = word(live + Esn.WINDOW);
  const top = (word(live + Esn.SEQ) - 1) >>> 0;
  // The bitmap is a ring, and `top` is where the newest number stands in it.
  const seen = bits(window, (behind) => {
    const bit = ((top % window) + window - behind) % window;
    return word(live + Esn.BMP + (bit >>> 5)) >>> (bit & 31);
  });
  return { ...now, window, seen, notified };
}

const bits = (window: number, at: (behind: number) => number): string =>
  Array.from({ length: window }, (_, behind) => at(behind) & 1).join('');

function policySnapshot(ns: Namespace, policy: Policy): PolicySnapshot {
  ns.host.writer.reset();
  writePolicy(ns, policy, XfrmMsg.NEWPOLICY, 0, 0, 0);
  return {
    index: policy.index,
    timerMs: policy.timer === undefined ? null : finite(policy.timer.dueMs),
    message: shown(ns, {}),
  };
}
