import { writeAevent } from '../aevent.ts';
import { Errno } from '../errno.ts';
import { announceReplaySet } from '../key-managers.ts';
import { Esn } from '../replay.ts';
import type { Request } from '../request.ts';
import { SaState } from '../row.ts';
import { NO_SLOT } from '../sad.ts';
import { A } from './sa-check.ts';
import { updateAeventParameters } from './sa-construct.ts';

/** NEWAE and GETAE (xfrm_user.c: xfrm_new_ae, xfrm_get_ae). */

const NLM_F_REPLACE = 0x100;

/** Byte offsets in xfrm_aevent_id; the first published layout has its flags where later the source address is. */
const Id = { DADDR: 0, SPI: 16, FAMILY: 20, PROTO: 22, FLAGS: 40, FIRST_FLAGS: 24 } as const;

const stateful = [A.LTIME_VAL, A.REPLAY_VAL, A.REPLAY_ESN_VAL];
const parameters = [...stateful, A.ETIMER_THRESH, A.REPLAY_THRESH];

const lookup = (r: Request): number => r.lookup(Id.DADDR, Id.SPI, r.u8(Id.PROTO), r.u16(Id.FAMILY));

export function newAe(r: Request): number {
  const { ns, attributes } = r;
  if (!parameters.some((type) => attributes.has(type))) {
    return r.failSince62(Errno.EINVAL, 'Missing required attribute for AE');
  }
  if ((r.flags & NLM_F_REPLACE) === 0) return r.failSince62(Errno.EINVAL, 'NLM_F_REPLACE flag is required');
  const slot = lookup(r);
  if (slot === NO_SLOT) return Errno.ESRCH;
  if (ns.sad.state(slot) !== SaState.VALID) return r.failSince62(Errno.EINVAL, 'SA must be in VALID state');
  const wrong = checkEsnLength(r, slot);
  if (wrong !== 0) return wrong;

  updateAeventParameters(r, slot, true);
  const hasState = stateful.some((type) => attributes.has(type));
  announceReplaySet(ns, slot, { seq: r.seq, pid: r.pid, hasState });
  return 0;
}

/** A REPLAY_ESN_VAL must fit the SA's (xfrm_user.c:xfrm_replay_verify_len). */
function checkEsnLength(r: Request, slot: number): number {
  const { sad } = r.ns;
  const at = r.attributes.at(A.REPLAY_ESN_VAL);
  if (at < 0 || !sad.hasBitmap(slot)) return 0;
  const bmpLen = r.u32(at - r.body);
  if (r.attributes.length(A.REPLAY_ESN_VAL) < 24 + 4 * bmpLen) {
    return r.failSince62(Errno.EINVAL, 'ESN attribute is too short');
  }
  if (bmpLen !== sad.replayWords(slot)[sad.replayAt(slot) + Esn.BMP_LEN])
    return r.failSince62(Errno.EINVAL, "New ESN size doesn't match the existing SA's ESN size");
  if (r.u32(at - r.body + 20) > 32 * bmpLen)
    return r.failSince62(Errno.EINVAL, 'ESN replay window is longer than the bitmap');
  return 0;
}

export function getAe(r: Request): number {
  const { ns, requester } = r;
  const slot = lookup(r);
  if (slot === NO_SLOT) return Errno.ESRCH;
  if (r.outOfMemory() !== 0) return Errno.ENOMEM;
  ns.host.writer.reset();
  writeAevent(ns, slot, r.u32(ns.host.profile.firstAeventLayout ? Id.FIRST_FLAGS : Id.FLAGS), r.seq, r.pid);
  requester.reply();
  return 0;
}
