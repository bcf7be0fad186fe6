import { newAevent } from '../../client/index.ts';
import { packetsPerSecond } from '../sa/rate.ts';
import { KERNEL_THRESHOLDS, type SaRecord, type Thresholds } from '../sa/record.ts';
import { type State, write } from '../state/state.ts';
import { announce } from './announce.ts';

/**
 * Active: event thresholds from rates. At the kernel's default of 2 packets a busy SA makes half as many events as it has packets, and a
 * standby is no wiser for it. N is raised so far that the kernel speaks of a busy SA every `SPACING_MS`, and never above the target; T is set
 * where there is none, or one above the target. What was found is put back when this node is active no more.
 */

/** Fine enough for the rates that a takeover needs, whose spans are of 100 ms. */
const SPACING_MS = 20;
/** An SA gets other thresholds at most so often. */
const EVERY_MS = 1_000;
/** N is changed when it is wrong by these: upwards soon, as events cost; downwards late, as a pause is not the end. */
const RAISE_FROM = 2;
const LOWER_FROM = 4;
/** A T that is shorter than it need be by this, as HZ was not known well, is set once more. */
const TIMER_SHORT = 1.25;
/** A grant is raised when half of it is used; the events that tell come several times before. */
const EVENTS_A_GRANT = 4;
/** What the kernel takes for a packet threshold at least: at 1 every packet is announced. */
const PACKETS_MIN = 2;
/** Changes and readings with one tick. */
const WRITES_MAX = 64;
const READS_MAX = 64;
const TIMER_UNIT_MS = 100;

/** HZ of Linux as it is configured. */
const USUAL_HZ = [100, 250, 300, 1000, 200, 500, 1200, 128, 256, 1024];

/** SAs whose thresholds are not known yet, some with each tick: after a takeover those of this node's own kernel count. */
export function readThresholdsDue(s: State): void {
  const handles: number[] = [];
  for (const record of s.thresholdsDue) {
    if (handles.length === READS_MAX) break;
    s.thresholdsDue.delete(record);
    handles.push(record.handle);
  }
  if (handles.length > 0) s.emit({ type: 'readThresholds', handles });
}

/** Sets thresholds that are wrong by much. */
export function adapt(s: State, nowMs: number): void {
  if (!s.settings.exposure.adaptive) s.adapting.clear();
  let writes = 0;
  for (const record of s.adapting) {
    if (writes === WRITES_MAX) break;
    const { tuning } = record;
    // Not before the last change was read back.
    if (typeof tuning === 'object' && (tuning.timerMs === undefined || nowMs - tuning.atMs < EVERY_MS)) continue;
    s.adapting.delete(record);
    if (tune(s, record, nowMs)) writes++;
  }
}

function tune(s: State, record: SaRecord, nowMs: number): boolean {
  const { tuning, thresholds, timerMaxMs } = record;
  if (tuning === 'theirs' || timerMaxMs === undefined) return false;
  const found = tuning?.found ?? thresholds;
  const packets = wantedPackets(s, record, found);
  const jiffies = wantedJiffies(s, found);
  const now = thresholds.packets;
  const wrongPackets =
    packets >= now * RAISE_FROM || packets * LOWER_FROM <= now || now > Math.max(PACKETS_MIN, mostPackets(s));
  const wrongTimer = jiffies !== undefined && jiffies > (tuning?.jiffies ?? 0) * TIMER_SHORT;
  if (packets === now ? !wrongTimer : !wrongPackets && !wrongTimer) return false;
  record.tuning = { found, packets, jiffies, atMs: nowMs, written: false, timerMs: undefined };
  const values = { replayThresh: packets, ...(jiffies === undefined ? {} : { etimerThresh: jiffies }) };
  // The standby hears of it before it is so: whatever is held back at a later pong is no more than it reckons with.
  if (packets > now) {
    record.thresholds = { ...thresholds, packets };
    announce(s, record);
  }
  s.write([write('adapt', record.handle, newAevent(record.id, values))]);
  s.emit({ type: 'readThresholds', handles: [record.handle] });
  return true;
}

/** The target, but not so much that a grant is used up before the standby has heard of half of it. */
const mostPackets = ({ settings: { exposure, grants } }: State): number =>
  Math.max(PACKETS_MIN, Math.min(exposure.packets + 1, Math.floor(grants.numbersMin / EVENTS_A_GRANT)));

