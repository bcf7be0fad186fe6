import { describe, expect, it } from 'vitest';
import { saIdOf, XfrmClient } from '../../../src/client/index.ts';
import { EmulatedKernel, VirtualClock } from '../../../src/kernel/emulated/index.ts';
import type { Batch } from '../../../src/kernel/index.ts';
import { forEachMessage, NlmF } from '../../../src/netlink/index.ts';
import {
  type AnyXfrmMessage,
  decodeMessage,
  encodeMessage,
  XfrmGroup,
  type XfrmMessage,
} from '../../../src/xfrm/index.ts';
import { aevent, ask, newPolicy, newSa, received, world } from './world.ts';

/** Faults that fuzzing has found, each with what would show it again. */

const dumpOf = (attributes: XfrmMessage<'GETSA'>['attributes'] = {}): Uint8Array =>
  encodeMessage({ kind: 'GETSA', flags: 0x301, seq: 5, pid: 0, body: null, attributes });

describe("memory: what is the sender's, what is the reader's", () => {
  /** A message in the middle of memory that others use: what `Buffer.from` gives. */
  function pooled(message: Uint8Array): { readonly memory: Buffer; readonly datagram: Buffer } {
    const memory = Buffer.alloc(message.length + 64, 0xee);
    memory.set(message, 36);
    return { memory, datagram: memory.subarray(36, 36 + message.length) };
  }

  it('an SA does not change with the memory that it was sent in', () => {
    const here = world();
    const { memory, datagram } = pooled(encodeMessage(newSa({ replayThresh: 9 })));
    here.requests.send(datagram);
    memory.fill(0xff);
    expect(received(here.requests)).toMatchObject([{ kind: 'ERROR', body: { error: 0 } }]);
    const { sas } = here.kernel.snapshot({ showKeys: true });
    expect(sas).toMatchObject([{ message: { attributes: { algAead: { key: '07'.repeat(20) } } } }]);
  });

  it('nor do the templates of a policy', () => {
    const here = world();
    const { memory, datagram } = pooled(encodeMessage(newPolicy({}, 2)));
    here.requests.send(datagram);
    memory.fill(0xff);
    const tmpl = [{ reqid: 0 }, { reqid: 1 }];
    expect(here.kernel.snapshot().policies).toMatchObject([{ message: { attributes: { tmpl } } }]);
  });

  it('nor the filter of a dump that goes on', () => {
    // More than one datagram holds.
    const count = 400;
    const here = world();
    const { body, attributes } = newSa();
    for (let i = 0; i < count; i++) {
      const daddr = { ...body.id.daddr, w0: 0x0a09_0000 + (i % 2) };
      ask(here, { ...newSa(), body: { ...body, id: { ...body.id, daddr, spi: i + 1 } }, attributes });
    }
    const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
    const addressFilter = { saddr: zero, daddr: { ...zero, w0: 0x0a09_0001 }, family: 2, splen: 0, dplen: 32 };
    const { memory, datagram } = pooled(dumpOf({ addressFilter }));
    const spis: number[] = [];
    here.requests.receive((batch) => {
      for (const message of messagesOf(batch)) if (message.kind === 'NEWSA') spis.push(message.body.id.spi);
    });
    here.requests.send(datagram);
    memory.fill(0);
    here.requests.drain();
    expect(spis).toEqual(Array.from({ length: count / 2 }, (_, i) => count - 2 * i));
  });

  it('a batch stays as it is while its handler sends and is answered', () => {
    const here = world();
    ask(here, newSa());
    const { requests } = here;
    const seen: { before: Buffer; after: Buffer }[] = [];
    requests.receive((batch) => {
      const whole = (): Buffer =>
        Buffer.from(
          batch.buffer.slice(0, (batch.offsets[batch.count - 1] ?? 0) + (batch.lengths[batch.count - 1] ?? 0)),
        );
      const before = whole();
      if (seen.length < 3) for (let i = 0; i < 100; i++) requests.send(encodeMessage(aevent('GETAE')));
      seen.push({ before, after: whole() });
    });
    requests.send(encodeMessage(aevent('GETAE')));
    requests.drain();
    expect(seen).toHaveLength(4);
    for (const { before, after } of seen) expect(after.equals(before)).toBe(true);
    expect(seen.map(({ before }) => before.length > 100)).toEqual([true, true, true, true]);
  });

  it('what one listener does to a batch another does not see', () => {
    const here = world();
    ask(here, newSa());
    const [first, second] = [1, 2].map(() => here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] }));
    ask(here, aevent('NEWAE', { replayThresh: 5 }));
    first?.receive((batch) => void batch.buffer.fill(0xff));
    first?.drain();
    expect(second && received(second)).toMatchObject([{ kind: 'NEWAE' }]);
  });
});

