/** The SAs and policies of the demo as data, and the requests that install them, as a key manager would make them. */
import { randomBytes } from 'node:crypto';
import type { Request } from '../client/index.ts';
import {
  type Address,
  AddressFamily,
  EncapType,
  IpProto,
  PolicyDir,
  parseAddress,
  SaFlag,
  type Selector,
  selector,
  userpolicyInfo,
  usersaInfo,
  XFRM_INF,
  type XfrmAttributes,
  XfrmMode,
} from '../xfrm/index.ts';
import type { Random } from './random.ts';

/** As the gateways see it. */
export type Direction = 'out' | 'in';
export type Side = 'gateway' | 'peer';

/** Documentation addresses (RFC 5737): they are in the SAs alone, the packets travel in UDP on the loopback. */
export const OUTER = { gateway: '198.51.100.1', peer: '198.51.100.9' } as const;
const NAT_T_PORT = 4500;

export const CIPHERS = ['aes-gcm-128', 'aes-gcm-256', 'aes-cbc-sha256', 'chacha20-poly1305', 'null-sha256'] as const;
export type Cipher = (typeof CIPHERS)[number];

/** Replay windows: the 32 packets of the first days, a longer bitmap, and extended sequence numbers. */
export const WINDOWS = [
  { packets: 32, esn: false },
  { packets: 128, esn: false },
  { packets: 256, esn: true },
  { packets: 1024, esn: true },
] as const;
export type Window = (typeof WINDOWS)[number];

export interface Connection {
  /** Counts from 1; also the reqid. */
  readonly n: number;
  /** Of the inner packets; the outer ones are IPv4. */
  readonly family: 4 | 6;
  readonly cipher: Cipher;
  readonly window: Window;
  readonly spi: Readonly<Record<Direction, number>>;
  readonly keys: Readonly<Record<Direction, Keys>>;
}

interface Keys {
  readonly cipher: Uint8Array;
  readonly auth: Uint8Array;
}

/** A host with an address of its own on either side of every connection. */
export const CONNECTIONS_MAX = 50_000;

/** Key and salt (RFC 4106, RFC 7634), in bytes. */
const KEY_BYTES: Readonly<Record<Cipher, number>> = {
  'aes-gcm-128': 16 + 4,
  'aes-gcm-256': 32 + 4,
  'aes-cbc-sha256': 16,
  'chacha20-poly1305': 32 + 4,
  'null-sha256': 0,
};
const AUTH_KEY_BYTES = 32;
const ICV_BITS = 128;
/** SPIs up to 255 are reserved (RFC 4303, section 2.1). */
const SPI_MIN = 0x100;

/** `random` deals out ciphers, windows, families and SPIs; keys are fresh ones, whatever the seed. */
export function makeConnections(count: number, random: Random): Connection[] {
  const kinds = random.shuffle(
    CIPHERS.flatMap((cipher) =>
      WINDOWS.flatMap((window) => ([4, 6] as const).map((family) => ({ cipher, window, family }))),
    ),
  );
  const spis = new Set<number>();
  const spi = (): number => {
    for (;;) {
      const number = random.u32();
      if (number < SPI_MIN || spis.has(number)) continue;
      spis.add(number);
      return number;
    }
  };
  return Array.from({ length: count }, (_, i) => {
    const kind = kinds[i % kinds.length] as (typeof kinds)[number];
    const keys = (): Keys => ({ cipher: randomBytes(KEY_BYTES[kind.cipher]), auth: randomBytes(AUTH_KEY_BYTES) });
    return { ...kind, n: i + 1, spi: { out: spi(), in: spi() }, keys: { out: keys(), in: keys() } };
  });
}

/** The hosts of a connection: one behind the gateways, one behind the peer. */
export function hostAddress(n: number, family: 4 | 6, side: Side): string {
  const network = side === 'gateway' ? 1 : 2;
  return family === 4 ? `10.${network}.${n >> 8}.${n & 0xff}` : `fd00:${network}::${n.toString(16)}`;
}

