import { hostLittleEndian } from '../../netlink/index.ts';

/** The kernel's hash of addresses (xfrm_hash.h:__xfrm_dst_hash): it decides when the table of SAs grows, which GETSADINFO tells. */

const little = hostLittleEndian;
const JHASH_START = 0xdead_beef;
const WORDS = 4;

const rol = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** Bob Jenkins's hash of the four words of an IPv6 address (linux/jhash.h: jhash2 with the initial value 0). */
function jhash(view: DataView, at: number): number {
  let a = (JHASH_START + 4 * WORDS) | 0;
  let b = a;
  let c = a;
  a = (a + view.getUint32(at, little)) | 0;
  b = (b + view.getUint32(at + 4, little)) | 0;
  c = (c + view.getUint32(at + 8, little)) | 0;
  a = ((a - c) ^ rol(c, 4)) | 0;
  c = (c + b) | 0;
  b = ((b - a) ^ rol(a, 6)) | 0;
  a = (a + c) | 0;
  c = ((c - b) ^ rol(b, 8)) | 0;
  b = (b + a) | 0;
  a = ((a - c) ^ rol(c, 16)) | 0;
  c = (c + b) | 0;
  b = ((b - a) ^ rol(a, 19)) | 0;
  a = (a + c) | 0;
  c = ((c - b) ^ rol(b, 4)) | 0;
  b = (b + a) | 0;
  a = (a + view.getUint32(at + 12, little)) | 0;
  c = ((c ^ b) - rol(b, 14)) | 0;
  a = ((a ^ c) - rol(c, 11)) | 0;
  b = ((b ^ a) - rol(a, 25)) | 0;
  c = ((c ^ b) - rol(b, 16)) | 0;
  a = ((a ^ c) - rol(c, 4)) | 0;
  b = ((b ^ a) - rol(a, 14)) | 0;
  return ((c ^ b) - rol(b, 24)) | 0;
}

const swapped = new DataView(new ArrayBuffer(4));

/** The bucket of an SA whose addresses are at `daddr` and `saddr`; the addresses of IPv4 are added as they lie in memory. */
export function addressBucket(
  view: DataView,
  daddr: number,
  saddr: number,
  reqid: number,
  family: number,
  buckets: number,
): number {
  let hash = family ^ reqid;
  if (family === 2) {
    swapped.setUint32(0, (view.getUint32(daddr, little) + view.getUint32(saddr, little)) >>> 0, little);
    hash ^= swapped.getUint32(0);
  } else if (family === 10) hash ^= jhash(view, daddr) ^ jhash(view, saddr);
  return ((hash ^ (hash >>> 16)) & (buckets - 1)) >>> 0;
}