function messagesOf(batch: Batch): AnyXfrmMessage[] {
  const all: AnyXfrmMessage[] = [];
  for (let i = 0; i < batch.count; i++) {
    const datagram = batch.buffer.slice(batch.offsets[i], (batch.offsets[i] ?? 0) + (batch.lengths[i] ?? 0));
    forEachMessage(datagram, (at) => all.push(decodeMessage(datagram, at)));
  }
  return all;
}

describe('messages that are larger than what the writer begins with', () => {
  it.each([4040, 4076, 4096, 9000, 70_000, 200_000])('a refusal quotes a request of %d bytes', (size) => {
    const here = world();
    // DELSA without such an SA: what follows its fixed part is attributes of a type that means nothing.
    const request = new Uint8Array(size);
    request.set(
      encodeMessage({
        kind: 'DELSA',
        flags: NlmF.REQUEST,
        seq: 6,
        pid: 0,
        body: { daddr: newSa().body.id.daddr, spi: 1, family: 2, proto: 50 },
        attributes: {},
      }),
    );
    const view = new DataView(request.buffer);
    view.setUint32(0, size, true);
    for (let at = 40; at < size; at += 4000) {
      view.setUint16(at, Math.min(4000, size - at), true);
      view.setUint16(at + 2, 200, true);
      request.fill(at & 0xff, at + 4, Math.min(at + 4000, size));
    }
    here.requests.setReceiveBuffer(1 << 20);
    here.requests.send(request);
    const { batch } = here.requests.read();
    expect(batch.count).toBe(1);
    const answer = Buffer.from(batch.buffer.slice(0, batch.lengths[0]));
    expect(answer.readInt32LE(16)).toBe(-3);
    expect(answer.subarray(20, 20 + size).equals(request)).toBe(true);
  });

  it('an SA with the longest attributes comes back, alone and in a dump', async () => {
    const kernel = new EmulatedKernel();
    await using client = await XfrmClient.open(kernel, { receiveBufferBytes: 1 << 22 });
    const bmp = Array.from({ length: 128 }, (_, i) => i * 0x0101_0101);
    const replayEsnVal = { bmpLen: 128, oseq: 1, seq: 2, oseqHi: 3, seqHi: 4, replayWindow: 4096, bmp };
    const key = Uint8Array.from({ length: 20 }, (_, i) => i);
    const sas = Array.from({ length: 200 }, (_, i) => {
      const { body, attributes } = newSa(
        { replayEsnVal, algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key } },
        i + 1,
      );
      return { body: { ...body, replayWindow: 0, flags: 128 }, attributes };
    });
    for (const sa of sas) await client.addSa(sa);
    const dumped = await client.dumpSas();
    expect(dumped.map(({ body }) => body.id.spi)).toEqual(sas.map(({ body }) => body.id.spi).reverse());
    for (const { attributes } of dumped) expect(attributes).toMatchObject({ replayEsnVal, algAead: { key } });
    const [first] = sas;
    expect(first && (await client.getSa(saIdOf(first)))?.attributes.replayEsnVal).toEqual(replayEsnVal);
  });

  it('a policy with six templates, on a kernel that has written nothing yet', async () => {
    const kernel = new EmulatedKernel();
    await using client = await XfrmClient.open(kernel);
    const policy = newPolicy({}, 6);
    await client.addPolicy(policy);
    expect((await client.dumpPolicies())[0]?.attributes.tmpl).toEqual(policy.attributes.tmpl);
  });
});

