import { endianness } from 'node:os';

/** The requests of the row "requests", laid out by hand: both sides send these very bytes. Structures as in linux/xfrm.h. */

const LITTLE = endianness() === 'LE';
const NLMSG_HDRLEN = 16;
const XfrmMsg = { NEWSA: 0x10, ALLOCSPI: 0x16, NEWAE: 0x1e, GETAE: 0x1f } as const;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_REPLACE = 0x100;
const Xfrma = { ALG_AUTH: 1, ALG_CRYPT: 2, LTIME_VAL: 9, REPLAY_VAL: 10 } as const;

const USERSA_INFO = 224;
const USERSPI_INFO = 232;
const AEVENT_ID = 48;
const AF_INET = 2;
const IPPROTO_ESP = 50;
const SADDR = 0xc0000201; // 192.0.2.1
const DADDR = 0xc0000202; // 192.0.2.2
const REQID = 1;

interface Attribute {
  type: number;
  payload: Uint8Array;
}

function message(type: number, flags: number, body: Uint8Array, attributes: readonly Attribute[] = []): Uint8Array {
  const sizes = attributes.map(({ payload }) => 4 + ((payload.length + 3) & ~3));
  const bytes = new Uint8Array(NLMSG_HDRLEN + body.length + sizes.reduce((sum, size) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, LITTLE);
  view.setUint16(4, type, LITTLE);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_ACK | flags, LITTLE);
  bytes.set(body, NLMSG_HDRLEN);
  let at = NLMSG_HDRLEN + body.length;
  for (const [i, { type, payload }] of attributes.entries()) {
    view.setUint16(at, 4 + payload.length, LITTLE);
    view.setUint16(at + 2, type, LITTLE);
    bytes.set(payload, at + 4);
    at += sizes[i] ?? 0;
  }
  return bytes;
}

/** xfrm_usersa_info: an ESP SA in transport mode between the two documentation addresses, without lifetime limits. */
function usersaInfo(size: number, spi: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint16(40, AF_INET, LITTLE); // sel.family
  view.setUint32(56, DADDR); // id.daddr
  view.setUint32(72, spi); // id.spi
  view.setUint8(76, IPPROTO_ESP); // id.proto
  view.setUint32(80, SADDR);
  for (let limit = 96; limit < 128; limit += 8) view.setBigUint64(limit, 0xffff_ffff_ffff_ffffn, LITTLE);
  view.setUint32(208, REQID, LITTLE);
  view.setUint16(212, AF_INET, LITTLE);
  view.setUint8(215, 32); // replay_window
  return view;
}

const bytesOf = (view: DataView<ArrayBuffer>): Uint8Array => new Uint8Array(view.buffer);

export function larvalAllocation(spi: number): Uint8Array {
  const info = usersaInfo(USERSPI_INFO, 0);
  info.setUint32(USERSA_INFO, spi, LITTLE); // min
  info.setUint32(USERSA_INFO + 4, spi, LITTLE); // max
  return message(XfrmMsg.ALLOCSPI, 0, bytesOf(info));
}

/** xfrm_algo: name[64], key length in bits, key. */
function algorithm(name: string): Uint8Array {
  const bytes = new Uint8Array(68);
  bytes.set(Buffer.from(name, 'latin1'));
  return bytes;
}

/** NEWSA with the null cipher: there is no key at all. */
export function espAddition(spi: number): Uint8Array {
  return message(XfrmMsg.NEWSA, 0, bytesOf(usersaInfo(USERSA_INFO, spi)), [
    { type: Xfrma.ALG_AUTH, payload: algorithm('digest_null') },
    { type: Xfrma.ALG_CRYPT, payload: algorithm('ecb(cipher_null)') },
  ]);
}

function aeventId(spi: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(AEVENT_ID));
  view.setUint32(0, DADDR);
  view.setUint32(16, spi);
  view.setUint16(20, AF_INET, LITTLE);
  view.setUint8(22, IPPROTO_ESP);
  view.setUint32(24, SADDR);
  return bytesOf(view);
}

export const getAe = (spi: number): Uint8Array => message(XfrmMsg.GETAE, 0, aeventId(spi));

/** Writes replay state and lifetime of a VALID SA. */
export function newAe(spi: number): Uint8Array {
  const replay = new DataView(new ArrayBuffer(12));
  for (const [i, value] of [1000, 2000, 0xffffffff].entries()) replay.setUint32(4 * i, value, LITTLE);
  const lifetime = new DataView(new ArrayBuffer(32));
  lifetime.setBigUint64(0, 1_000_000n, LITTLE);
  lifetime.setBigUint64(8, 1000n, LITTLE);
  return message(XfrmMsg.NEWAE, NLM_F_REPLACE, aeventId(spi), [
    { type: Xfrma.LTIME_VAL, payload: bytesOf(lifetime) },
    { type: Xfrma.REPLAY_VAL, payload: bytesOf(replay) },
  ]);
}
