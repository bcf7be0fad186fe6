import { policyKey } from '../sa/install.ts';
import type { State } from '../state/state.ts';
import { type Deleted, newHeld } from '../state/under-way.ts';

/**
 * Standby: a flush on the active, or a key manager that dies there, deletes most SAs at once. The deletions are carried out here as well, but what
 * was deleted is kept in memory for a while: if it was a mistake, `promote --restore` brings it back.
 */

/** Deletions within this are at once. */
const SPAN_MS = 1_000;
/** A re-key of a few tunnels is no mass deletion. */
const SAS_MIN = 8;
/** As many SAs as a node is made for, and their policies. */
const HELD_MAX = 400_000;

export function holdDeleted(s: State, what: Pick<Deleted, 'record' | 'policy'>, nowMs: number): void {
  const { complete, provenMs, held } = s;
  if (s.settings.held.part >= 1 || held.recent.length >= HELD_MAX) return;
  const known = { complete, provenMs: provenMs ?? nowMs, unseenMs: nowMs - (provenMs ?? nowMs) };
  held.recent.push({ ...what, atMs: nowMs, known });
}

export const heldSas = ({ held }: State): number => held.mass.filter(({ record }) => record !== undefined).length;

/** From time to time: what was deleted one by one is forgotten. */
export function sortOutDeleted(s: State, nowMs: number): void {
  const { held, settings } = s;
  held.mass = held.mass.filter(({ atMs }) => nowMs - atMs < settings.held.ms);
  const sas = held.recent.filter(({ record }) => record !== undefined).length;
  if (sas >= SAS_MIN && sas > settings.held.part * (s.sas.size + sas)) {
    held.mass = [...held.mass, ...held.recent].slice(-HELD_MAX);
    held.recent = [];
    s.log(
      'error',
      `the active has deleted ${sas} of ${s.sas.size + sas} SAs at once. They are kept for ${Math.round(settings.held.ms / 1000)} s: ` +
        'if that was a mistake, xfrmsync promote --restore makes this node active with them',
    );
    return;
  }
  held.recent = held.recent.filter(({ atMs }) => nowMs - atMs < SPAN_MS);
}

/** The operator wants back what was deleted. What there is now of the same name stays. */
export function restoreDeleted(s: State): void {
  const { recent, mass } = s.held;
  s.held = newHeld();
  for (const { record, policy, known } of [...mass, ...recent]) {
    if (policy !== undefined && !s.policies.has(policyKey(policy))) s.policies.set(policyKey(policy), policy);
    if (record === undefined || s.sas.find(record.id) !== undefined) continue;
    s.sas.add(record);
    record.installed = false;
    record.restored = known;
  }
}
