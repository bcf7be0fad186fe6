import { describe, expect, it } from 'vitest';
import type { EmulatedSocket } from '../../../src/kernel/emulated/index.ts';
import { NlmF } from '../../../src/netlink/index.ts';
import { AeFlag, type XfrmAttributes, XfrmGroup, xfrm, xfrmFirstLayout } from '../../../src/xfrm/index.ts';
import { ask, newSa, packetIn, packetOut, SPI, type World, world } from './world.ts';

/** What the documents of XFRM async events describe, flow by flow, with the identifier of the first of them and with that of the later ones. */

const { CR, CE, CU, RTHR, ETHR } = AeFlag;
const HZ = 250;
const ESRCH = 3;
const EINVAL = 22;
const saId = { daddr: { w0: 0x0a09_0001, w1: 0, w2: 0, w3: 0 }, spi: SPI, family: 2, proto: 50 } as const;
const saddr = { w0: 0x0a09_0002, w1: 0, w2: 0, w3: 0 };

/** One layout of the identifier: how it is written, and what it says of the SA beside its flags. */
interface Layout {
  readonly size: number;
  readonly firstAeventLayout: boolean;
  readonly beside: object;
  readonly request: (kind: 'NEWAE' | 'GETAE', ask: Asked) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

interface Asked {
  readonly attributes?: XfrmAttributes;
  readonly flags?: number;
  readonly spi?: number;
  readonly header?: number;
  readonly pid?: number;
}

interface Answer {
  readonly kind: string;
  readonly pid: number;
  readonly body: { readonly flags: number; readonly error: number };
  readonly attributes: XfrmAttributes;
}

const header = (kind: string): number => NlmF.REQUEST | (kind === 'NEWAE' ? NlmF.ROOT | NlmF.ACK : 0);

const layouts: Readonly<Record<string, Layout>> = {
  '{sa_id, flags}': {
    size: 28,
    firstAeventLayout: true,
    beside: { saId },
    request: (kind, { attributes = {}, flags = 0, spi = SPI, header: h = header(kind), pid = 0 }) =>
      xfrmFirstLayout.encode({ kind, flags: h, seq: 9, pid, body: { saId: { ...saId, spi }, flags }, attributes }),
    decode: (bytes) => xfrmFirstLayout.decode(bytes),
  },
  '{sa_id, saddr, flags, reqid}': {
    size: 48,
    firstAeventLayout: false,
    beside: { saId, saddr, reqid: 7 },
    request: (kind, { attributes = {}, flags = 0, spi = SPI, header: h = header(kind), pid = 0 }) => {
      const body = { saId: { ...saId, spi }, saddr, flags, reqid: 7 };
      return xfrm.encode({ kind, flags: h, seq: 9, pid, body, attributes });
    },
    decode: (bytes) => xfrm.decode(bytes),
  },
};

describe.each(Object.entries(layouts))('the flows of the documents, with %s', (_, layout) => {
  interface Here extends World {
    readonly listener: EmulatedSocket;
  }

  /** A world with one SA and a listener. */
  function watched(replayThresh: number, etimerThresh: number): Here {
    const here = world({ hz: HZ, firstAeventLayout: layout.firstAeventLayout });
    const listener = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    ask(here, newSa({ replayThresh, etimerThresh }));
    return { ...here, listener };
  }

  function read(socket: EmulatedSocket): Answer[] {
    const { batch } = socket.read();
    return Array.from({ length: batch.count }, (_, i) => {
      const at = batch.offsets[i] as number;
      return layout.decode(batch.buffer.slice(at, at + (batch.lengths[i] as number))) as Answer;
    });
  }

  function say({ requests }: World, kind: 'NEWAE' | 'GETAE', asked: Asked = {}): Answer[] {
    requests.send(layout.request(kind, asked));
    return read(requests);
  }

  const causes = (here: Here): number[] => read(here.listener).map(({ body }) => body.flags);
  const both = ['replayVal', 'ltimeVal'];

  it('i: each value and each threshold is set by its attribute, and the sender is answered', () => {
    const here = watched(2, HZ);
    const replayVal = { oseq: 70, seq: 90, bitmap: 3 };
    const ltimeVal = { bytes: 5000n, packets: 50n, addTime: 1_600_000_000n, useTime: 1_600_000_005n };
    const given = [{ replayVal }, { ltimeVal }, { replayThresh: 9 }, { etimerThresh: 3 * HZ }];
    for (const attributes of given) expect(say(here, 'NEWAE', { attributes })).toMatchObject([{ body: { error: 0 } }]);
    const [found] = say(here, 'GETAE', { flags: RTHR | ETHR });
    // Thresholds in time are set in jiffies and read in units of 100 ms.
    expect(found?.attributes).toEqual({ replayVal, ltimeVal, replayThresh: 9, etimerThresh: 30 });
  });

  it('i: a failure is answered too, and is told to nobody', () => {
    const here = watched(2, HZ);
    const attributes = { replayThresh: 9 };
    expect(say(here, 'NEWAE', { attributes, spi: 1 })).toMatchObject([{ body: { error: -ESRCH } }]);
    expect(say(here, 'NEWAE', {})).toMatchObject([{ body: { error: -EINVAL } }]);
    expect(say(here, 'NEWAE', { attributes, header: NlmF.REQUEST })).toMatchObject([{ body: { error: -EINVAL } }]);
    expect(causes(here)).toEqual([]);
  });

  it('ii: the answer to GETAE is a NEWAE with both values, and with the thresholds that were asked for', () => {
    const here = watched(2, HZ);
    for (const [flags, names] of [
      [0, both],
      [RTHR, [...both, 'replayThresh']],
      [ETHR, [...both, 'etimerThresh']],
      [RTHR | ETHR, [...both, 'replayThresh', 'etimerThresh']],
    ] as const) {
      const [answer] = say(here, 'GETAE', { flags });
      expect(answer).toMatchObject({ kind: 'NEWAE', body: { ...layout.beside, flags } });
      expect(Object.keys(answer?.attributes ?? {})).toEqual(names);
    }
    expect(causes(here)).toEqual([]);
  });

  it('iii: what user space sets all listeners are told, with CU and both values', () => {
    const here = watched(2, HZ);
    const other = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    for (const attributes of [{ replayVal: { oseq: 70, seq: 90, bitmap: 3 } }, { replayThresh: 9 }]) {
      say(here, 'NEWAE', { attributes });
      const [event, ...more] = read(here.listener);
      expect(more).toEqual([]);
      expect(event).toMatchObject({ kind: 'NEWAE', body: { ...layout.beside, flags: CU } });
      expect(event?.attributes).toMatchObject({ replayVal: { oseq: 70, seq: 90, bitmap: 3 } });
      expect(Object.keys(event?.attributes ?? {})).toEqual(both);
      expect(read(other)).toEqual([event]);
    }
  });

  it('iv: at the threshold CR, after the time CE, never both, and both values each time', () => {
    const here = watched(3, HZ);
    for (let seq = 1; seq <= 3; seq++) packetIn(here, seq);
    for (let i = 0; i < 3; i++) packetOut(here);
    packetIn(here, 4);
    here.clock.advance(1100);
    const events = read(here.listener);
    expect(events.map(({ body }) => body.flags)).toEqual([CR, CR, CE]);
    for (const { body, attributes } of events) {
      expect(body).toMatchObject(layout.beside);
      expect(Object.keys(attributes)).toEqual(both);
    }
    expect(events.map(({ attributes }) => [attributes.replayVal?.seq, attributes.replayVal?.oseq])).toEqual([
      [3, 0],
      [3, 3],
      [4, 3],
    ]);
  });

  it('the process id is that of the request in what a request has caused, and 0 in what a packet has', () => {
    const here = watched(1, 0);
    expect(say(here, 'GETAE', { pid: 4242 })).toMatchObject([{ kind: 'NEWAE', pid: 4242 }]);
    say(here, 'NEWAE', { attributes: { etimerThresh: 0 }, pid: 777 });
    packetIn(here, 1);
    expect(read(here.listener).map(({ body, pid }) => [body.flags, pid])).toEqual([
      [CU, 777],
      [CR, 0],
    ]);
  });

  it('nothing is told, and nothing counts as told, unless somebody listens', () => {
    const here = watched(3, 0);
    here.listener.close();
    for (let seq = 1; seq <= 5; seq++) packetIn(here, seq);
    const late = here.kernel.openNow({ groups: [XfrmGroup.AEVENTS] });
    expect(read(late)).toEqual([]);
    packetIn(here, 6);
    expect(read(late).map(({ body }) => body.flags)).toEqual([CR]);
  });

  it('the exception for bursts: after a time without packets the first one is told at once, the next ones are not', () => {
    const here = watched(100, HZ);
    here.clock.advance(5000);
    expect(causes(here)).toEqual([]);
    packetIn(here, 1);
    expect(causes(here)).toEqual([CE]);
    for (let seq = 2; seq <= 50; seq++) packetIn(here, seq);
    expect(causes(here)).toEqual([]);
  });

  it('an identifier that is a byte too short is refused', () => {
    const here = watched(2, HZ);
    const request = layout.request('GETAE', {}).slice(0, 16 + layout.size - 1);
    new DataView(request.buffer).setUint32(0, request.length, new Uint8Array(new Uint16Array([1]).buffer)[0] === 1);
    here.requests.send(request);
    expect(read(here.requests)).toMatchObject([{ kind: 'ERROR', body: { error: -EINVAL } }]);
  });
});

describe('the two sysctls of the documents', () => {
  const etime = '/proc/sys/net/core/xfrm_aevent_etime';
  const rseqth = '/proc/sys/net/core/xfrm_aevent_rseqth';

  function thresholds({ requests }: World): object {
    const shipped = layouts['{sa_id, saddr, flags, reqid}'] as Layout;
    requests.send(shipped.request('GETAE', { flags: RTHR | ETHR }));
    const { batch } = requests.read();
    const { replayThresh, etimerThresh } = (shipped.decode(batch.buffer.slice(0, batch.lengths[0])) as Answer)
      .attributes;
    return { replayThresh, etimerThresh };
  }

  it('are 10 units of 100 ms and 2 packets, and count for SAs that say nothing themselves', () => {
    const here = world({ hz: HZ });
    expect([here.kernel.sysctl(etime), here.kernel.sysctl(rseqth)]).toEqual(['10', '2']);
    ask(here, newSa());
    expect(thresholds(here)).toEqual({ replayThresh: 2, etimerThresh: 10 });
    expect([here.kernel.setSysctl(etime, '30'), here.kernel.setSysctl(rseqth, '50')]).toEqual([0, 0]);
    expect(thresholds(here)).toEqual({ replayThresh: 2, etimerThresh: 10 });
    const later = world({ hz: HZ });
    later.kernel.setSysctl('net.core.xfrm_aevent_etime', '30');
    later.kernel.setSysctl('net.core.xfrm_aevent_rseqth', '50');
    ask(later, newSa());
    expect(thresholds(later)).toEqual({ replayThresh: 50, etimerThresh: 30 });
    expect(later.kernel.sysctl(etime)).toBe('30');
  });

  it.each(['sysctl_xfrm_aevent_etime', 'sysctl_xfrm_aevent_rseqth'])(
    'have no prefix in Linux: %s is not there',
    (name) => {
      const { kernel } = world();
      expect(kernel.sysctl(`/proc/sys/net/core/${name}`)).toBeUndefined();
      expect(kernel.setSysctl(`/proc/sys/net/core/${name}`, '1')).toBe(2);
    },
  );
});