describe('limits in time that no clock reaches, or that have long passed', () => {
  const YEAR_MS = 365 * 86_400_000;

  /** A clock that gives up on whoever asks it without end. */
  class PatientClock extends VirtualClock {
    asked = 0;

    override monotonicMs(): number {
      if (++this.asked > 100_000) throw new Error('the engine waits for nothing');
      return super.monotonicMs();
    }
  }

  const extremes = [0n, 1n, 0x7fff_ffffn, 1n << 32n, (1n << 53n) + 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n];
  const fields = [
    'softAddExpiresSeconds',
    'hardAddExpiresSeconds',
    'softUseExpiresSeconds',
    'hardUseExpiresSeconds',
  ] as const;
  const pairs = fields.flatMap((a, i) => fields.slice(i + 1).map((b) => [a, b] as const));

  /** Lets an hour pass, sets the clock forth and back by years, and lets hours pass again. */
  function age(clock: VirtualClock): void {
    clock.advance(3_600_000);
    for (const years of [1, -3, 200, -198]) {
      clock.stepRealtime(years * YEAR_MS);
      clock.advance(3_600_000);
    }
  }

  it.each(pairs)('SAs: %s and %s', (a, b) => {
    for (const x of extremes) {
      for (const y of extremes) {
        for (const time of extremes) {
          const clock = new PatientClock();
          const here = world({ clock });
          const listener = here.kernel.openNow({ groups: [XfrmGroup.EXPIRE], receiveBufferBytes: 1 << 20 });
          const sa = newSa();
          ask(here, { ...sa, body: { ...sa.body, lft: { ...sa.body.lft, [a]: x, [b]: y } } });
          ask(here, aevent('NEWAE', { ltimeVal: { bytes: 0n, packets: 0n, addTime: time, useTime: time } }));
          age(clock);
          // Of an SA that was never used a limit of its use is looked at again and again, as in the kernel: not for centuries.
          if (!`${a} ${b}`.includes('Use')) clock.advance(300 * YEAR_MS);
          const told = received(listener).map((message) => (message as XfrmMessage<'EXPIRE'>).body.hard);
          // At most once soft, then once hard, and the SA is gone.
          expect([[], [0], [1], [0, 1]], `${a} ${x}, ${b} ${y}, since ${time}`).toContainEqual(told);
          expect(here.kernel.engine.sad.count).toBe(told.includes(1) ? 0 : 1);
        }
      }
    }
  });

  it.each(pairs)('policies: %s and %s', (a, b) => {
    for (const x of extremes) {
      for (const y of extremes) {
        const clock = new PatientClock();
        const here = world({ clock });
        const listener = here.kernel.openNow({ groups: [XfrmGroup.EXPIRE], receiveBufferBytes: 1 << 22 });
        ask(here, newPolicy({ [a]: x, [b]: y }));
        age(clock);
        const told = received(listener).map((message) => (message as XfrmMessage<'POLEXPIRE'>).body.hard);
        // A soft limit is told again every 30 s.
        expect(told.length, `${a} ${x}, ${b} ${y}`).toBeLessThanOrEqual(1 + (5 * 3600) / 30);
        expect(here.kernel.engine.spd.count).toBe(told.includes(1) ? 0 : 1);
      }
    }
  });

  it.each(['-2147483648', '-1', '0', '1', '2147483647'])('larval SAs: net.core.xfrm_acq_expires = %s', (text) => {
    const clock = new PatientClock();
    const here = world({ clock });
    expect(here.kernel.setSysctl('net.core.xfrm_acq_expires', text)).toBe(0);
    const { body } = newSa();
    const info = { ...body, id: { ...body.id, spi: 0 } };
    const range = { info, min: 0x100, max: 0x1ff };
    ask(here, { kind: 'ALLOCSPI', flags: NlmF.REQUEST, seq: 1, pid: 0, body: range, attributes: {} });
    age(clock);
    // 0 is no limit, and 68 years are not over.
    expect(here.kernel.engine.sad.count).toBe(['0', '2147483647'].includes(text) ? 1 : 0);
  });
});
