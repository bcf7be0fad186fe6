import type { FrameBody } from './frames.ts';
import { timedBy } from './quiet.ts';
import { progressOf, type SaRecord, withCounters } from './sa.ts';
import type { State } from './state.ts';
import { noteSent } from './told.ts';

/** The standby hears of an SA, or of what has changed of it. */
export function announce(s: State, record: SaRecord): void {
  if (s.streaming) s.send(saFrame(s, record));
}

export function saFrame(s: State, record: SaRecord): FrameBody & { readonly type: 'sa' } {
  const { handle, granted } = record;
  noteSent(s.rounds, record.told, progressOf(record));
  // The frame does not say whether it is quiet.
  if (record.quiet) s.touch(record);
  return { type: 'sa', handle, thresholds: timedBy(record), granted, sa: withCounters(record) };
}
