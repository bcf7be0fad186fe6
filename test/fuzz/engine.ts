import { KernelError } from 'xfrmsync';
import {
  EmulatedKernel,
  type EmulatedPfkeySocket,
  type EmulatedSocket,
  newInboundFacts,
  VirtualClock,
} from 'xfrmsync/emulated';
import { DecodeError, forEachMessage, hostLittleEndian, NlmF } from 'xfrmsync/netlink';
import { decodePfkey, PfkeyExt, PfkeyMsg } from 'xfrmsync/pfkey';
import { decodeMessage } from 'xfrmsync/xfrm';
import { mutated } from './mutate.ts';
import { mutatedPfkey } from './pfkey.ts';
import { type Random, randomOf } from './random.ts';

/** The emulated kernel under requests, packets and leaps of time that nobody in their right mind would make. */

/** Inputs that one machine gets before it is replaced by a fresh one: enough for it to fill. */
const INPUTS_PER_MACHINE = 250;
const RELEASES = ['6.1.0', '6.12.0'];
const GROUPS = [1, 2, 3, 4, 5, 6, 7, 8];
/** How often an input may make the engine look at the clock: far more than the timers of a full machine, far fewer than a loop without end. */
const CLOCK_READS_MAX = 2_000_000;
/** What one request may raise beside its answer: the event of what it did, and of a limit that it made pass. */
const EVENTS_PER_REQUEST_MAX = 4;
/** What an SA or a policy may raise in one leap of time: two limits, aevents, and reminders (every 30 s) beside. */
const EVENTS_PER_TIMER_MAX = 4;
/** What a packet may raise: a limit and an aevent for each of the six SAs that a policy can have it go through. */
const EVENTS_PER_PACKET_MAX = 12;
const REMIND_MS = 30_000;

const clockReads = { left: 0 };

/** Time as it is told, counted: who asks without end is stuck. */
class CountedClock extends VirtualClock {
  override monotonicMs(): number {
    if (--clockReads.left < 0) throw new Error(`the engine asked for the time ${CLOCK_READS_MAX} times`);
    return super.monotonicMs();
  }
}

interface Machine {
  readonly clock: CountedClock;
  readonly kernel: EmulatedKernel;
  readonly requests: EmulatedSocket;
  readonly listener: EmulatedSocket;
  /** PF_KEY: one that sends, one that hears all that there is to hear. */
  readonly pfkey: EmulatedPfkeySocket;
  readonly pfkeyListener: EmulatedPfkeySocket;
}

/** Messages to begin with. */
export interface EngineCorpus {
  readonly netlink: readonly Uint8Array[];
  readonly pfkey: readonly Uint8Array[];
}

function newMachine(random: Random): Machine {
  clockReads.left = CLOCK_READS_MAX;
  const clock = new CountedClock();
  const options = { release: random.pick(RELEASES), hz: random.pick([100, 250, 1000]), pad64: random.below(2) === 0 };
  const kernel = new EmulatedKernel({ ...options, clock, random: () => random.u32(), later: () => undefined });
  const receiveBufferBytes = 1 << 24;
  const requests = kernel.openNow({ receiveBufferBytes });
  const listener = kernel.openNow({ groups: GROUPS, receiveBufferBytes });
  const [pfkey, pfkeyListener] = [1, 2].map(() => kernel.openPfkeyNow({ receiveBufferBytes })) as [
    EmulatedPfkeySocket,
    EmulatedPfkeySocket,
  ];
  pfkeyListener.send(bareOf(PfkeyMsg.REGISTER, SATYPE_ESP));
  if (random.below(2) === 0) pfkeyListener.send(bareOf(PfkeyMsg.X_PROMISC, 1));
  return { clock, kernel, requests, listener, pfkey, pfkeyListener };
}

/**
 * Feeds `count` inputs, made of the seed and of recorded messages, to the engine. Returns how often what came of it: answers and events by
 * what they are, packets by what became of them. @throws Error with the number of the input that broke a property, and its cause
 */
export function fuzzEngine(corpus: EngineCorpus, seed: number, count: number): Record<string, number> {
  const outcomes: Record<string, number> = {};
  const note = (what: string): void => {
    outcomes[what] = (outcomes[what] ?? 0) + 1;
  };
  let machine = newMachine(randomOf(seed, -1));
  for (let i = 0; i < count; i++) {
    const random = randomOf(seed, i);
    if (i % INPUTS_PER_MACHINE === 0) machine = newMachine(random);
    clockReads.left = CLOCK_READS_MAX;
    try {
      step(machine, corpus, random, note);
    } catch (cause) {
      throw new Error(`seed ${seed}, input ${i} (its machine began at ${i - (i % INPUTS_PER_MACHINE)}): ${cause}`, {
        cause,
      });
    }
  }
  return outcomes;
}

