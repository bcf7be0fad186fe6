import { AeFlag, XfrmGroup, XfrmMsg } from '../../xfrm/index.ts';
import type { Host } from './host.ts';
import type { Namespace } from './namespace.ts';
import { type ReplayCallback, ReplayCause } from './replay-notify.ts';
import { InfoByte, Row } from './row.ts';
import { writeCpuAndDir, writeMark, writeReplay } from './write-sa.ts';

/** NEWAE as the kernel sends it: by itself, and as an answer (xfrm_user.c: xfrm_aevent_state_notify, build_aevent). */

const LTIME_VAL = 9;
const REPLAY_THRESH = 11;
const ETIMER_THRESH = 12;
const IF_ID = 31;
const U32 = 0x1_0000_0000;

/** The default of XFRMA_ETIMER_THRESH in jiffies, from the sysctl's units of 100 ms; the product wraps as in the kernel. */
export const etimeToJiffies = (etime: number, hz: number): number =>
  Math.floor(Number((BigInt(etime) * BigInt(hz)) % BigInt(U32)) / 10);

/** What XFRMA_ETIMER_THRESH reads: units of 100 ms, where it is set in jiffies (xfrm_user.c:build_aevent). */
export const jiffiesToEtime = (jiffies: number, hz: number): number =>
  Math.floor(Number((BigInt(jiffies) * 10n) % BigInt(U32)) / hz);

/**
 * The front end of replay notifications towards netlink: NEWAE with CR or CE to group AEVENTS of the SA's namespace. `nlmsg_seq` and
 * `nlmsg_pid`, which the kernel leaves unset, are 0.
 */
const aevents: ReplayCallback = {
  hears: () => true,
  notify(ns, slot, cause) {
    ns.host.writer.reset();
    writeAevent(ns, slot, cause === ReplayCause.NUMBERS ? AeFlag.CR : AeFlag.CE, 0, 0);
    ns.multicast(XfrmGroup.AEVENTS);
  },
};

/** NEWAE with CU: a request has set something of the SA. Told whether or not the front end listens. */
export function sendAeventUpdate(ns: Namespace, slot: number, seq: number, pid: number): void {
  ns.host.writer.reset();
  writeAevent(ns, slot, AeFlag.CU, seq, pid);
  ns.multicast(XfrmGroup.AEVENTS);
}

/** Who has joined or left the group: the front end listens while it has a member, in whichever namespace (xfrm.h:xfrm_aevent_is_on). */
export function listenForAevents({ listeners, replayNotifier }: Host): void {
  if (listeners[XfrmGroup.AEVENTS] === 0) replayNotifier.unregister(aevents);
  else replayNotifier.register(aevents);
}

/** Appends a NEWAE message to the host's writer (xfrm_user.c:build_aevent). */
export function writeAevent(ns: Namespace, slot: number, flags: number, seq: number, pid: number): void {
  const { sad, host } = ns;
  const { writer, profile } = host;
  const { words, bytes } = sad;
  const row = sad.row(slot);
  const at = writer.begin(XfrmMsg.NEWAE, 0, seq, pid, profile.firstAeventLayout ? 28 : 48);
  writer.words(at, words, row + Row.DADDR, 5);
  writer.bytes[at + 20] = bytes[4 * row + InfoByte.FAMILY] as number;
  writer.bytes[at + 21] = bytes[4 * row + InfoByte.FAMILY + 1] as number;
  writer.bytes[at + 22] = sad.proto(slot);
  if (profile.firstAeventLayout) {
    writer.words(at + 24, flagsWord(flags), 0, 1);
  } else {
    writer.words(at + 24, words, row + Row.SADDR, 4);
    writer.words(at + 40, flagsWord(flags), 0, 1);
    writer.words(at + 44, words, row + Row.REQID, 1);
  }
  writeReplay(ns, slot);
  writer.pad64();
  writer.words(writer.attribute(LTIME_VAL, 32), words, row + Row.CURLFT, 8);
  if (flags & AeFlag.RTHR) writer.u32(REPLAY_THRESH, words[row + Row.MAXDIFF] as number);
  if (flags & AeFlag.ETHR) writer.u32(ETIMER_THRESH, jiffiesToEtime(words[row + Row.MAXAGE] as number, profile.hz));
  writeMark(writer, words[row + Row.MARK] as number, words[row + Row.MARK_MASK] as number);
  const ifId = words[row + Row.IF_ID] as number;
  if (ifId !== 0) writer.u32(IF_ID, ifId);
  writeCpuAndDir(ns, slot);
  writer.end();
}

const oneWord = new Uint32Array(1);
function flagsWord(flags: number): Uint32Array {
  oneWord[0] = flags;
  return oneWord;
}
