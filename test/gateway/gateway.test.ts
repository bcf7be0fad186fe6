import { afterEach, describe, expect, it } from 'vitest';
import { freeUdpPorts } from '../../src/demo/sockets.ts';
import type { Gateway, GatewayOptions } from '../../src/gateway/index.ts';
import { type Host, host, kernelOf, LOCAL, numberOf, OUTER, open, other, packet, type Side } from './world.ts';

/** The user-space gateway on real UDP sockets of loopback, packets through two of them and a wire-tap between. */

const opened: { close(): unknown }[] = [];
afterEach(() => {
  for (const each of opened.splice(0).reverse()) each.close();
});

const newHost = async (): Promise<Host> => {
  const made = await host();
  opened.push(made.socket);
  return made;
};

interface Site {
  readonly gateway: Gateway;
  readonly options: GatewayOptions;
  readonly inside: Host;
}

const at = (port: number): { host: string; port: number } => ({ host: LOCAL, port });

/** A gateway whose only remote is behind `wire`. */
async function site(side: Side, wire: Host, more: Partial<GatewayOptions> = {}): Promise<Site> {
  const inside = await newHost();
  const [outsidePort = 0, insidePort = 0] = await freeUdpPorts(2);
  const options: GatewayOptions = {
    listen: at(outsidePort),
    addresses: [OUTER[side]],
    remotes: [{ address: OUTER[other(side)], at: at(wire.port) }],
    inside: { listen: at(insidePort), to: at(inside.port) },
    ...more,
  };
  const gateway = await open(await kernelOf(side), options);
  opened.push(gateway);
  return { gateway, options, inside };
}

const send = (from: Host, bytes: Uint8Array, to: { port: number }): void => from.socket.send(bytes, to.port, LOCAL);
const insideOf = ({ options: { inside } }: Site): { port: number } =>
  'listen' in inside ? inside.listen : { port: 0 };
const sendInside = (site: Site, side: Side, n: number): void => send(site.inside, packet(side, n), insideOf(site));
const received = (site: Site): number[] => site.inside.received.map(numberOf);
const isEsp = (bytes: Buffer): boolean => bytes.length > 1;

describe('a user-space gateway', () => {
  it('protects what comes from inside, and opens what comes from outside, each once', async () => {
    const wire = await newHost();
    const a = await site('a', wire);
    const b = await site('b', wire);
    a.gateway.start();
    b.gateway.start();
    for (let n = 1; n <= 20; n++) sendInside(a, 'a', n);
    await expect.poll(() => wire.received.filter(isEsp).length).toBe(20);
    for (const esp of wire.received.filter(isEsp)) {
      expect(esp.indexOf(packet('a', 1).subarray(12, 20))).toBe(-1);
      send(wire, esp, b.options.listen);
      send(wire, esp, b.options.listen);
    }
    await expect.poll(() => b.gateway.counts).toMatchObject({ OPENED: 20, REPLAY: 20 });
    await expect.poll(() => received(b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(b.inside.received[0]?.subarray(20)).toEqual(Buffer.from(packet('a', 1).subarray(20)));
  });

  it('tells remotes and inside that it is here', async () => {
    const wire = await newHost();
    const a = await site('a', wire);
    a.gateway.start();
    await expect.poll(() => wire.received).toEqual([Buffer.of(0xff)]);
    await expect.poll(() => a.inside.announcements).toBe(1);
  });

  it('takes nothing from strangers, neither outside nor inside', async () => {
    const wire = await newHost();
    const stranger = await newHost();
    const a = await site('a', wire);
    const b = await site('b', wire);
    a.gateway.start();
    b.gateway.start();
    send(stranger, packet('a', 1), insideOf(a));
    sendInside(a, 'a', 2);
    await expect.poll(() => wire.received.filter(isEsp).length).toBe(1);
    expect(a.gateway.counts).toEqual({ SEALED: 1 });
    const [esp = Buffer.alloc(0)] = wire.received.filter(isEsp);
    send(stranger, esp, b.options.listen);
    await expect.poll(() => b.gateway.counts).toEqual({ UNKNOWN: 1 });
    send(wire, esp, b.options.listen);
    await expect.poll(() => received(b)).toEqual([2]);
  });

  it('drops what no policy is for, and garbage', async () => {
    const wire = await newHost();
    const a = await site('a', wire);
    a.gateway.start();
    sendInside(a, 'b', 1);
    send(a.inside, Buffer.from('no packet'), insideOf(a));
    send(wire, Buffer.alloc(100, 7), a.options.listen);
    await expect.poll(() => a.gateway.counts).toEqual({ CLEAR: 1, MALFORMED: 1, NO_SA: 1 });
    expect(wire.received.filter(isEsp)).toEqual([]);
  });

  it('holds what comes before it is switched on', async () => {
    const wire = await newHost();
    const a = await site('a', wire);
    const b = await site('b', wire);
    a.gateway.start();
    sendInside(a, 'a', 1);
    await expect.poll(() => wire.received.filter(isEsp).length).toBe(1);
    for (const esp of wire.received.filter(isEsp)) send(wire, esp, b.options.listen);
    // Behind it in the same socket; once it is counted, the packet before it has been read.
    send(await newHost(), Buffer.of(1, 2), b.options.listen);
    await expect.poll(() => b.gateway.counts).toEqual({ UNKNOWN: 1 });
    b.gateway.start();
    await expect.poll(() => received(b)).toEqual([1]);
    expect(b.gateway.counts).toEqual({ UNKNOWN: 1, OPENED: 1 });
  });

  it('passes on to its partner what comes after it was released, and nothing of it is lost', async () => {
    const wire = await newHost();
    const peer = await site('b', wire);
    const [outside = 0, inside = 0] = await freeUdpPorts(2);
    const old = await site('a', wire, { partner: { outside: at(outside), inside: at(inside) } });
    const fresh = await site('a', wire, {
      listen: at(outside),
      inside: { listen: at(inside), to: at(old.inside.port) },
      partner: { outside: old.options.listen, inside: at(insideOf(old).port) },
    });
    peer.gateway.start();
    old.gateway.start();
    old.gateway.release();
    sendInside(peer, 'b', 1);
    await expect.poll(() => wire.received.filter(isEsp).length).toBe(1);
    for (const esp of wire.received.filter(isEsp)) send(wire, esp, old.options.listen);
    sendInside(old, 'a', 2);
    fresh.gateway.start();
    await expect.poll(() => fresh.gateway.counts).toEqual({ OPENED: 1, SEALED: 1 });
    await expect.poll(() => received(old)).toEqual([1]);
    expect(old.gateway.counts).toEqual({});
    old.gateway.start();
    sendInside(old, 'a', 3);
    await expect.poll(() => old.gateway.counts).toEqual({ SEALED: 1 });
  });

  it.each([
    ['a remote of another family', { remotes: [{ address: '2001:db8::2', at: at(1) }] }, 'gateway.addresses'],
    ['two addresses of one family', { addresses: ['192.0.2.1', '192.0.2.2'] }, 'at most one'],
  ])('says what is wrong with %s', async (_, more, words) => {
    await expect(site('a', await newHost(), more)).rejects.toThrow(words);
  });

  it('says which port is taken', async () => {
    const wire = await newHost();
    await expect(site('a', wire, { listen: at(wire.port) })).rejects.toThrow(
      `gateway.listen: cannot listen on ${LOCAL}`,
    );
  });
});