/** Both SAs and the policies of a connection, for one end of it: the same SAs, and selectors the other way round. */
export function installRequests(connection: Connection, side: Side): Request[] {
  const sends: Direction = side === 'gateway' ? 'out' : 'in';
  const receives: Direction = side === 'gateway' ? 'in' : 'out';
  return [
    newSa(connection, 'out'),
    newSa(connection, 'in'),
    newPolicy(connection, sends, PolicyDir.OUT),
    newPolicy(connection, receives, PolicyDir.IN),
    newPolicy(connection, receives, PolicyDir.FWD),
  ];
}

export function addressOf(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new TypeError(`${text} is not an address`);
  return parsed.address;
}

const ends = (direction: Direction): readonly [source: Side, destination: Side] =>
  direction === 'out' ? ['gateway', 'peer'] : ['peer', 'gateway'];

const unlimited = {
  softByteLimit: XFRM_INF,
  hardByteLimit: XFRM_INF,
  softPacketLimit: XFRM_INF,
  hardPacketLimit: XFRM_INF,
} as const;

function newSa(connection: Connection, direction: Direction): Request {
  const [source, destination] = ends(direction);
  const body = usersaInfo.zero();
  body.family = AddressFamily.INET;
  body.id = { daddr: addressOf(OUTER[destination]), spi: connection.spi[direction], proto: IpProto.ESP };
  body.saddr = addressOf(OUTER[source]);
  body.mode = XfrmMode.TUNNEL;
  body.reqid = connection.n;
  Object.assign(body.lft, unlimited);
  const { packets, esn } = connection.window;
  const legacy = packets <= 32 && !esn;
  body.replayWindow = legacy ? packets : 0;
  // Inner packets of either family.
  body.flags = SaFlag.AF_UNSPEC | (esn ? SaFlag.ESN : 0);
  const bmpLen = packets / 32;
  const replayEsnVal = {
    bmpLen,
    oseq: 0,
    seq: 0,
    oseqHi: 0,
    seqHi: 0,
    replayWindow: packets,
    bmp: new Array<number>(bmpLen).fill(0),
  };
  const encap = { type: EncapType.ESPINUDP, sport: NAT_T_PORT, dport: NAT_T_PORT, oa: { w0: 0, w1: 0, w2: 0, w3: 0 } };
  const attributes = { ...algorithms(connection, direction), encap, ...(legacy ? {} : { replayEsnVal }) };
  return { kind: 'NEWSA', body, attributes };
}

function algorithms({ cipher, keys }: Connection, direction: Direction): XfrmAttributes {
  const { cipher: key, auth } = keys[direction];
  const aead = (name: string): XfrmAttributes => ({ algAead: { name, keyLen: key.length * 8, icvLen: ICV_BITS, key } });
  const hmac = (name: string): XfrmAttributes => ({
    algCrypt: { name, keyLen: key.length * 8, key },
    algAuthTrunc: { name: 'hmac(sha256)', keyLen: auth.length * 8, truncLen: ICV_BITS, key: auth },
  });
  switch (cipher) {
    case 'aes-gcm-128':
    case 'aes-gcm-256':
      return aead('rfc4106(gcm(aes))');
    case 'chacha20-poly1305':
      return aead('rfc7539esp(chacha20,poly1305)');
    case 'aes-cbc-sha256':
      return hmac('cbc(aes)');
    case 'null-sha256':
      return hmac('ecb(cipher_null)');
  }
}

function newPolicy({ n, family }: Connection, direction: Direction, dir: number): Request {
  const [source, destination] = ends(direction);
  const body = userpolicyInfo.zero();
  const sel: Selector = selector.zero();
  sel.family = family === 4 ? AddressFamily.INET : AddressFamily.INET6;
  sel.saddr = addressOf(hostAddress(n, family, source));
  sel.daddr = addressOf(hostAddress(n, family, destination));
  sel.prefixlenS = sel.prefixlenD = family === 4 ? 32 : 128;
  body.sel = sel;
  body.dir = dir;
  Object.assign(body.lft, unlimited);
  const template = {
    id: { daddr: addressOf(OUTER[destination]), spi: 0, proto: IpProto.ESP },
    family: AddressFamily.INET,
    saddr: addressOf(OUTER[source]),
    reqid: n,
    mode: XfrmMode.TUNNEL,
    share: 0,
    optional: 0,
    aalgos: 0xffff_ffff,
    ealgos: 0xffff_ffff,
    calgos: 0xffff_ffff,
  };
  return { kind: 'NEWPOLICY', body, attributes: { tmpl: [template] } };
}
