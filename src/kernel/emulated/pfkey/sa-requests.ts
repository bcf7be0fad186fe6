import { PfkeyExt, PfkeyMsg } from '../../../pfkey/index.ts';
import { Errno } from '../errno.ts';
import { announceSaDeleted, announceSaFlush } from '../key-managers.ts';
import { findLarval, insertLarval, larvalBySeq, newLarval } from '../larval.ts';
import { deleteSa } from '../lifetime.ts';
import { flushSas, putSa } from '../requests/sa.ts';
import { checkSpiRange, freeSpi } from '../requests/spi.ts';
import { Row, SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { wordAt } from '../selector.ts';
import { Msg, protoOf, Sa, Sa2, SpiRange, xfrmModeOf } from './layout.ts';
import { setThresholds, thresholdsOf, writeThresholds } from './replay-notify.ts';
import type { PfkeyRequest } from './request.ts';
import { saRequest } from './sa-request.ts';
import { writeSaMessage } from './write-sa.ts';

/** ADD, UPDATE, DELETE, GET, GETSPI, ACQUIRE, FLUSH (af_key.c). Handlers return 0 or the errno. */

/** The SA that a request names; NO_SLOT: there is none (pfkey_xfrm_state_lookup). */
export function lookup(r: PfkeyRequest): number {
  const sa = r.at(PfkeyExt.sa);
  const dst = r.at(PfkeyExt.addressDst);
  const proto = protoOf(r.satype);
  if (sa < 0 || dst < 0 || proto === 0) return NO_SLOT;
  const daddr = r.addressAt(dst);
  const word = (i: number): number => wordAt(daddr, 4 * i);
  const spi = wordAt(r.bytes, sa + Sa.SPI);
  return r.ns.sad.lookup(word(0), word(1), word(2), word(3), spi, proto, r.familyAt(dst), 0);
}

/** ADD and UPDATE. The sender hears of its success as everybody does. */
export function addOrUpdate(r: PfkeyRequest): number {
  const thresholds = thresholdsOf(r);
  const netlink = saRequest(r);
  if (typeof netlink === 'number') return netlink;
  const failed = putSa(netlink);
  if (failed !== 0 || thresholds === undefined) return failed;
  const slot = lookup(r);
  if (slot !== NO_SLOT) setThresholds(r.ns, slot, thresholds);
  return 0;
}

/** What DELETE and GET ask for; a negative errno. */
function named(r: PfkeyRequest): number {
  if (!r.has(PfkeyExt.sa) || !r.hasAddresses()) return -Errno.EINVAL;
  const slot = lookup(r);
  return slot === NO_SLOT ? -Errno.ESRCH : slot;
}

export function deleteOne(r: PfkeyRequest): number {
  const slot = named(r);
  if (slot < 0) return -slot;
  announceSaDeleted(r.ns, slot, r.seq, r.pid);
  deleteSa(r.ns, slot);
  return 0;
}

export function get(r: PfkeyRequest): number {
  const { ns } = r;
  const slot = named(r);
  if (slot < 0) return -slot;
  if (!writeSaMessage(ns, slot, PfkeyMsg.GET, r.seq, r.pid)) return Errno.EINVAL;
  writeThresholds(ns, slot);
  reply(r);
  return 0;
}

/** Sends what the host's writer holds to the sender alone, and to who listens to all. */
export function reply(r: PfkeyRequest): void {
  const { pfkeyWriter } = r.ns.host;
  r.ns.pfkey.broadcast(pfkeyWriter.bytes, pfkeyWriter.at, r.sender);
}

const SPI_MIN = 0x100;
const SPI_MAX = 0x0fff_ffff;

export function getSpi(r: PfkeyRequest): number {
  const { ns } = r;
  const proto = protoOf(r.satype);
  if (!r.hasAddresses() || proto === 0) return Errno.EINVAL;
  const sa2 = r.at(PfkeyExt.sa2);
  const mode = sa2 < 0 ? 0 : xfrmModeOf(r.u8(sa2 + Sa2.MODE));
  if (mode < 0) return Errno.EINVAL;
  const [src, dst] = [r.at(PfkeyExt.addressSrc), r.at(PfkeyExt.addressDst)];
  const facts = {
    family: r.familyAt(src),
    mode,
    proto,
    reqid: sa2 < 0 ? 0 : r.u32(sa2 + Sa2.REQID),
    ifId: 0,
    mark: 0,
    markMask: 0,
    daddr: r.addressAt(dst),
    saddr: r.addressAt(src),
    seq: 0,
  };
  let slot = r.seq === 0 ? NO_SLOT : larvalBySeq(ns, r.seq, 0, facts.daddr);
  if (slot === NO_SLOT) slot = findLarval(ns, facts);
  if (slot === NO_SLOT) {
    slot = newLarval(ns, facts);
    insertLarval(ns, slot);
  }
  // What fails from here on leaves the larval SA behind.
  const range = r.at(PfkeyExt.spirange);
  const min = range < 0 ? SPI_MIN : r.u32(range + SpiRange.MIN);
  const max = range < 0 ? SPI_MAX : r.u32(range + SpiRange.MAX);
  if (checkSpiRange(ns.sad.proto(slot), min, max) !== undefined) return Errno.EINVAL;
  if (ns.sad.words[ns.sad.row(slot) + Row.SPI] === 0) {
    const spi = freeSpi(ns, slot, min, max);
    if (spi < 0) return Errno.ENOENT;
    ns.sad.setSpi(slot, spi);
  }
  if (!writeSaMessage(ns, slot, PfkeyMsg.GETSPI, r.seq, r.pid)) return Errno.EINVAL;
  reply(r);
  return 0;
}

/** A key manager gives up on the SA that it was asked for: packets do not ask again until it has expired. */
export function acquire(r: PfkeyRequest): number {
  if (!r.isBare) return Errno.EOPNOTSUPP;
  if (r.seq === 0 || r.u8(Msg.ERRNO) === 0) return 0;
  const { sad } = r.ns;
  for (const slot of sad.larval) {
    const row = sad.row(slot);
    if (sad.words[row + Row.ACQ_SEQ] !== r.seq || sad.state(slot) !== SaState.ACQ) continue;
    if (sad.words[row + Row.MARK] !== 0) continue;
    sad.words[row + Row.STATE] = SaState.ERROR;
    break;
  }
  return 0;
}

/** The sender gets an answer of its own beside the event, which there is only if something was deleted. */
export function flush(r: PfkeyRequest): number {
  const { ns } = r;
  const proto = protoOf(r.satype);
  if (proto === 0) return Errno.EINVAL;
  const deleted = flushSas(ns, proto);
  replyBare(r);
  if (deleted > 0) announceSaFlush(ns, proto, r.seq, r.pid);
  return 0;
}

/** The header of the request, without its errno. */
export function replyBare(r: PfkeyRequest): void {
  r.ns.host.pfkeyWriter.copy(r.bytes, Msg.SIZE, 0);
  reply(r);
}
