import type { Policy, Sa } from '../client/index.ts';
import { parseAddress, type XfrmAttributes } from '../xfrm/index.ts';

/** SAs and policies for tests. */

export const address = (text: string) => {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed.address;
};

const INFINITE = 0xffff_ffff_ffff_ffffn;
const unlimited = {
  softByteLimit: INFINITE,
  hardByteLimit: INFINITE,
  softPacketLimit: INFINITE,
  hardPacketLimit: INFINITE,
  softAddExpiresSeconds: 0n,
  hardAddExpiresSeconds: 0n,
  softUseExpiresSeconds: 0n,
  hardUseExpiresSeconds: 0n,
};
const unused = { bytes: 0n, packets: 0n, addTime: 1_700_000_000n, useTime: 0n };
const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
export const anySelector = {
  daddr: zero,
  saddr: zero,
  dport: 0,
  dportMask: 0,
  sport: 0,
  sportMask: 0,
  family: 2,
  prefixlenD: 0,
  prefixlenS: 0,
  proto: 0,
  ifindex: 0,
  user: 0,
};

export const ESN_FLAG = 128;

/** A key of 20 bytes that stands for a number: bytes below 256 fill it, others are written into it. */
export function keyOf(number: number): Uint8Array {
  if (number < 256) return new Uint8Array(20).fill(number);
  const key = new Uint8Array(20).fill(KEY_FILL);
  new DataView(key.buffer).setUint32(4, number);
  return key;
}

/** The number that the key of an SA stands for. */
export function keyNumber({ attributes }: Sa): number {
  const key = attributes.algAead?.key ?? new Uint8Array(20);
  return key[0] === KEY_FILL ? new DataView(key.buffer, key.byteOffset).getUint32(4) : (key[0] as number);
}

/** First byte of a key with a larger number; the tests use it nowhere else. */
const KEY_FILL = 0xa7;

export interface SaOptions {
  readonly key?: number;
  readonly daddr?: string;
  readonly saddr?: string;
  readonly proto?: number;
  readonly reqid?: number;
  readonly esn?: boolean;
  readonly window?: number;
  readonly oseq?: number;
  readonly oseqHi?: number;
  readonly seq?: number;
  readonly seqHi?: number;
  /** A window in an attribute of its own, without ESN. */
  readonly bitmap?: boolean;
  readonly attributes?: XfrmAttributes;
  readonly limits?: Partial<typeof unlimited>;
}

/** An ESP SA with AES-GCM; `key` fills the key. */
export function sa(spi: number, options: SaOptions = {}): Sa {
  const { key = 1, daddr = '203.0.113.9', saddr = '198.51.100.1', proto = 50, reqid = 1, esn = false } = options;
  const { window = 32, oseq = 0, oseqHi = 0, seq = 0, seqHi = 0, bitmap = esn, attributes = {}, limits = {} } = options;
  const words = Math.ceil(window / 32);
  return {
    body: {
      sel: anySelector,
      id: { daddr: address(daddr), spi, proto },
      saddr: address(saddr),
      lft: { ...unlimited, ...limits } as Sa['body']['lft'],
      curlft: unused,
      stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
      seq: 0,
      reqid,
      family: 2,
      mode: 1,
      replayWindow: bitmap ? 0 : window,
      flags: esn ? ESN_FLAG : 0,
    },
    attributes: {
      algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key: keyOf(key) },
      ...(bitmap
        ? {
            replayEsnVal: {
              bmpLen: words,
              oseq,
              seq,
              oseqHi,
              seqHi,
              replayWindow: window,
              bmp: new Array<number>(words).fill(0),
            },
          }
        : { replayVal: { oseq, seq, bitmap: 0 } }),
      ...attributes,
    },
  };
}

export function policy(network: string, options: { reqid?: number; dir?: number; priority?: number } = {}): Policy {
  const { reqid = 1, dir = 1, priority = 100 } = options;
  return {
    body: {
      sel: { ...anySelector, daddr: address(network), prefixlenD: 24 },
      lft: unlimited as unknown as Policy['body']['lft'],
      curlft: unused,
      priority,
      index: 0,
      dir,
      action: 0,
      flags: 0,
      share: 0,
    },
    attributes: {
      tmpl: [
        {
          id: { daddr: address('203.0.113.9'), spi: 0, proto: 50 },
          family: 2,
          saddr: address('198.51.100.1'),
          reqid,
          mode: 1,
          share: 0,
          optional: 0,
          aalgos: 0xffffffff,
          ealgos: 0xffffffff,
          calgos: 0xffffffff,
        },
      ],
    },
  };
}
