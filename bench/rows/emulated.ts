import { type EmulatedKernel, VirtualClock } from 'xfrmsync/emulated';
import { XfrmGroup } from 'xfrmsync/xfrm';
import { numbers } from '../corpus.ts';
import { interleave, type Log, type Slice } from '../measure.ts';
import { type Measurement, measured, type Result } from '../report.ts';
import { inbound, outbound, routed } from './emulated-packets.ts';
import { addPolicies, bytesHeld, kernelWith } from './emulated-world.ts';
import type { Row } from './row.ts';

/** The emulated kernel has no peer: what it does for a packet Linux does inside, where no program can count it. The targets are absolute. */

const unit = 'packets/s';
const ROUNDS = 5;
const PACKETS_PER_SECOND = 5e6;
const BYTES_PER_SA = 500;

interface Size {
  name: string;
  count: number;
}
const MANY: Size = { name: '100k', count: 100_000 };
const MOST: Size = { name: '1M', count: 1_000_000 };
const SIZES: readonly Size[] = [{ name: '1', count: 1 }, { name: '1k', count: 1000 }, MANY, MOST];
const POLICIES: Size = { name: '10k-policies', count: 10_000 };

/** The target is one for 100 k SAs. */
const packets = (name: string, what: string, { name: size, count }: Size): Measurement => ({
  name: `emulated/${name}-${size}`,
  what: `${what}, ${count} SAs`,
  unit,
  ...(count === MANY.count ? { atLeast: PACKETS_PER_SECOND } : {}),
});
const LEGACY = SIZES.map((size) => packets('in-legacy', 'inbound packet, legacy window of 32', size));
const ESN = SIZES.map((size) => packets('in-esn', 'inbound packet, ESN window of 128', size));
const OUT = SIZES.map((size) => packets('out', 'outbound packet of a known SA', size));
const HEARD: Measurement = {
  name: 'emulated/in-legacy-100k-heard',
  what: 'inbound packet at the default thresholds with a listener that reads every NEWAE, 100000 SAs',
  unit,
};
const ROUTED: Measurement = {
  name: `emulated/out-${POLICIES.name}`,
  what: `outbound packet that finds one of ${POLICIES.count} policies and its SA among as many`,
  unit,
};
const MEMORY_LEGACY: Measurement = {
  name: 'emulated/memory-legacy',
  what: 'heap and arrays for an SA, legacy window',
  unit: 'bytes/SA',
  atMost: BYTES_PER_SA,
};
const MEMORY_ESN: Measurement = {
  ...MEMORY_LEGACY,
  name: 'emulated/memory-esn',
  what: 'heap and arrays for an SA, ESN with a bitmap of 4 words',
};
const ARM: Measurement = { name: 'emulated/timers-arm', what: 'arm an aevent timer, up to 1 M', unit: 'timers/s' };
const PUSH: Measurement = { ...ARM, name: 'emulated/timers-push', what: 'push one of 1 M pending ones away' };
const FIRE: Measurement = { ...ARM, name: 'emulated/timers-fire', what: 'run 1 M aevent timers that are due' };
const IDLE: Measurement = {
  name: 'emulated/timers-idle',
  what: 'let a jiffy pass with 1 M timers pending and none due',
  unit: 'jiffies/s',
};

async function rates(aim: Measurement, run: () => Slice, log: Log, used = ''): Promise<Result> {
  const [values = []] = await interleave([{ name: aim.name, run }], (text) => log(`${aim.name}: ${text}`), ROUNDS);
  return measured(aim, values, used);
}

/** SAs at which a byte count per SA is taken: arrays grow in steps, so several counts show what the steps cost. */
const MEMORY_COUNTS = [80_000, 90_000, 100_000, 110_000, 120_000];
const KEYS = 'AES-128-GCM, aevent timer armed';

function memory(aim: Measurement, esn: boolean): Result {
  const held = MEMORY_COUNTS.map((count) => {
    const before = bytesHeld();
    const kernel = kernelWith({ count, esn });
    const bytes = bytesHeld() - before;
    return bytes / kernel.engine.sad.count;
  });
  return measured(aim, held, `${KEYS}, at ${MEMORY_COUNTS.join(', ')} SAs`);
}

