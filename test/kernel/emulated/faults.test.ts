import { describe, expect, it } from 'vitest';
import { KernelError } from '../../../src/kernel/index.ts';
import { NlmF } from '../../../src/netlink/index.ts';
import { type AnyXfrmMessage, XfrmGroup, type XfrmMessage, XfrmMsg } from '../../../src/xfrm/index.ts';
import { aevent, ask, kinds, newSa, packetIn, received, type World, world } from './world.ts';

const ENOENT = 2;
const ENOMEM = 12;
const EBUSY = 16;
const ENOBUFS = 105;
const CU = 0x40;

/** A world with an SA, and a listener for its aevents. */
function listening(): World & { readonly listener: ReturnType<World['kernel']['openNow']> } {
  const here = world();
  ask(here, newSa({ etimerThresh: 0 }));
  return { ...here, listener: here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] }) };
}

const set = (oseq: number): AnyXfrmMessage => aevent('NEWAE', { replayVal: { oseq, seq: 0, bitmap: 0 } });

/** What a request was answered with: 0, or the positive errno; its reply's kind. */
function answer(here: World, message: AnyXfrmMessage): number | string | undefined {
  const [first] = ask(here, message);
  return first?.kind === 'ERROR' ? 0 - first.body.error : first?.kind;
}

const oseqs = (messages: readonly AnyXfrmMessage[]): (number | undefined)[] =>
  messages.map((message) => (message as XfrmMessage<'NEWAE'>).attributes.replayVal?.oseq);

const dump: AnyXfrmMessage = { kind: 'GETSA', flags: 0x301, seq: 5, pid: 0, body: null, attributes: {} };

describe('messages lost without a word', () => {
  it('the next ones, and no more', () => {
    const here = listening();
    here.listener.loseNext({ count: 2 });
    for (let oseq = 1; oseq <= 4; oseq++) ask(here, set(oseq));
    expect(oseqs(received(here.listener))).toEqual([3, 4]);
    expect(here.listener.drops).toBe(0);
  });

  it('those of one type, or of which the test says so', () => {
    const here = listening();
    here.listener.setGroups((1 << (XfrmGroup.AEVENTS - 1)) | (1 << (XfrmGroup.SA - 1)));
    here.listener.loseNext({ type: XfrmMsg.NEWSA });
    here.listener.loseNext({ where: (message) => message.at(68) === 2, count: Number.POSITIVE_INFINITY });
    for (const oseq of [1, 2, 2, 3]) ask(here, set(oseq));
    ask(here, newSa({}, 0x300));
    ask(here, newSa({}, 0x301));
    const got = received(here.listener);
    expect(oseqs(got.slice(0, 2))).toEqual([1, 3]);
    expect(got.slice(2).map(({ kind }) => kind)).toEqual(['NEWSA']);
    here.listener.clearFaults();
    ask(here, set(2));
    expect(oseqs(received(here.listener))).toEqual([2]);
  });

  it('an answer: the request was carried out', () => {
    const here = listening();
    here.requests.loseNext();
    expect(ask(here, set(9))).toEqual([]);
    expect(oseqs(ask(here, aevent('GETAE')))).toEqual([9]);
  });
});

describe('overrun', () => {
  it('is told once, before what waits; everything is lost until that has been read', () => {
    const { listener, ...here } = listening();
    const got: string[] = [];
    listener.onOverrun(() => got.push('overrun'));
    listener.receive((batch) => void got.push(`${batch.count} events`));
    ask(here, set(1));
    listener.overrun();
    ask(here, set(2));
    ask(here, set(3));
    listener.drain();
    ask(here, set(4));
    listener.drain();
    expect(got).toEqual(['overrun', '1 events', '1 events']);
    expect(listener.drops).toBe(3);
  });

  it('of an empty queue ends when it has been told', () => {
    const { listener, ...here } = listening();
    const got: string[] = [];
    listener.onOverrun(() => got.push('overrun'));
    listener.receive((batch) => void got.push(`${batch.count} events`));
    listener.overrun();
    listener.drain();
    ask(here, set(1));
    listener.drain();
    expect(got).toEqual(['overrun', '1 events']);
  });
});

