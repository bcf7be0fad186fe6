import type { Policy, Sa } from '../../src/client/index.ts';
import { address, policy, type SaOptions, sa } from '../../src/simulator/sas.ts';
import { IpProto, PolicyDir, type XfrmAttributes } from '../../src/xfrm/index.ts';
import { ADDRESSES, type Host, PORT } from './machine.ts';

/** The SAs and policies of the pair: one connection for each kind of window, an SA each way. */

export interface Connection {
  readonly name: string;
  readonly window: SaOptions;
  readonly attributes?: XfrmAttributes;
}

const bytes = (length: number, first: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + i) & 255);
const replayEsnVal = { bmpLen: 2, oseq: 0, seq: 0, oseqHi: 0, seqHi: 0, replayWindow: 64, bmp: [0, 0] };

export const CONNECTIONS: readonly Connection[] = [
  { name: 'legacy, 32', window: { window: 32 } },
  { name: 'bitmap, 64', window: { window: 0 }, attributes: { replayEsnVal } },
  { name: 'ESN, 128', window: { esn: true, window: 128 } },
  {
    name: 'ESN, 64, CBC with HMAC',
    window: { esn: true, window: 64 },
    attributes: {
      algAuthTrunc: { name: 'hmac(sha256)', keyLen: 256, truncLen: 128, key: bytes(32, 2) },
      algCrypt: { name: 'cbc(aes)', keyLen: 128, key: bytes(16, 3) },
    },
  },
];
export const LEGACY = 0;
export const ESN = 2;

export type Direction = 'out' | 'in';
/** As the gateways see it. */
export const spiOf = (n: number, direction: Direction): number => 0x1000 + 2 * n + (direction === 'out' ? 0 : 1);
const reqidOf = (n: number): number => 100 + n;
/** A quarter of a second or less: what the thresholds hold back is not waited for long. */
const TIMER_JIFFIES = 25;
const TRANSPORT = 0;
const INET_BITS = 32;
const PORT_MASK = 0xffff;

/** An SA as both ends have it. `key` tells SAs of one SPI apart. */
export function saOf(n: number, direction: Direction, options: SaOptions = {}): Sa {
  const { window, attributes = {} } = CONNECTIONS[n] as Connection;
  const [saddr, daddr] = direction === 'out' ? [ADDRESSES.a, ADDRESSES.peer] : [ADDRESSES.peer, ADDRESSES.a];
  const key = 2 * n + (direction === 'out' ? 1 : 2);
  const made = sa(spiOf(n, direction), { saddr, daddr, reqid: reqidOf(n), key, ...window, ...options });
  const { algAead, replayVal, ...rest } = { ...made.attributes, ...attributes };
  return {
    body: { ...made.body, mode: TRANSPORT },
    attributes: {
      ...rest,
      etimerThresh: TIMER_JIFFIES,
      ...(rest.algCrypt === undefined && algAead !== undefined ? { algAead } : {}),
      ...(rest.replayEsnVal === undefined && replayVal !== undefined ? { replayVal } : {}),
    },
  };
}

/** The policies of a host for a connection: its datagrams go into the SA, and those of the other end come out of one. */
export function policiesOf(n: number, host: Host): Policy[] {
  const ends = { own: ADDRESSES[host], far: host === 'peer' ? ADDRESSES.a : ADDRESSES.peer };
  return [PolicyDir.OUT, PolicyDir.IN].map((dir) => {
    const [saddr, daddr] = dir === PolicyDir.OUT ? [ends.own, ends.far] : [ends.far, ends.own];
    const { body, attributes } = policy(daddr, { dir, reqid: reqidOf(n) });
    const sel = {
      ...body.sel,
      saddr: address(saddr),
      daddr: address(daddr),
      prefixlenS: INET_BITS,
      prefixlenD: INET_BITS,
      proto: IpProto.UDP,
      sport: PORT + n,
      sportMask: PORT_MASK,
      dport: PORT + n,
      dportMask: PORT_MASK,
    };
    const tmpl = (attributes.tmpl ?? []).map((t) => ({
      ...t,
      id: { ...t.id, daddr: address(daddr) },
      saddr: address(saddr),
      mode: TRANSPORT,
    }));
    return { body: { ...body, sel }, attributes: { tmpl } };
  });
}
