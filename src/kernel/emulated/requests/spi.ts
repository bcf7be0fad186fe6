import { IpProto, XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import { findLarval, insertLarval, type LarvalFacts, larvalBySeq, newLarval, showLarval } from '../larval.ts';
import type { Namespace } from '../namespace.ts';
import type { Request } from '../request.ts';
import { InfoByte, Row } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { writeSa } from '../write-sa.ts';
import { A } from './sa-check.ts';

/** ALLOCSPI (xfrm_user.c:xfrm_alloc_userspi). The range stands in host order, behind the structure. */

const MIN = 224;
const MAX = 228;
const IPCOMP_SPI_MAX = 0xffff;

export function allocSpi(r: Request): number {
  const min = r.u32(MIN);
  const max = r.u32(MAX);
  const proto = r.u8(InfoByte.PROTO);
  const fault = checkSpiRange(proto, min, max);
  if (fault !== undefined) return r.failSince62(Errno.EINVAL, fault);

  const { ns } = r;
  const { sad } = ns;
  if (r.attributes.has(A.SA_PCPU) && r.attributes.u32(A.SA_PCPU) >= ns.host.profile.cpus) {
    return r.fail(Errno.EINVAL, 'pCPU number too big');
  }
  const facts: LarvalFacts = {
    family: r.u16(InfoByte.FAMILY),
    mode: r.u8(InfoByte.MODE),
    proto,
    reqid: r.u32(4 * Row.REQID),
    ifId: r.attributes.u32(A.IF_ID),
    mark: r.markValue(),
    markMask: r.markMask(),
    daddr: r.slice(InfoByte.DADDR, 16),
    saddr: r.slice(InfoByte.SADDR, 16),
    seq: 0,
    cpu: r.attributes.has(A.SA_PCPU) ? r.attributes.u32(A.SA_PCPU) : undefined,
  };
  const seq = r.u32(4 * Row.ACQ_SEQ);
  let slot = seq === 0 ? NO_SLOT : larvalBySeq(ns, seq, r.mark(), facts.daddr);
  if (slot === NO_SLOT) slot = findLarval(ns, facts);
  // Without memory for it the kernel says that it has found none.
  if (slot === NO_SLOT && r.outOfMemory() !== 0) return r.failSince62(Errno.ENOENT, 'Target ACQUIRE not found');
  if (slot === NO_SLOT) {
    slot = newLarval(ns, facts);
    insertLarval(ns, slot);
  }
  const dir = r.attributes.u8(A.SA_DIR);
  if (sad.words[sad.row(slot) + Row.SPI] === 0) {
    const spi = freeSpi(ns, slot, min, max);
    // The larval SA stays behind, without an SPI.
    if (spi < 0) return r.failSince62(Errno.ENOENT, 'No SPI available in the requested range');
    sad.setSpi(slot, spi);
  }
  if (dir !== 0) {
    sad.setDir(slot, dir);
    showLarval(ns, slot);
  }
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  ns.host.writer.reset();
  writeSa(ns, slot, XfrmMsg.NEWSA, 0, r.seq, r.requester.portId);
  r.requester.replyOfPage();
  return 0;
}

/** What is wrong with a range that an SPI is to be picked from (xfrm_state.c:verify_spi_info); undefined: nothing. */
export function checkSpiRange(proto: number, min: number, max: number): string | undefined {
  if (proto === IpProto.COMP) {
    if (max > IPCOMP_SPI_MAX) return 'IPCOMP SPI must be <= 65535';
  } else if (proto !== IpProto.ESP && proto !== IpProto.AH) {
    return 'Invalid protocol, must be one of AH, ESP, IPCOMP';
  }
  return min > max ? 'Invalid SPI range: min > max' : undefined;
}

const swapped = new DataView(new ArrayBuffer(4));
/** An SPI in network order, as a word of a row. */
const networkWord = new Uint32Array(swapped.buffer);

function toNetwork(spi: number): number {
  swapped.setUint32(0, spi);
  return networkWord[0] as number;
}

/** A free SPI as a word of a row; NONE if there is none. Out of a range by chance, with as many tries as it has numbers. */
export function freeSpi(ns: Namespace, slot: number, min: number, max: number): number {
  const { sad, host } = ns;
  const { spiOnce, spiZero } = host.profile;
  const size = max - min + 1;
  const tries = min === max ? 1 : Math.min(size, SPI_TRIES_MAX);
  for (let i = 0; i < tries; i++) {
    const spi = toNetwork(min === max ? min : min + (host.random() % size));
    if (spi === 0 && !(spiZero && max === 0)) continue;
    if (!sad.spiIsTaken(spi, slot, spiOnce)) return spi;
  }
  return NONE;
}

const NONE = -1;
/** The kernel tries as often as the range is large, in kernel mode; here the event loop waits. */
const SPI_TRIES_MAX = 1 << 16;