/** What an unread event may wait for, in bytes as the socket is charged. */
const RECEIVE_BUFFER_BYTES = 16 << 20;

async function heard(kernel: EmulatedKernel, log: Log): Promise<Result> {
  const socket = kernel.openNow({ groups: [XfrmGroup.AEVENTS], receiveBufferBytes: RECEIVE_BUFFER_BYTES });
  let events = 0;
  socket.receive((batch) => {
    events += batch.count;
  });
  const result = await rates(
    HEARD,
    inbound(kernel, MANY.count, () => socket.drain()),
    log,
  );
  if (socket.drops > 0) throw new Error(`emulated: ${socket.drops} events were lost`);
  await socket.close();
  return { ...result, used: `${events} events read, none lost` };
}

const JIFFY_MS = 4;
const TIMER_SPREAD_MS = 1000;
const IDLE_JIFFIES = 100_000;

async function timers(log: Log): Promise<Result[]> {
  const clock = new VirtualClock();
  const kernel = kernelWith(MOST, { clock });
  const { replayTimers } = kernel.engine;
  const random = numbers(1);
  const order = Uint32Array.from({ length: MOST.count }, (_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  const delays = order.map(() => JIFFY_MS * (1 + (random() % (TIMER_SPREAD_MS / JIFFY_MS))));
  const timed = (messages: number, run: () => void): Slice => {
    const start = process.hrtime.bigint();
    run();
    return { messages, ns: Number(process.hrtime.bigint() - start) };
  };
  const armAll = (fromMs: number): void => {
    for (let i = 0; i < order.length; i++) replayTimers.arm(order[i] as number, fromMs + (delays[i] as number));
  };
  const fire = (): Slice => timed(MOST.count, () => clock.advance(2 * TIMER_SPREAD_MS));
  fire();
  const now = (): number => clock.monotonicMs();
  const arm = await rates(
    ARM,
    () => {
      fire();
      return timed(MOST.count, () => armAll(now()));
    },
    log,
  );
  const push = await rates(PUSH, () => timed(MOST.count, () => armAll(now() + TIMER_SPREAD_MS)), log);
  const fired = await rates(
    FIRE,
    () => {
      armAll(now());
      return fire();
    },
    log,
  );
  const idle = await rates(
    IDLE,
    () => {
      fire();
      armAll(now() + JIFFY_MS * IDLE_JIFFIES);
      return timed(IDLE_JIFFIES, () => {
        for (let i = 0; i < IDLE_JIFFIES; i++) clock.advance(JIFFY_MS);
      });
    },
    log,
  );
  return [arm, push, fired, idle];
}

export const emulated: Row = {
  name: 'emulated',
  aims: [...LEGACY, ...ESN, ...OUT, HEARD, ROUTED, MEMORY_LEGACY, MEMORY_ESN, ARM, PUSH, FIRE, IDLE],
  needsNamespace: false,
  async run(log) {
    const results: Result[] = [memory(MEMORY_LEGACY, false), memory(MEMORY_ESN, true)];
    const note = 'SAs by NEWSA; packets for SAs at random, a quarter of them late';
    for (const [i, { count }] of SIZES.entries()) {
      const legacy = kernelWith({ count });
      results.push(await rates(LEGACY[i] as Measurement, inbound(legacy, count), log, note));
      results.push(await rates(OUT[i] as Measurement, outbound(legacy, count), log, note));
      if (count === MANY.count) results.push(await heard(kernelWith({ count }), log));
    }
    for (const [i, { count }] of SIZES.entries()) {
      results.push(await rates(ESN[i] as Measurement, inbound(kernelWith({ count, esn: true }), count), log, note));
    }
    const gateway = kernelWith({ count: POLICIES.count, outbound: true });
    addPolicies(gateway, POLICIES.count);
    results.push(await rates(ROUTED, routed(gateway, POLICIES.count), log, note));
    results.push(...(await timers(log)));
    const order = emulated.aims.map(({ name }) => name);
    return results.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  },
};