function step(machine: Machine, corpus: EngineCorpus, random: Random, note: (what: string) => void): void {
  const { kernel, requests, listener } = machine;
  const { sad, spd } = kernel.engine;
  const there = sad.count + spd.count;
  let eventsMax = EVENTS_PER_REQUEST_MAX;
  switch (random.below(11)) {
    case 0:
      eventsMax = EVENTS_PER_PACKET_MAX;
      packet(machine, random, note);
      break;
    case 1:
      eventsMax = there * EVENTS_PER_TIMER_MAX + leap(machine, random) * there;
      note('leap');
      break;
    case 2:
    case 3:
    case 4:
      eventsMax = EVENTS_PER_REQUEST_MAX * MOVES_MAX;
      note(sendPfkey(machine.pfkey, pfkeyRequest(corpus.pfkey, random)));
      break;
    default: {
      const messages = Array.from({ length: 1 + random.below(3) }, () => request(corpus.netlink, random));
      eventsMax = EVENTS_PER_REQUEST_MAX * messages.length;
      note(send(requests, Buffer.concat(messages)));
    }
  }
  for (const [socket, name, max] of [
    [requests, 'answer', Number.POSITIVE_INFINITY],
    [listener, 'event', eventsMax],
  ] as const) {
    const messages = readAll(socket, name);
    if (messages.length > max) throw new Error(`${messages.length} ${name}s, at most ${max} were possible`);
    messages.forEach(note);
  }
  for (const socket of [machine.pfkey, machine.pfkeyListener]) readPfkey(socket).forEach(note);
  if (sad.count < 0 || sad.count > INPUTS_PER_MACHINE * 4) throw new Error(`${sad.count} SAs`);
}

/** A recorded message, spoiled more often than not, nearly always with the flag that makes it a request, and of whole words. */
function request(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const bytes = random.below(4) === 0 ? random.pick(corpus).slice() : mutated(corpus, random);
  if (bytes.length >= 16 && random.below(16) !== 0) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    view.setUint16(6, view.getUint16(6, hostLittleEndian) | NlmF.REQUEST, hostLittleEndian);
  }
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  return padded;
}

const WORD = 8;
const SATYPE_ESP = 3;
/** What one X_MIGRATE can name. */
const MOVES_MAX = 6;

/** A message that is a header and nothing else. */
function bareOf(type: number, satype: number): Uint8Array {
  const bytes = Uint8Array.of(2, type, 0, satype, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0);
  new DataView(bytes.buffer).setUint16(4, bytes.length / WORD, hostLittleEndian);
  return bytes;
}

const replayTypes = [PfkeyMsg.X_REPLAY_NOTIFY, PfkeyMsg.X_REPLAY_SET, PfkeyMsg.X_REPLAY_GET];

/** A recorded PF_KEY message, spoiled more often than not, nearly always with a sound header; at times with thresholds, or of our own types. */
function pfkeyRequest(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const before = random.below(3) === 0 ? random.pick(corpus).slice() : mutatedPfkey(corpus, random);
  const withThreshold = random.below(4) === 0;
  const bytes = new Uint8Array(((before.length + 7) & -WORD) + (withThreshold ? 16 : 0));
  bytes.set(before);
  const view = new DataView(bytes.buffer);
  if (withThreshold) {
    const at = bytes.length - 16;
    view.setUint16(at, 2, hostLittleEndian);
    view.setUint16(at + 2, PfkeyExt.replayThreshold, hostLittleEndian);
    view.setUint32(at + 4, random.below(3), hostLittleEndian);
    view.setUint32(at + 8, random.pick([0, 0, 1000, 0xffff_ffff]), hostLittleEndian);
  }
  if (random.below(16) === 0 || bytes.length < 16) return bytes;
  bytes[0] = 2;
  if (random.below(8) === 0) bytes[1] = random.pick(replayTypes);
  view.setUint16(4, bytes.length / WORD, hostLittleEndian);
  view.setUint16(6, 0);
  return bytes;
}

function sendPfkey(socket: EmulatedPfkeySocket, datagram: Uint8Array): string {
  try {
    socket.send(datagram);
    return 'pfkey sent';
  } catch (error) {
    if (error instanceof KernelError && ['ERR_ARGUMENT', 'ERR_TOO_LARGE', 'ERR_MALFORMED'].includes(error.code))
      return `pfkey ${error.code}`;
    throw error;
  } finally {
    datagram.fill(0xff);
  }
}

