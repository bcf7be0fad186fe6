import { describe, expect, it } from 'vitest';
import type { Flow } from '../../../src/kernel/emulated/index.ts';
import { Row } from '../../../src/kernel/emulated/row.ts';
import { NlmF } from '../../../src/netlink/index.ts';
import { encodeMessage, XFRM_INF, type XfrmMessage } from '../../../src/xfrm/index.ts';
import { newSa, type World, world } from './world.ts';

/** Outbound packets: which policy, which SA. */

const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
const GATEWAY = { ...zero, w0: 0xc000_0201 };
const TUNNEL = 1;
const INET6 = 10;

interface Route {
  host: number;
  reqid: number;
  priority?: number;
  ifId?: number;
  ifindex?: number;
  prefix?: number;
}

function policyTo({ host, reqid, priority = 0, ifId, ifindex = 0, prefix = 32 }: Route): XfrmMessage<'NEWPOLICY'> {
  const { sel, lft, curlft } = newSa().body;
  return {
    kind: 'NEWPOLICY',
    flags: NlmF.REQUEST | NlmF.CREATE,
    seq: 1,
    pid: 0,
    body: {
      sel: { ...sel, daddr: { ...zero, w0: host }, prefixlenD: prefix, ifindex },
      lft: { ...lft, softByteLimit: XFRM_INF },
      curlft,
      priority,
      index: 0,
      dir: 1,
      action: 0,
      flags: 0,
      share: 0,
    },
    attributes: {
      ...(ifId === undefined ? {} : { ifId }),
      tmpl: [
        {
          id: { daddr: GATEWAY, spi: 0, proto: 50 },
          family: 2,
          saddr: { ...zero, w0: 0xc000_0202 },
          reqid,
          mode: TUNNEL,
          share: 0,
          optional: 0,
          aalgos: 0xffff_ffff,
          ealgos: 0xffff_ffff,
          calgos: 0xffff_ffff,
        },
      ],
    },
  };
}

function tunnelSa(reqid: number, ifId?: number): XfrmMessage<'NEWSA'> {
  const sa = newSa(ifId === undefined ? {} : { ifId });
  const body = { ...sa.body, id: { ...sa.body.id, daddr: GATEWAY, spi: 0x1000 + reqid }, reqid, mode: TUNNEL };
  return { ...sa, flags: NlmF.REQUEST, body: { ...body, saddr: { ...zero, w0: 0xc000_0202 } } };
}

function flowTo(host: number, ifindex?: number): Flow {
  const daddr = new Uint8Array(16);
  new DataView(daddr.buffer).setUint32(0, host);
  const flow = { family: 2, saddr: new Uint8Array(16), daddr, proto: 6, sport: 1, dport: 2 };
  return ifindex === undefined ? flow : { ...flow, ifindex };
}

/** The reqid of the SA that a packet takes; 0: none. */
function reqidOf({ kernel }: World, flow: Flow, ifId = 0): number {
  const { slot } = kernel.output({ flow, mark: 0, ifId, payloadBytes: 1, packetBytes: 1 });
  const { sad } = kernel.engine;
  return slot < 0 ? 0 : (sad.words[sad.row(slot) + Row.REQID] as number);
}

const send = ({ requests }: World, message: XfrmMessage<'NEWSA'> | XfrmMessage<'NEWPOLICY'>): void =>
  requests.send(encodeMessage(message));

describe('an outbound packet', () => {
  it('finds its own among ten thousand policies and SAs', () => {
    const here = world();
    const count = 10_000;
    const host = (i: number): number => 0x0a00_0000 + i;
    for (let i = 1; i <= count; i++) {
      send(here, tunnelSa(i));
      send(here, policyTo({ host: host(i), reqid: i, priority: i % 7 }));
    }
    expect(here.kernel.engine.spd.count).toBe(count);
    for (let i = 1; i <= count; i += 37) expect(reqidOf(here, flowTo(host(i)))).toBe(i);
    expect(reqidOf(here, flowTo(host(count + 1)))).toBe(0);
  });

  it('takes the policy of the lowest priority, of equals the oldest, be it the wider one', () => {
    const here = world();
    for (const reqid of [1, 2, 3]) send(here, tunnelSa(reqid));
    send(here, policyTo({ host: 0x0a01_0000, prefix: 16, reqid: 1, priority: 5 }));
    send(here, policyTo({ host: 0x0a01_0203, reqid: 2, priority: 5 }));
    expect(reqidOf(here, flowTo(0x0a01_0203))).toBe(1);
    send(here, policyTo({ host: 0x0a01_0203, prefix: 24, reqid: 3, priority: 4 }));
    expect(reqidOf(here, flowTo(0x0a01_0203))).toBe(3);
    expect(reqidOf(here, flowTo(0x0a01_0903))).toBe(1);
  });

  it('of an interface takes the policy of that interface', () => {
    const here = world();
    for (const reqid of [1, 2]) send(here, tunnelSa(reqid));
    send(here, tunnelSa(3, 9));
    send(here, policyTo({ host: 0, prefix: 0, reqid: 1, ifindex: 4 }));
    send(here, policyTo({ host: 0, prefix: 1, reqid: 2 }));
    send(here, policyTo({ host: 0, prefix: 0, reqid: 3, ifId: 9 }));
    expect(reqidOf(here, flowTo(1, 4))).toBe(1);
    expect(reqidOf(here, flowTo(1, 5))).toBe(2);
    expect(reqidOf(here, flowTo(1))).toBe(2);
    expect(reqidOf(here, flowTo(1, 4), 9)).toBe(3);
  });

  it('looks at few SAs for its own among many of one reqid to IPv6 hosts of one network', () => {
    const { kernel, requests } = world();
    const count = 5000;
    const address = (i: number) => ({ w0: 0x2001_0db8, w1: 0, w2: 0, w3: i });
    const sa = newSa();
    for (let i = 1; i <= count; i++) {
      const body = { ...sa.body, family: INET6, sel: { ...sa.body.sel, family: INET6 }, saddr: address(0) };
      const id = { ...sa.body.id, daddr: address(i), spi: 0x1000 + i };
      requests.send(encodeMessage({ ...sa, flags: NlmF.REQUEST, body: { ...body, id } }));
    }
    const { sad } = kernel.engine;
    expect(sad.count).toBe(count);
    const ends = new Uint32Array(8);
    let longest = 0;
    for (let slot = sad.newest(); slot >= 0; slot = sad.older(slot)) {
      const row = sad.row(slot);
      ends.set(sad.words.subarray(row + Row.DADDR, row + Row.DADDR + 4), 0);
      ends.set(sad.words.subarray(row + Row.SADDR, row + Row.SADDR + 4), 4);
      let length = 0;
      let found = false;
      for (let at = sad.firstCandidate(ends, 0, 4, sa.body.reqid, INET6); at >= 0; at = sad.nextCandidate(at)) {
        length++;
        found ||= at === slot;
      }
      expect(found).toBe(true);
      longest = Math.max(longest, length);
    }
    expect(longest).toBeLessThan(16);
  });
});
