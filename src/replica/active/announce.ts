import { progressOf, withCounters } from '../sa/counters.ts';
import type { SaRecord } from '../sa/record.ts';
import { noteSent } from '../sa/told.ts';
import type { FrameBody } from '../state/frames.ts';
import type { Peer } from '../state/peer.ts';
import type { State } from '../state/state.ts';
import { timedBy } from './quiet.ts';

/** The standbys hear of an SA, or of what has changed of it. */
export function announce(s: State, record: SaRecord): void {
  const { standbys } = s;
  if (standbys.length > 0) s.tell(saFrame(s, record, standbys));
}

export function saFrame(s: State, record: SaRecord, to: readonly Peer[]): FrameBody & { readonly type: 'sa' } {
  const { handle, granted } = record;
  for (const peer of to) noteSent(peer, record, progressOf(record));
  // The frame does not say whether it is quiet.
  if (record.quiet) s.touch(record);
  return { type: 'sa', handle, thresholds: timedBy(record), granted, sa: withCounters(record) };
}
