import { forEachMessage, hostLittleEndian, NLMSG_HDRLEN } from '../../src/netlink/index.ts';
import { AeFlag, IpProto, XfrmMode, XfrmMsg } from '../../src/xfrm/index.ts';
import { mutated } from '../fuzz/mutate.ts';
import type { Random } from '../fuzz/random.ts';
import { attributesAt } from './bytes.ts';
import { A, chance } from './pool.ts';

/** Requests that are nearly valid, and garbage. And what no kernel under examination is sent. */

const little = hostLittleEndian;
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Numbers that lie next to a boundary. */
const numbers = [0, 1, 2, 4, 5, 31, 32, 33, 63, 64, 127, 128, 129, 255, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** Sets one field, whatever it means: a byte, two or four. */
function changeField(bytes: Uint8Array, random: Random): Uint8Array {
  const changed = bytes.slice();
  const view = viewOf(changed);
  if (changed.length <= NLMSG_HDRLEN + 4) return changed;
  const at = NLMSG_HDRLEN + 4 * random.below((changed.length - NLMSG_HDRLEN - 4) >> 2);
  const value = random.pick(numbers);
  switch (random.below(3)) {
    case 0:
      changed[at + random.below(4)] = value & 0xff;
      break;
    case 1:
      view.setUint16(at + 2 * random.below(2), value & 0xffff, little);
      break;
    default:
      view.setUint32(at, value, little);
  }
  return changed;
}

/** A request with one to three things wrong with it. */
export function spoiled(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  if (chance(random, 55)) {
    let changed = bytes;
    for (let n = 1 + random.below(2); n > 0; n--) changed = changeField(changed, random);
    return changed;
  }
  // The mutations pick the message to change from a corpus, and attributes to splice in too.
  return mutated(chance(random, 75) ? [bytes] : [bytes, ...others], random);
}

const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;
const AEVENT_FLAGS = NLMSG_HDRLEN + 40;
const THRESHOLDS = AeFlag.RTHR | AeFlag.ETHR;
const SPI_MIN = NLMSG_HDRLEN + 224;
const SPI_MAX = NLMSG_HDRLEN + 228;
const LOWEST_SPI = 0x100;
/** All SPIs that requests name are below. */
const RANDOM_SPI_MIN = 0x1000;
const SA_PROTO = NLMSG_HDRLEN + 76;
const SA_MODE = NLMSG_HDRLEN + 214;

/**
 * Takes out of a datagram what may end a kernel or leaves what is emulated:
 * - GETAE for both thresholds, which some `pad64` kernels answer with a BUG when the reply does not fit the room they have reckoned;
 * - NEWSPDINFO: a 6.1.176 stopped once in xfrm_hash_rebuild in a run with such requests, which was not reproduced;
 * - OFFLOAD_DEV, of SAs and policies, as there is no hardware;
 * - ALLOCSPI for the SPI 0: Linux 6.1.192 gave it out, and the guest hung when the same larval SA was asked for again;
 * - ranges of SPIs that others have, too: what is picked out of one would not be the same;
 * - IPCOMP tunnels, for which the kernel makes SAs of its own.
 */
export function harmless(datagram: Uint8Array, pad64: boolean): Uint8Array {
  const bytes = datagram.slice();
  const view = viewOf(bytes);
  forEachMessage(bytes, (at, length) => {
    const type = view.getUint16(at + 4, little);
    if (type === XfrmMsg.GETAE && pad64 && length >= AEVENT_FLAGS + 4) {
      const flags = view.getUint32(at + AEVENT_FLAGS, little);
      if ((flags & THRESHOLDS) === THRESHOLDS) view.setUint32(at + AEVENT_FLAGS, (flags & ~AeFlag.ETHR) >>> 0, little);
    }
    if (type === XfrmMsg.ALLOCSPI && length >= SPI_MAX + 4) {
      const min = view.getUint32(at + SPI_MIN, little);
      if (view.getUint32(at + SPI_MAX, little) === 0) {
        view.setUint32(at + SPI_MIN, LOWEST_SPI, little);
        view.setUint32(at + SPI_MAX, LOWEST_SPI, little);
      } else if (min < RANDOM_SPI_MIN && view.getUint32(at + SPI_MAX, little) > min)
        view.setUint32(at + SPI_MAX, min, little);
    }
    if (type === XfrmMsg.NEWSPDINFO) view.setUint16(at + 4, XfrmMsg.GETSPDINFO, little);
    const makesSa = type === XfrmMsg.NEWSA || type === XfrmMsg.UPDSA;
    if (makesSa && length > SA_MODE && bytes[at + SA_PROTO] === IpProto.COMP) {
      if (bytes[at + SA_MODE] === XfrmMode.TUNNEL) bytes[at + SA_MODE] = XfrmMode.TRANSPORT;
    }
    for (let o = at + attributesAt(type); at + length - o >= NLA_HEADER; ) {
      const size = view.getUint16(o, little);
      if (size < NLA_HEADER) break;
      if ((view.getUint16(o + 2, little) & NLA_TYPE_MASK) === A.OFFLOAD_DEV) view.setUint16(o + 2, 0, little);
      o += (size + 3) & ~3;
    }
  });
  return bytes;
}
