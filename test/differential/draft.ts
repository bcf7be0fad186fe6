import type { Scenario, Step } from '../../src/conformance/scenario.ts';
import { hostLittleEndian, NLMSG_HDRLEN, NlmF } from '../../src/netlink/index.ts';
import { formatAddress, XfrmMsg } from '../../src/xfrm/index.ts';
import type { Random } from '../fuzz/random.ts';
import { concat, hexOf, request } from './bytes.ts';
import { type Asker, aevent, aeventAttributes, anyRequest, selectorOf } from './messages.ts';
import { chance, markAttribute, type SaName, saName, weighted } from './pool.ts';
import { harmless, spoiled } from './spoil.ts';

/** A sequence under construction, and the steps that every kind of sequence has. */

/** What decides about the bytes of a kernel's answers. */
export type KernelProfile = Pick<Scenario, 'kernel' | 'hz' | 'pad64'>;

/** A sequence under construction. */
export interface Draft extends Asker {
  readonly random: Random;
  readonly profile: KernelProfile;
  readonly names: SaName[];
  readonly steps: Step[];
}

/** A socket that asks, and one that listens. */
export const ASKER = 's';
export const LISTENER = 'l';
const ASKER_PORT = 1001;
const LISTENER_PORT = 2001;
const ALL_GROUPS = 0xff;

export function newDraft(random: Random, profile: KernelProfile): Draft {
  let seq = 0;
  const names = Array.from({ length: 2 + random.below(3) }, () => saName(random));
  // One more that stands in the way of the first: the same but for its mark.
  names.push({ ...(names[0] as SaName), mark: saName(random).mark });
  const selectors = Array.from({ length: 3 }, () => selectorOf(random, random.pick([2, 2, 10])));
  return { random, profile, names, selectors, steps: [], seq: () => ++seq };
}

export function openSockets({ random, steps }: Draft): void {
  const opts = {
    ...(chance(random, 60) && { ext_ack: 1 }),
    ...(chance(random, 30) && { cap_ack: 1 }),
  };
  const groups = weighted(random, [
    [8, 0],
    [1, ALL_GROUPS],
  ]);
  steps.push({ op: 'socket', t: 0, sock: ASKER, portid: ASKER_PORT, groups, opts });
  const heard = weighted(random, [
    [8, ALL_GROUPS],
    [1, 0x10],
    [1, 0],
    [1, random.below(256)],
  ]);
  steps.push({ op: 'socket', t: 0, sock: LISTENER, portid: LISTENER_PORT, groups: heard });
}

/** Sends one datagram of one to three messages. */
export function send(draft: Draft, ...messages: readonly Uint8Array[]): void {
  const { random, profile, steps } = draft;
  steps.push({
    op: 'send',
    t: 0,
    sock: ASKER,
    hex: hexOf(harmless(concat(messages), profile.pad64)),
    ...(chance(random, 2) && { cap_net_admin: false }),
    ...(chance(random, 3) && { unaddressed: true }),
  });
}

/** What has reached a listener: nothing is waited for. */
export function eventsOf({ steps }: Draft, sock: string): void {
  steps.push({ op: 'events', t: 0, sock });
}

/** A request as it should be, nearly so, or not at all. */
export function someRequest(draft: Draft): Uint8Array {
  const { random } = draft;
  const made = anyRequest(draft);
  if (chance(random, 72)) return made;
  const bytes = spoiled(made, random, [anyRequest(draft)]);
  // The kernel rounds a message's length up to find the next one.
  return concat([bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]);
}

/** `keptSpi`: no NEWSA is made for this SPI, as packets are signed for the SA that has it. */
export function requestStep(draft: Draft, keptSpi?: number): void {
  const { random } = draft;
  const count = weighted(random, [
    [10, 1],
    [2, 2],
    [1, 3],
  ]);
  const requests = Array.from({ length: count }, () => someRequest(draft));
  send(draft, ...requests.filter((bytes) => keptSpi === undefined || !makesSa(bytes, keptSpi)));
}

const SA_SPI = NLMSG_HDRLEN + 72;

function makesSa(bytes: Uint8Array, spi: number): boolean {
  if (bytes.length < SA_SPI + 4) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(4, hostLittleEndian);
  return (type === XfrmMsg.NEWSA || type === XfrmMsg.UPDSA) && view.getUint32(SA_SPI) === spi;
}

/** NEWAE or GETAE about one SA. */
export function aeventStep(draft: Draft, name: SaName): void {
  const { random } = draft;
  const mark = name.mark === undefined ? [] : [markAttribute(name.mark)];
  const ask = (type: number, flags: number, body: Uint8Array, more: ReturnType<typeof aeventAttributes>): void =>
    send(draft, request({ type, flags: NlmF.REQUEST | flags, seq: draft.seq(), pid: 0 }, body, [...mark, ...more]));
  if (chance(random, 50)) ask(XfrmMsg.GETAE, 0, aevent(random, name, random.pick([0, 1, 8, 15])), []);
  else ask(XfrmMsg.NEWAE, NlmF.ROOT | NlmF.ACK, aevent(random, name, 0), aeventAttributes(random));
}

/** Things that are neither requests nor packets. */
export function sideStep({ random, steps }: Draft): void {
  switch (random.below(7)) {
    case 0:
      steps.push({
        op: 'setopt',
        t: 0,
        sock: ASKER,
        name: random.pick(['ext_ack', 'cap_ack']),
        value: random.below(2),
      });
      break;
    case 1:
      steps.push({
        op: random.pick(['join', 'leave']),
        t: 0,
        sock: random.pick([ASKER, LISTENER]),
        group: random.below(34),
      });
      break;
    case 2:
      steps.push({ op: 'sysctl', t: 0, name: 'net.core.xfrm_aevent_rseqth', value: random.pick([0, 1, 2, 3, 100]) });
      break;
    case 3:
      steps.push({
        op: 'sysctl',
        t: 0,
        name: 'net.core.xfrm_aevent_etime',
        value: random.pick([0, 1_000_000, 429_496_729, -1]),
      });
      break;
    case 4:
      steps.push({ op: 'sysctl', t: 0, name: 'net.core.xfrm_acq_expires', value: random.pick([30, 60, 1000]) });
      break;
    case 5:
      steps.push({
        op: 'sysctl_read',
        t: 0,
        name: random.pick(['net.core.xfrm_aevent_rseqth', 'net.core.xfrm_aevent_etime', 'net.core.xfrm_acq_expires']),
      });
      break;
    default:
      steps.push({ op: 'events', t: 0, sock: LISTENER });
  }
}

/** SAs that are made without a word about it have no timer, or one that does not run out. */
export function quietTimers({ random, steps }: Draft): void {
  steps.push({ op: 'sysctl', t: 0, name: 'net.core.xfrm_aevent_etime', value: random.pick([0, 0, 1_000_000]) });
}

export const textOf = (name: SaName): { daddr: string; saddr: string } => ({
  daddr: formatAddress(name.daddr, name.family),
  saddr: formatAddress(name.saddr, name.family),
});
