import { ok, deepStrictEqual as same } from 'node:assert';
import { openEvents, saIdOf } from '../../src/client/index.ts';
import { canBeParked } from '../../src/replica/sa/plan.ts';
import { XFRM_INF, XfrmGroup } from '../../src/xfrm/index.ts';
import { CONNECTIONS, ESN, LEGACY, saOf } from './connections.ts';
import type { Gateway, MakeMachine } from './machine.ts';
import { all, otherOf, Pair } from './pair.ts';

/** What a pair of gateways has to do, packet by packet, on whatever kernels: emulated.test.ts and lab.ts run it. */

/** Packets that nobody but the active's kernel knows of. */
const UNSEEN = 20;
/** A key manager's threshold that holds much back, and a timer that does not run in a test, whatever the kernel's jiffies. */
const HELD_BACK = { replayThresh: 50, etimerThresh: 1_000_000 };

/** Some seconds, whatever the kernel's jiffies. */
const SLOW = { replayThresh: 3, etimerThresh: 5000 };

/** A grant that a test can use up. */
const GRANT = 64;

/** The far end goes on above the closed windows of a gateway: what it sent meanwhile was lost on the way. */
async function farEndCatchesUp(pair: Pair, at: Gateway): Promise<void> {
  for (const n of all) {
    const [there, here] = [await pair.sa('peer', n, 'in'), await pair.sa(at, n, 'in')];
    ok(there && here);
    const { replayEsnVal: esn, replayVal: plain } = there.attributes;
    const { replayEsnVal: esnHere, replayVal: plainHere } = here.attributes;
    const values =
      esn && esnHere
        ? { replayEsnVal: { ...esn, oseq: esnHere.seq, oseqHi: esnHere.seqHi } }
        : { replayVal: { oseq: plainHere?.seq ?? 0, seq: plain?.seq ?? 0, bitmap: plain?.bitmap ?? 0 } };
    await pair.with('peer', (client) => client.setAevent(saIdOf(there), values));
  }
}

/** The active dies with packets that nobody has heard of, and the other one takes over. */
async function die(pair: Pair, active: Gateway): Promise<void> {
  await pair.cluster.stop(active);
  await pair.flow(active, UNSEEN);
  await pair.powerOff(active);
  await pair.cluster.until(otherOf(active), (s) => !s.peers.some(({ connected }) => connected));
}

/** No SA of a gateway lets anything out, and nothing recorded comes in. */
async function isShut(pair: Pair, gateway: Gateway): Promise<void> {
  for (const n of all)
    same(await pair.transmit(gateway, n, 3), [], `${CONNECTIONS[n]?.name}: ${gateway} must not send`);
}

type Check = (make: MakeMachine) => Promise<void>;

