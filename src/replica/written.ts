import type { Result } from '../client/index.ts';
import { onAdapted } from './active/adapt.ts';
import { deleteSa } from './sa/install.ts';
import { installing } from './standby/mirror.ts';
import type { Write } from './state/effects.ts';
import { type State, write } from './state/state.ts';

const EEXIST = 17;
const ESRCH = 3;
const ENOENT = 2;

/** What the kernel has answered. */
export function onWritten(s: State, writes: readonly Write[], results: readonly Result[]): void {
  writes.forEach(({ request, purpose: { op, handle } }, i) => {
    const error = results[i]?.error;
    const record = s.sas.byHandle(handle);
    if (error === undefined) {
      if (record && op === 'install') record.installed = true;
      if (record && op === 'adapt') onAdapted(record);
    } else if (op === 'install' && error.errno === EEXIST && record) {
      s.readSa(record.id, handle);
    } else if (op === 'counters' && error.errno === ESRCH && s.role === 'standby') {
      // One that this kernel does not take is tried again at the takeover.
      if (!record?.installed) return;
      record.installed = false;
      if (s.settings.install === 'immediate') s.write(installing(s, record));
    } else if (op === 'counters' && s.role === 'standby' && record?.installed) {
      // What could not be parked might send: it goes, and is put in anew by the next account or the takeover.
      record.installed = false;
      s.counts.writesFailed++;
      s.log('warn', `the kernel refused the numbers of an SA, which is removed from it: ${error.message}`, {
        spi: record.id.spi,
      });
      s.write([write('delete', handle, deleteSa(record))]);
    } else if (op === 'adapt' && record) {
      record.tuning = 'theirs';
    } else if (op === 'open') {
      if (s.takeover) s.takeover.failed++;
      if (record) record.installed = false;
    } else if (
      !((op === 'delete' || op === 'ceiling') && error.errno === ESRCH) &&
      !((op === 'policyDelete' || op === 'expire') && error.errno === ENOENT)
    ) {
      s.counts.writesFailed++;
      s.log('warn', `the kernel refused ${request.kind}: ${error.message}`, { op, spi: record?.id.spi });
    }
  });
}