describe('requests refused', () => {
  it('with the errno asked for, nothing done, once', () => {
    const here = listening();
    here.kernel.refuseNext(EBUSY);
    expect(answer(here, set(5))).toBe(EBUSY);
    expect(oseqs(ask(here, aevent('GETAE')))).toEqual([0]);
    expect(received(here.listener)).toEqual([]);
    expect(answer(here, set(5))).toBe(0);
  });

  it('those of one type alone, in the order asked for', () => {
    const here = listening();
    here.kernel.refuseNext(EBUSY, { type: XfrmMsg.NEWAE, count: 2 });
    here.kernel.refuseNext(ENOMEM, { type: XfrmMsg.NEWAE });
    expect(answer(here, aevent('GETAE'))).toBe('NEWAE');
    expect([1, 2, 3, 4].map((oseq) => answer(here, set(oseq)))).toEqual([EBUSY, EBUSY, ENOMEM, 0]);
  });

  it('a dump as well: it does not begin', () => {
    const here = listening();
    here.kernel.refuseNext(EBUSY, { type: XfrmMsg.GETSA });
    expect(answer(here, dump)).toBe(EBUSY);
    expect(answer(here, dump)).toBe('NEWSA');
  });

  it('a send that fails: nothing of it is carried out', () => {
    const here = listening();
    here.requests.refuseSends(1);
    expect(() => ask(here, set(5))).toThrow(expect.objectContaining({ code: 'ERR_SYSCALL', errno: ENOBUFS }));
    expect(oseqs(ask(here, aevent('GETAE')))).toEqual([0]);
  });

  it.each([0, -12, 1.5, 5000, Number.NaN])('not with %d, which is no errno', (errno) => {
    const here = world();
    expect(() => here.kernel.refuseNext(errno)).toThrow(KernelError);
    expect(() => here.requests.refuseSends(1, errno)).toThrow(KernelError);
    expect(() => here.requests.fail(errno)).toThrow(KernelError);
  });

  it.each([0, -1, 1.5, Number.NaN])('not %d times', (count) => {
    const here = world();
    expect(() => here.kernel.refuseNext(EBUSY, { count })).toThrow(KernelError);
    expect(() => here.requests.loseNext({ count })).toThrow(KernelError);
    expect(() => here.requests.refuseSends(count)).toThrow(KernelError);
  });
});

describe('memory pressure', () => {
  it('what allocates is refused as Linux does, and the rest is carried out', () => {
    const here = world();
    ask(here, newSa());
    here.kernel.memoryPressure = true;
    const { body } = newSa();
    const spiRange = {
      body: { info: { ...body, id: { ...body.id, spi: 0 } }, min: 0x400, max: 0x4ff },
      attributes: {},
    };
    const common = { flags: NlmF.REQUEST | NlmF.ACK, seq: 1, pid: 0 };
    expect(answer(here, newSa({}, 0x300))).toBe(ENOMEM);
    expect(answer(here, { kind: 'ALLOCSPI', ...common, ...spiRange })).toBe(ENOENT);
    expect(answer(here, aevent('GETAE'))).toBe(ENOMEM);
    expect(answer(here, { kind: 'GETSADINFO', ...common, body: { flags: 0 }, attributes: {} } as AnyXfrmMessage)).toBe(
      ENOMEM,
    );
    expect(answer(here, dump)).toBe(ENOBUFS);
    expect(answer(here, set(7))).toBe(0);
    here.kernel.memoryPressure = false;
    expect(oseqs(ask(here, aevent('GETAE')))).toEqual([7]);
    expect(here.kernel.engine.sad.count).toBe(1);
  });

  it('events are lost and their listeners told; packets go on', () => {
    const here = listening();
    ask(here, aevent('NEWAE', { replayThresh: 1 }));
    expect(kinds(here.listener)).toEqual([CU]);
    here.kernel.memoryPressure = true;
    expect(packetIn(here, 1)).toBe(0);
    expect(here.listener.drops).toBe(1);
    expect(here.listener.read()).toMatchObject({ overrun: true, batch: { count: 0 } });
    here.kernel.clearFaults();
    expect(packetIn(here, 2)).toBe(0);
    expect(received(here.listener)).toMatchObject([{ attributes: { replayVal: { seq: 2 } } }]);
  });
});

describe('a socket that is held', () => {
  it('gets nothing until it is released, then all of it', () => {
    const turns: (() => void)[] = [];
    const here = world({ later: (run) => void turns.push(run) });
    const turn = (): void => {
      for (const run of turns.splice(0)) run();
    };
    ask(here, newSa());
    const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS], receiveBufferBytes: 1 });
    const got: string[] = [];
    listener.onOverrun(() => got.push('overrun'));
    listener.receive((batch) => void got.push(`${batch.count} events`));
    turn();
    listener.hold();
    ask(here, set(1));
    ask(here, set(2));
    turn();
    listener.drain();
    expect(got).toEqual([]);
    listener.release();
    turn();
    expect(got).toEqual(['2 events']);
    listener.hold();
    for (let oseq = 3; oseq < 9; oseq++) ask(here, set(oseq));
    here.kernel.clearFaults();
    turn();
    expect(got.slice(1)).toEqual(['overrun', '3 events']);
  });
});

describe('a socket that fails', () => {
  it('is closed, and says why', () => {
    const here = listening();
    const errors: Error[] = [];
    here.listener.onError((error) => errors.push(error));
    here.listener.fail();
    here.listener.fail();
    expect(errors).toMatchObject([{ name: 'KernelError', code: 'ERR_SYSCALL', errno: ENOMEM, syscall: 'recvmmsg' }]);
    expect(() => here.listener.drain()).toThrow(/closed/);
    expect(here.kernel.sockets()).toEqual([here.requests]);
    expect(here.kernel.engine.host.listeners[XfrmGroup.AEVENTS]).toBe(0);
  });
});

describe('the time of day', () => {
  it('can be set while the monotonic clock goes on', () => {
    const { clock } = world();
    const before = clock.realtimeMs();
    clock.stepRealtime(-3_600_000);
    clock.advance(1000);
    expect([clock.realtimeMs() - before, clock.monotonicMs()]).toEqual([-3_599_000, 1000]);
  });
});