export const pairChecks: Readonly<Record<string, Check>> = {
  'SAs and policies reach the standby, and cannot send there': async (make) => {
    await using pair = await Pair.make(make);
    await pair.cluster.when(async () => (await pair.sas('b')).length === 2 * all.length);
    const [first, second] = [await pair.sas('a'), await pair.sas('b')];
    for (const [i, sa] of first.entries()) {
      ok(canBeParked(sa));
      for (const name of ['algAead', 'algAuthTrunc', 'algCrypt'] as const)
        same(second[i]?.attributes[name], sa.attributes[name], name);
      same(second[i]?.body.id, sa.body.id);
      same(second[i]?.body.reqid, sa.body.reqid);
    }
    const policies = (host: Gateway) => pair.with(host, async (client) => (await client.dumpPolicies()).length);
    await pair.cluster.when(async () => (await policies('b')) === 2 * all.length);
    await isShut(pair, 'b');
    await pair.flow('a', 3);
  },

  'packets both ways in every kind of window, and the standby follows to the last one': async (make) => {
    await using pair = await Pair.make(make);
    await pair.flow('a', 25);
    // An odd number: the last packet comes with the timer.
    await pair.inStep('b');
    for (const n of all) {
      same((await pair.account('b', n, 'out')).oseq, 25);
      same((await pair.account('b', n, 'in')).seq, 25);
    }
    await pair.replay('a');
    await isShut(pair, 'b');
  },

  'thresholds that hold back: read from the kernel, and the skip is above what they hide': async (make) => {
    // No sweep, which would find what is held back.
    await using pair = await Pair.make(make, { more: { exposure: { adaptive: false }, replicate: { sweep_ms: 0 } } });
    for (const direction of ['out', 'in'] as const)
      await pair.with('a', (client) => client.setAevent(saIdOf(saOf(ESN, direction)), HELD_BACK));
    await pair.cluster.when(
      async () => (await pair.account('b', ESN, 'in')).thresholdPackets === HELD_BACK.replayThresh,
    );
    await pair.machine.arrive('peer', await pair.transmit('a', ESN, 2 * HELD_BACK.replayThresh - 1));
    await pair.receive('a', ESN, 2 * HELD_BACK.replayThresh - 1);
    const known = async (direction: 'in' | 'out') => {
      const { seq, oseq } = await pair.account('b', ESN, direction);
      return direction === 'in' ? seq : oseq;
    };
    for (const direction of ['in', 'out'] as const) {
      await pair.cluster.when(async () => (await known(direction)) >= HELD_BACK.replayThresh);
      // One more where the timer had run idle: then the first packet was announced, too.
      ok((await known(direction)) <= HELD_BACK.replayThresh + 1);
    }
    await pair.powerOff('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    same((await pair.promote('b')).kind, 'takeover');
    await pair.replay('b');
    const packets = await pair.transmit('b', ESN, 1);
    same((await pair.machine.arrive('peer', packets)).length, 1);
  },

  'SAs that are silent: known to be so, exposed to nothing, and taken over as they are': async (make) => {
    await using pair = await Pair.make(make, { more: { takeover: { quiet: 'open' } } });
    await pair.flow('a', 9);
    for (const name of ['a', 'b'] as const)
      await pair.cluster.until(name, (s) => s.quiet === 2 * all.length && s.exposure?.packets === 0);
    await pair.powerOff('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    same((await pair.promote('b')).kind, 'takeover');
    await pair.replay('b');
    await pair.flow('b', 3);
    await pair.replay('b');
  },

  'thresholds: T is lowered to the target in jiffies that nobody has told, and put back when the daemon ends': async (
    make,
  ) => {
    await using pair = await Pair.make(make, { more: { exposure: { ms: 400 } } });
    const thresholdsOf = (direction: 'in' | 'out') =>
      pair.with('a', async (client) => {
        const aevent = await client.getAevent(saIdOf(saOf(ESN, direction)), { thresholds: true });
        return [aevent?.attributes.replayThresh, aevent?.attributes.etimerThresh];
      });
    await pair.with('a', (client) => client.setAevent(saIdOf(saOf(ESN, 'out')), SLOW));
    const [packets, found] = await thresholdsOf('out');
    // Units of 100 ms, as it is read.
    ok((found ?? 0) >= 40);
    await pair.cluster.when(async () => [3, 4].includes((await thresholdsOf('out'))[1] ?? 0));
    await pair.flow('a', 9);
    await pair.inStep('b');
    await pair.cluster.resign('a');
    same(await thresholdsOf('out'), [packets, found]);
  },

  ...Object.fromEntries(
    (['immediate', 'takeover'] as const).map((install): [string, Check] => [
      `takeover, install = ${install}: above all that was sent, closed for all that was accepted`,
      async (make) => {
        await using pair = await Pair.make(make, { install });
        await pair.flow('a', 10);
        await pair.inStep('b');
        if (install === 'takeover') same(await pair.sas('b'), []);
        await die(pair, 'a');
        const report = await pair.promote('b');
        same([report.kind, report.sas, report.failed], ['takeover', 2 * all.length, 0]);
        await pair.replay('b');
        for (const n of all) {
          const packets = await pair.transmit('b', n, 5);
          same((await pair.machine.arrive('peer', packets)).length, 5, `${CONNECTIONS[n]?.name}: the far end accepts`);
          same((await pair.receive('b', n, 1)).accepted, [], `${CONNECTIONS[n]?.name}: within the closed window`);
        }
        await farEndCatchesUp(pair, 'b');
        await pair.flow('b', 40);
        await pair.replay('b');
        // The one that died comes back empty, and fills up.
        await pair.start('a');
        await pair.inStep('a');
        await isShut(pair, 'a');
        same((await pair.promote('a')).kind, 'switchover');
        await pair.flow('a', 5);
        await pair.replay('a');
      },
    ]),
  ),

  'soft limits that were passed on the old active are told where it goes on, before any packet': async (make) => {
    const limits = { softPacketLimit: 20n };
    await using pair = await Pair.make(make, { start: () => ({ limits }) });
    await pair.flow('a', 2 * Number(limits.softPacketLimit));
    await pair.inStep('b');
    await using events = await openEvents(pair.machine.kernels.b, { groups: [XfrmGroup.EXPIRE] });
    await die(pair, 'a');
    await pair.promote('b');
    const told = new Set<number>();
    for await (const event of events) {
      if (event.type !== 'message' || event.message.kind !== 'EXPIRE') continue;
      const { hard, state } = event.message.body;
      same(hard, 0);
      ok(!told.has(state.id.spi), 'told twice');
      told.add(state.id.spi);
      if (told.size === 2 * all.length) break;
    }
    await farEndCatchesUp(pair, 'b');
    await pair.flow('b', 3);
  },

  'takeover, inbound = window: what the standby has seen is refused, and the next packet gets in': async (make) => {
    await using pair = await Pair.make(make, { inbound: 'window' });
    await pair.flow('a', 11);
    await pair.inStep('b');
    await pair.powerOff('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    await pair.promote('b');
    await pair.replay('b');
    await pair.flow('b', 3);
  },

  'handover there and back: the next numbers, the same windows, nobody in between': async (make) => {
    await using pair = await Pair.make(make);
    await pair.flow('a', 7);
    for (const [to, last] of [
      ['b', 7],
      ['a', 11],
      ['b', 15],
    ] as const) {
      same((await pair.promote(to)).kind, 'switchover');
      await isShut(pair, otherOf(to));
      await pair.replay(to);
      for (const n of all) {
        const [packet] = await pair.transmit(to, n, 1);
        same(packet?.seq, last + 2, CONNECTIONS[n]?.name);
        same((await pair.machine.arrive('peer', packet ? [packet] : [])).length, 1);
        same((await pair.receive(to, n, 1)).accepted.length, 1);
      }
      await pair.flow(to, 2);
      await pair.cluster.until(otherOf(to), (s) => s.complete && s.peers[0]?.role === 'active');
    }
    await pair.inStep('a');
  },

  'a handover takes along the holes in a window': async (make) => {
    await using pair = await Pair.make(make);
    for (const n of all) {
      const sent = await pair.machine.transmit('peer', n, 20);
      const [late, seen] = [sent.filter(({ seq }) => seq % 5 === 0), sent.filter(({ seq }) => seq % 5 !== 0)];
      same((await pair.arrive('a', seen)).length, 16);
      pair.recorded.peer.push(...late, ...seen);
    }
    await pair.promote('b');
    const late = pair.recorded.peer.filter(({ seq }) => seq % 5 === 0);
    same((await pair.arrive('b', pair.recorded.peer)).length, late.length);
    await pair.replay('b');
  },

  'a daemon that restarts finds its kernel as it is: the active goes on, the standby is complete again': async (
    make,
  ) => {
    await using pair = await Pair.make(make);
    await pair.flow('a', 5);
    await pair.cluster.stop('a');
    await pair.flow('a', 6);
    await pair.start('a');
    same((await pair.cluster.status('a')).role, 'active');
    await pair.flow('a', 7);
    await pair.inStep('b');
    await pair.cluster.stop('b');
    await pair.flow('a', 8);
    await pair.start('b');
    await pair.inStep('b');
    await isShut(pair, 'b');
    await pair.promote('b');
    await pair.replay('b');
    await pair.flow('b', 3);
  },

  'an old active that comes back after a takeover lets nothing out and nothing in': async (make) => {
    await using pair = await Pair.make(make);
    await pair.flow('a', 10);
    await pair.cluster.stop('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    same((await pair.promote('b')).kind, 'takeover');
    await pair.start('a');
    await pair.cluster.until('a', (s) => s.role === 'standby' && s.term === 2 && s.complete);
    await isShut(pair, 'a');
    await farEndCatchesUp(pair, 'b');
    await pair.flow('b', 5);
    await pair.inStep('a');
    await isShut(pair, 'a');
    await pair.replay('b');
  },

  'an active that is cut off and not fenced stops at its ceilings, uses no number of the new one, and comes back':
    async (make) => {
      await using pair = await Pair.make(make, { grantMin: GRANT });
      await pair.flow('a', 10);
      await pair.inStep('b');
      pair.cable.pull();
      await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
      same((await pair.promote('b')).kind, 'takeover');
      // Both are alive, both believe to be active, and both have traffic.
      for (const n of all) {
        const old = await pair.transmit('a', n, 4 * GRANT);
        ok(old.length <= 2 * GRANT, `${CONNECTIONS[n]?.name}: the old active sent ${old.length}`);
        await pair.machine.arrive('peer', old);
        const fresh = await pair.transmit('b', n, 20);
        same((await pair.machine.arrive('peer', fresh)).length, 20, `${CONNECTIONS[n]?.name}: the new active sends`);
      }
      await isShut(pair, 'a');
      pair.cable.putIn();
      await pair.cluster.until('a', (s) => s.role === 'standby' && s.term === 2 && s.complete);
      await pair.inStep('a');
      await isShut(pair, 'a');
      await farEndCatchesUp(pair, 'b');
      await pair.flow('b', 5);
      await pair.inStep('a');
      same((await pair.promote('a')).kind, 'switchover');
      await pair.flow('a', 5);
      await pair.replay('a');
    },

  'an active whose standby is gone for good goes on when that is said': async (make) => {
    await using pair = await Pair.make(make, { grantMin: GRANT });
    await pair.flow('a', 10);
    await pair.inStep('b');
    await pair.cluster.stop('b');
    await pair.cluster.until('a', (s) => !s.peers.some(({ connected }) => connected) && s.bound);
    await pair.cluster.control('a', { command: 'dismiss' });
    await pair.cluster.when(async () =>
      (await pair.sas('a')).every(
        ({ body }) => body.lft.hardPacketLimit === XFRM_INF && body.lft.hardByteLimit === XFRM_INF,
      ),
    );
    for (const n of all) same((await pair.transmit('a', n, 4 * GRANT)).length, 4 * GRANT);
  },

  'events that are lost are made up for, in numbers and in SAs': async (make) => {
    await using pair = await Pair.make(make, { receiveBufferBytes: 4096 });
    await pair.flow('a', 200);
    await pair.with('a', (client) => client.deleteSa(saIdOf(saOf(LEGACY, 'in'))));
    await pair.cluster.until('a', (s) => s.counts.overruns > 0);
    await pair.cluster.until('b', (s) => s.sas === 2 * all.length - 1);
    await pair.inStep('b');
    await pair.cluster.when(async () => (await pair.sas('b')).length === 2 * all.length - 1);
    await pair.powerOff('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    await pair.promote('b');
    await pair.replay('b');
  },

  'a new SA under an old SPI: the old one is gone on both, and does not come back': async (make) => {
    await using pair = await Pair.make(make);
    await pair.flow('a', 9);
    const fresh = (host: 'a' | 'peer') =>
      pair.with(host, async (client) => {
        for (const direction of ['out', 'in'] as const) {
          await client.deleteSa(saIdOf(saOf(LEGACY, direction)));
          await client.addSa(saOf(LEGACY, direction, { key: 200 }));
        }
      });
    await fresh('a');
    await fresh('peer');
    const keyOf = async (direction: 'in' | 'out') =>
      (await pair.sa('b', LEGACY, direction))?.attributes.algAead?.key[0];
    await pair.cluster.when(async () => (await keyOf('in')) === 200 && (await keyOf('out')) === 200);
    await pair.inStep('b');
    same((await pair.account('b', LEGACY, 'out')).oseq, 0);
    await isShut(pair, 'b');
  },

  'extended numbers go over the edge of their lower half, and so does a takeover': async (make) => {
    const edge = 0xffff_fff0;
    await using pair = await Pair.make(make, { start: () => ({ oseq: edge, seq: edge }) });
    const packets = await pair.transmit('a', ESN, 40);
    same((await pair.machine.arrive('peer', packets)).length, 40);
    same((await pair.receive('a', ESN, 40)).accepted.length, 40);
    await pair.cluster.when(async () => (await pair.account('b', ESN, 'out')).oseq === 2 ** 32 + 24);
    await pair.powerOff('a');
    await pair.cluster.until('b', (s) => !s.peers.some(({ connected }) => connected));
    await pair.promote('b');
    const next = await pair.transmit('b', ESN, 3);
    same((await pair.machine.arrive('peer', next)).length, 3);
    await pair.replay('b');
    // Numbers of 32 bits are used up: that SA must be made anew, and sends nothing.
    same(await pair.transmit('b', LEGACY, 3), []);
  },
};