/** What waits at a PF_KEY socket: whole messages, and legible. */
function readPfkey(socket: EmulatedPfkeySocket): string[] {
  const { batch } = socket.read();
  if (socket.drops > 0) throw new Error(`${socket.drops} PF_KEY messages were lost`);
  return Array.from({ length: batch.count }, (_, i) => {
    const start = batch.offsets[i] as number;
    const bytes = batch.buffer.slice(start, start + (batch.lengths[i] as number));
    if (bytes.length < 16 || bytes.length % WORD !== 0) throw new Error(`a PF_KEY message of ${bytes.length} bytes`);
    try {
      return `pfkey ${decodePfkey(bytes).kind}`;
    } catch (error) {
      if (error instanceof DecodeError) return `pfkey ${error.code}`;
      throw error;
    }
  });
}

/** Sends from memory that is overwritten afterwards, as a sender may do with its own. */
function send(socket: EmulatedSocket, datagram: Buffer): string {
  try {
    socket.send(datagram);
    return 'sent';
  } catch (error) {
    if (error instanceof KernelError && ['ERR_ARGUMENT', 'ERR_TOO_LARGE'].includes(error.code)) return error.code;
    throw error;
  } finally {
    datagram.fill(0xff);
  }
}

const VERDICTS = ['accept', 'late', 'replay', 'integrity', 'drop'];
const interesting = [0, 1, 2, 31, 32, 33, 64, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/** Packets for SAs that are there, and sometimes for one that is not. */
function packet({ kernel }: Machine, random: Random, note: (what: string) => void): void {
  const { sas } = kernel.snapshot();
  const sa = sas.length === 0 ? undefined : random.pick(sas);
  const number = (): number => (random.below(2) === 0 ? random.pick(interesting) : random.u32());
  const address = (): Uint8Array =>
    Uint8Array.from({ length: 16 }, (_, i) => (i < 4 ? ([10, 9, 0, 1 + random.below(2)][i] as number) : 0));
  if (random.below(2) === 0) {
    const facts = { ...newInboundFacts(), family: random.pick([2, 10]), proto: sa?.proto ?? 50 };
    facts.spi = Number(sa?.spi ?? number());
    facts.seq = number();
    facts.seqHi = random.below(3);
    facts.bytes = random.below(1500);
    facts.icvGood = random.below(8) !== 0;
    facts.truncated = random.below(16) === 0;
    facts.encapType = random.pick([0, 0, 0, 2]);
    facts.sport = random.below(0x1_0000);
    facts.daddr = { w0: 0x0a09_0001 + random.below(2), w1: 0, w2: 0, w3: 0 };
    note(`in ${VERDICTS[kernel.input(facts)]}`);
    return;
  }
  const flow = { family: 2, saddr: address(), daddr: address(), proto: 17, sport: number() & 0xffff, dport: 9 };
  const { sent } = kernel.output({
    flow,
    mark: random.below(3),
    ifId: random.below(2),
    payloadBytes: 64,
    packetBytes: 84,
  });
  note(sent ? 'out' : 'out refused');
}

/** Lets time pass, and now and then sets the clock; how many reminders can be due in it. */
function leap({ clock }: Machine, random: Random): number {
  const ms = random.pick([1, 10, 999, 1000, 30_000, 60_000, 3_600_000]);
  if (random.below(8) === 0) clock.stepRealtime(random.pick([-1, 1]) * random.pick([1000, 86_400_000, 2 ** 40]));
  clock.advance(ms);
  return Math.ceil(ms / REMIND_MS);
}

/** What waits at a socket: framed soundly to the last byte, and legible. */
function readAll(socket: EmulatedSocket, name: string): string[] {
  const { batch, overrun } = socket.read();
  if (overrun) throw new Error(`an overrun of the socket for ${name}s`);
  const kinds: string[] = [];
  for (let i = 0; i < batch.count; i++) {
    const start = batch.offsets[i] as number;
    const end = start + (batch.lengths[i] as number);
    const stopped = forEachMessage(batch.buffer, (at) => kinds.push(`${name} ${kindOf(batch.buffer, at)}`), start, end);
    if (stopped < end) throw new Error(`${end - stopped} bytes behind the last ${name} of a datagram`);
  }
  return kinds;
}

/** Values that it was sent the kernel shows as they are, whether or not they have a name; a DecodeError says so. */
function kindOf(bytes: Uint8Array, at: number): string {
  try {
    return decodeMessage(bytes, at).kind;
  } catch (error) {
    if (error instanceof DecodeError) return error.code;
    throw error;
  }
}
