import { saIdOf } from '../../client/index.ts';
import { withoutCeiling } from '../active/grants.ts';
import { beginUsed } from '../active/used.ts';
import { countersOf, isParked } from '../sa/counters.ts';
import { deleteSa, setNumbers, updateSa } from '../sa/install.ts';
import { canBeParked, shut } from '../sa/plan.ts';
import { newRate } from '../sa/rate.ts';
import { KERNEL_THRESHOLDS, newRecordState, type SaRecord } from '../sa/record.ts';
import { selectsSa } from '../sa/select.ts';
import type { Reading, Write } from '../state/effects.ts';
import { type State, write } from '../state/state.ts';

/**
 * A takeover that this daemon's last life did not finish: the node is a standby, and SAs in its kernel can send. They are shut, and what they
 * were at is kept here, so that a promotion by force goes on from there (docs/decisions/0015-unfinished-takeover.md).
 */
export function shutUnfinished(s: State, reading: Reading, nowMs: number): void {
  const writes: Write[] = [];
  for (const found of reading.sas) {
    // One that cannot send is an old copy: its numbers are not known.
    if (!selectsSa(s.settings.selection, found) || isParked(found, countersOf(found))) continue;
    const { sa, ceiling } = withoutCeiling(s, found, undefined);
    const counters = countersOf(sa);
    const record: SaRecord = {
      handle: s.nextHandle++,
      id: saIdOf(sa),
      sa,
      counters,
      thresholds: KERNEL_THRESHOLDS,
      rate: newRate(counters.packets, nowMs),
      installed: canBeParked(sa),
      ...newRecordState(),
    };
    s.sas.add(record);
    s.leftOpen.add(record);
    // What cannot be kept from sending is put in anew by the promotion.
    if (!record.installed) writes.push(write('delete', record.handle, deleteSa(record)));
    else writes.push(write('counters', record.handle, setNumbers(record, shut(record))));
    if (record.installed && ceiling !== undefined) writes.push(write('ceiling', record.handle, updateSa(record)));
  }
  s.write(writes);
  if (s.sas.size > 0) {
    s.log(
      'warn',
      `${s.sas.size} SAs were left open by a takeover that did not finish: they are shut. If no other node is active: promote --force opens them`,
    );
    // Nobody else has used their numbers since; what has slipped out until they were shut is in their packet counts.
    s.provenMs = nowMs;
    beginUsed(s);
  }
  s.persist({ term: s.term, role: 'standby' });
}