/** What was found is raised as far as the rate wants it; it is lowered only to the target. */
function wantedPackets(s: State, { rate }: SaRecord, found: Thresholds): number {
  const [short] = rate.spans;
  // In the first second of an SA only the short span says something.
  const pps = packetsPerSecond(rate) || (short === undefined ? 0 : (short.most * 1000) / short.lengthMs);
  return Math.min(mostPackets(s), Math.max(found.packets || PACKETS_MIN, Math.ceil((pps * SPACING_MS) / 1000)));
}

/** Rounded so that T is never longer than the target, whatever HZ is; undefined: the T that was found will do. */
function wantedJiffies({ settings: { exposure }, hz }: State, { timerMs }: Thresholds): number | undefined {
  return timerMs > 0 && timerMs <= exposure.ms ? undefined : Math.max(1, Math.floor((exposure.ms * hz.low) / 1000));
}

/** The kernel would never speak of this SA: that is changed at once. True if it is changed back when this node is active no more. */
export function foundSilent(s: State, record: SaRecord): boolean {
  if (!s.settings.exposure.adaptive || record.tuning !== undefined) return false;
  const found = { packets: 0, timerMs: 0 };
  const { packets } = KERNEL_THRESHOLDS;
  record.tuning = { found, packets, jiffies: undefined, atMs: 0, written: false, timerMs: undefined };
  return true;
}

/** What was read, unless this node is about to write more. */
export function coming({ tuning }: SaRecord, read: Thresholds): Thresholds {
  if (typeof tuning !== 'object' || tuning.written) return read;
  return { ...read, packets: read.packets === 0 ? 0 : Math.max(read.packets, tuning.packets) };
}

/** The write has been carried out. */
export function onAdapted({ tuning }: SaRecord): void {
  if (typeof tuning === 'object') tuning.written = true;
}

/** Thresholds were read: for the first time, as set here, or as somebody else has set them, whose they are from then on. */
export function onThresholds(s: State, record: SaRecord, read: Thresholds): void {
  const { tuning } = record;
  if (tuning === undefined) s.adapting.add(record);
  if (typeof tuning !== 'object' || !tuning.written) return;
  const timerIsOurs =
    tuning.timerMs !== undefined
      ? read.timerMs === tuning.timerMs
      : tuning.jiffies === undefined
        ? read.timerMs === tuning.found.timerMs
        : learnHz(s, tuning.jiffies, read.timerMs);
  if (!timerIsOurs || read.packets !== tuning.packets) {
    record.tuning = 'theirs';
    return;
  }
  // More may be to be done, now that more is known of HZ.
  if (tuning.timerMs === undefined) s.adapting.add(record);
  tuning.timerMs = read.timerMs;
}

/**
 * XFRMA_ETIMER_THRESH is set in jiffies and read in units of 100 ms: units = jiffies x 10 / HZ, rounded down (xfrm_user.c:build_aevent).
 * From both follows where HZ lies. False if it lies nowhere: then that is not what was set.
 */
function learnHz({ hz }: State, jiffies: number, timerMs: number): boolean {
  const units = timerMs / TIMER_UNIT_MS;
  const low = Math.max(hz.low, Math.floor((jiffies * 10) / (units + 1)) + 1);
  const high = units === 0 ? hz.high : Math.min(hz.high, Math.floor((jiffies * 10) / units));
  if (low > high) return false;
  hz.low = low;
  hz.high = high;
  return true;
}

/** This node is active no more, or its daemon ends: what was found is put back. */
export function restoreThresholds(s: State): void {
  const writes = [];
  for (const record of s.sas) {
    const { tuning } = record;
    record.tuning = undefined;
    if (typeof tuning !== 'object') continue;
    const { found, jiffies } = tuning;
    const values = {
      replayThresh: found.packets,
      ...(jiffies === undefined ? {} : { etimerThresh: jiffiesOf(s, found.timerMs) }),
    };
    writes.push(write('adapt', record.handle, newAevent(record.id, values)));
  }
  s.write(writes);
}

/** HZ is one of the usual ones, or none of them fits. */
const jiffiesOf = ({ hz }: State, ms: number): number =>
  Math.ceil((ms * (USUAL_HZ.find((usual) => usual >= hz.low && usual <= hz.high) ?? hz.high)) / 1000);
