import { hostLittleEndian } from '../../../netlink/index.ts';
import { AddressFamily, IpProto, XfrmMsg } from '../../../xfrm/index.ts';
import { Errno } from '../errno.ts';
import { announceExpire, announceSa, announceSaDeleted, announceSaFlush } from '../key-managers.ts';
import { findLarval, larvalBySeq } from '../larval.ts';
import { checkExpire, deleteSa, isSpent, startLifetimeTimer } from '../lifetime.ts';
import type { Namespace } from '../namespace.ts';
import { protoMatches, usesSpi } from '../proto.ts';
import { armTimer } from '../replay-notify.ts';
import type { Request } from '../request.ts';
import { InfoByte, Row, RowBit, SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { cpuOf, writeSa } from '../write-sa.ts';
import { A, checkNewSa } from './sa-check.ts';
import { constructSa } from './sa-construct.ts';
import { mergeIfId, mergeUpdate } from './sa-update.ts';

/** NEWSA, UPDSA, DELSA, GETSA, FLUSHSA, EXPIRE. Handlers return 0 or the errno. */

const little = hostLittleEndian;
/** Byte offsets in xfrm_usersa_id. */
const Id = { DADDR: 0, SPI: 16, FAMILY: 20, PROTO: 22 } as const;

/** The SA that stands in the way of this one, or that it replaces. */
function locate(ns: Namespace, slot: number): number {
  const { sad } = ns;
  const { words } = sad;
  const row = sad.row(slot);
  const word = (at: number): number => words[row + at] as number;
  const proto = sad.proto(slot);
  if (usesSpi(proto)) {
    if (word(Row.SPI) === 0) return NO_SLOT;
    return sad.lookup(
      word(Row.DADDR),
      word(Row.DADDR + 1),
      word(Row.DADDR + 2),
      word(Row.DADDR + 3),
      word(Row.SPI),
      proto,
      sad.family(slot),
      word(Row.MARK),
    );
  }
  return lookupByAddresses(ns, sad.view, 4 * row + InfoByte.DADDR, sad.view, 4 * row + InfoByte.SADDR, {
    proto,
    family: sad.family(slot),
    mark: word(Row.MARK),
  });
}

/** SAs without SPI, by both addresses. */
function lookupByAddresses(
  ns: Namespace,
  daddrView: DataView,
  daddr: number,
  saddrView: DataView,
  saddr: number,
  { proto, family, mark }: { proto: number; family: number; mark: number },
): number {
  const { sad } = ns;
  const words = family === AddressFamily.INET6 ? 4 : 1;
  for (let slot = sad.newest(); slot >= 0; slot = sad.older(slot)) {
    if (sad.proto(slot) !== proto || sad.family(slot) !== family) continue;
    const row = sad.row(slot);
    if ((mark & (sad.words[row + Row.MARK_MASK] as number)) >>> 0 !== sad.words[row + Row.MARK]) continue;
    let same = true;
    for (let i = 0; i < words && same; i++) {
      same =
        sad.words[row + Row.DADDR + i] === daddrView.getUint32(daddr + 4 * i, little) &&
        sad.words[row + Row.SADDR + i] === saddrView.getUint32(saddr + 4 * i, little);
    }
    if (same) return slot;
  }
  return NO_SLOT;
}

/** Puts a row into the database, whatever else there is. */
export function insertSa(ns: Namespace, slot: number): void {
  ns.sad.insert(slot);
  if (ns.sad.words[ns.sad.row(slot) + Row.MAXAGE] !== 0) armTimer(ns, slot);
  startLifetimeTimer(ns, slot);
}

/** Puts a row into the database in place of a larval one; EEXIST if there is an SA of that identity (xfrm_state.c:xfrm_state_add). */
export function addSa(ns: Namespace, slot: number): number {
  if (locate(ns, slot) !== NO_SLOT) return Errno.EEXIST;
  const larval = usesSpi(ns.sad.proto(slot)) ? larvalFor(ns, slot) : NO_SLOT;
  insertSa(ns, slot);
  if (larval !== NO_SLOT) deleteSa(ns, larval);
  return 0;
}

/** The larval SA that this one has been asked for: by the number of its ACQUIRE, else by all that it has. */
function larvalFor(ns: Namespace, slot: number): number {
  const { sad } = ns;
  const row = sad.row(slot);
  const word = (at: number): number => sad.words[row + at] as number;
  const address = (at: number): Uint8Array => sad.bytes.slice(4 * row + at, 4 * row + at + 16);
  const proto = sad.proto(slot);
  const daddr = address(InfoByte.DADDR);
  const seq = word(Row.ACQ_SEQ);
  const bySeq = seq === 0 ? NO_SLOT : larvalBySeq(ns, seq, word(Row.MARK), daddr);
  if (bySeq !== NO_SLOT && sad.proto(bySeq) === proto) return bySeq;
  return findLarval(ns, {
    family: sad.family(slot),
    mode: sad.mode(slot),
    proto,
    reqid: word(Row.REQID),
    mark: word(Row.MARK),
    markMask: word(Row.MARK_MASK),
    daddr,
    saddr: address(InfoByte.SADDR),
    cpu: cpuOf(sad, slot),
  });
}

function update(r: Request, slot: number): number {
  const { ns } = r;
  const { sad } = ns;
  const old = locate(ns, slot);
  if (old === NO_SLOT) return Errno.ESRCH;
  const isLarval = sad.state(old) === SaState.ACQ;
  // A larval SA that was given a direction can become one without.
  if (sad.dir(old) !== sad.dir(slot) && !(isLarval && sad.dir(slot) === 0)) return Errno.ESRCH;
  if (isLarval) {
    insertSa(ns, slot);
    deleteSa(ns, old);
    return 0;
  }
  if (sad.state(old) !== SaState.VALID) return Errno.EINVAL;
  if (!mergeUpdate(ns, old, slot)) return Errno.EINVAL;
  sad.setBit(old, RowBit.DYING, false);
  startLifetimeTimer(ns, old);
  const row = sad.row(old);
  const isUsed = ((sad.words[row + Row.USE_TIME] as number) | (sad.words[row + Row.USE_TIME + 1] as number)) !== 0;
  // The end at a hard limit is the timer's work, when the update is through.
  const ends = isUsed && isSpent(ns, old);
  if (isUsed && !ends) checkExpire(ns, old);
  mergeIfId(ns, old, slot);
  if (ends) checkExpire(ns, old);
  // What has served the update is shown as it was asked for, and is no SA.
  sad.words[sad.row(slot) + Row.STATE] = SaState.DEAD;
  return 0;
}

/** Both NEWSA and UPDSA: carries out, then tells. A row that only served an update goes away. */
export function newOrUpdateSa(r: Request): number {
  return checkNewSa(r) || r.outOfMemory() || putSa(r);
}

/** Makes an SA of a checked request and puts it into the database. */
export function putSa(r: Request): number {
  const slot = constructSa(r);
  if (slot < 0) return -slot;
  const { ns } = r;
  const { sad } = ns;
  const isUpdate = r.type === XfrmMsg.UPDSA;
  const old = isUpdate ? locate(ns, slot) : NO_SLOT;
  const replaces = old !== NO_SLOT && sad.state(old) === SaState.ACQ;
  const failed = isUpdate ? update(r, slot) : addSa(ns, slot);
  if (failed === 0) announceSa(ns, slot, r.type, r.seq, r.pid);
  if (failed !== 0 || (isUpdate && !replaces)) sad.release(slot);
  return failed;
}

/** The SA that xfrm_usersa_id names (xfrm_user.c:xfrm_user_state_lookup); a negative errno if there is none. */
function lookupById(r: Request): number {
  const proto = r.u8(Id.PROTO);
  const family = r.u16(Id.FAMILY);
  if (protoMatches(proto, IpProto.IPSEC_ANY)) {
    const slot = r.lookup(Id.DADDR, Id.SPI, proto, family);
    return slot === NO_SLOT ? -Errno.ESRCH : slot;
  }
  const saddr = r.attributes.at(A.SRCADDR);
  if (saddr < 0) return -Errno.EINVAL;
  const found = lookupByAddresses(r.ns, r.view, r.body + Id.DADDR, r.view, saddr, { proto, family, mark: r.mark() });
  return found === NO_SLOT ? -Errno.ESRCH : found;
}

export function getSa(r: Request): number {
  const slot = lookupById(r);
  if (slot < 0) return -slot;
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  r.ns.host.writer.reset();
  writeSa(r.ns, slot, XfrmMsg.NEWSA, 0, r.seq, r.requester.portId);
  r.requester.replyOfPage();
  return 0;
}

export function delSa(r: Request): number {
  const { ns } = r;
  const slot = lookupById(r);
  if (slot < 0) return -slot;
  announceSaDeleted(ns, slot, r.seq, r.pid);
  deleteSa(ns, slot);
  return 0;
}

export function flushSa(r: Request): number {
  const { ns } = r;
  const wanted = r.u8(0);
  if (flushSas(ns, wanted) > 0) announceSaFlush(ns, wanted, r.seq, r.pid);
  return 0;
}

/** Deletes all SAs of a protocol, or of several (`protoMatches`), without a word; how many there were. */
export function flushSas(ns: Namespace, proto: number): number {
  const { sad } = ns;
  let deleted = 0;
  for (let slot = sad.newest(); slot >= 0; ) {
    const next = sad.older(slot);
    if (protoMatches(sad.proto(slot), proto)) {
      deleteSa(ns, slot);
      deleted++;
    }
    slot = next;
  }
  return deleted;
}

export function expireSa(r: Request): number {
  const slot = r.lookup(InfoByte.DADDR, InfoByte.SPI, r.u8(InfoByte.PROTO), r.u16(InfoByte.FAMILY));
  if (slot === NO_SLOT) return Errno.ENOENT;
  const { ns } = r;
  if (ns.sad.state(slot) !== SaState.VALID) return r.failSince62(Errno.EINVAL, 'SA must be in VALID state');
  const hard = r.u8(InfoByte.SIZE) !== 0;
  announceExpire(ns, slot, hard, r.pid);
  if (hard) deleteSa(ns, slot);
  return 0;
}
