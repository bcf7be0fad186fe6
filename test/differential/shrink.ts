import type { Step } from '../../src/conformance/scenario.ts';
import { align4, forEachMessage, hostLittleEndian, NLMSG_HDRLEN } from '../../src/netlink/index.ts';
import { attributesAt, concat, hexOf } from './bytes.ts';
import { compare, type Difference, type MakeTarget } from './compare.ts';

/** Makes a sequence that shows a difference as short as it goes: fewer steps first, then less in each. */

export interface ShrinkLimits {
  readonly runsMax: number;
  readonly timeMs: number;
}

const DEFAULT_LIMITS: ShrinkLimits = { runsMax: 400, timeMs: 15_000 };

/** Each candidate is carried out on both kernels; it is kept if they still differ. */
export function shrink(found: Difference, real: MakeTarget, limits: ShrinkLimits = DEFAULT_LIMITS): Difference {
  const end = performance.now() + limits.timeMs;
  let runs = 0;
  let best = found;
  const spent = (): boolean => runs >= limits.runsMax || performance.now() > end;
  const keeps = (steps: readonly Step[]): boolean => {
    if (spent() || !isSound(steps) || has('udp_encap', steps) !== has('udp_encap', best.recorded.steps)) return false;
    runs++;
    const { difference } = compare({ ...best.recorded, steps: [...steps] }, real);
    if (difference === undefined) return false;
    best = difference;
    return true;
  };
  cutBehind(best, keeps);
  removeSteps(() => best.recorded.steps, keeps);
  for (let i = 0; i < best.recorded.steps.length && !spent(); i++) simplify(i, () => best.recorded.steps, keeps);
  return best;
}

/** A step that uses a socket needs the one that opens it. */
function isSound(steps: readonly Step[]): boolean {
  const open = new Set<string>();
  return steps.every((step) => {
    if (step.op === 'socket') open.add(step.sock);
    return !('sock' in step) || open.has(step.sock);
  });
}

/** Without the socket that takes ESP in UDP, packets for it would be answered by ICMP. */
const has = (op: Step['op'], steps: readonly Step[]): boolean => steps.some((step) => step.op === op);

type Keeps = (steps: readonly Step[]) => boolean;

/** What comes after the difference has no part in it. */
function cutBehind({ detail, recorded }: Difference, keeps: Keeps): void {
  const at = Number(/^step (\d+)/.exec(detail)?.[1] ?? recorded.steps.length);
  keeps(recorded.steps.slice(0, at + 1));
}

/** Delta debugging: leaves out runs of steps, long ones first. */
function removeSteps(now: () => readonly Step[], keeps: Keeps): void {
  for (let size = now().length >> 1; size >= 1; size >>= 1) {
    for (let at = now().length - size; at >= 0; at -= size) {
      const steps = now();
      if (at + size <= steps.length) keeps([...steps.slice(0, at), ...steps.slice(at + size)]);
    }
  }
}

function simplify(i: number, now: () => readonly Step[], keeps: Keeps): void {
  const replaceBy = (step: Step): boolean => keeps(now().map((old, n) => (n === i ? step : old)));
  const step = now()[i];
  if (step?.op === 'packet' && step.dir === 'in') {
    for (let n = step.packets.length - 1; n >= 0; n--) {
      const current = now()[i];
      if (current?.op !== 'packet' || current.dir !== 'in' || current.packets.length === 1) break;
      replaceBy({ ...current, packets: current.packets.filter((_, k) => k !== n) });
    }
  }
  if (step?.op === 'packet' && step.dir === 'out' && (step.count ?? 1) > 1) replaceBy({ ...step, count: 1 });
  if (step?.op !== 'send') return;
  for (const smaller of [withoutMessage, withoutAttribute]) {
    for (let n = 0; ; ) {
      const current = now()[i];
      if (current?.op !== 'send') return;
      const less = smaller(Buffer.from(current.hex, 'hex'), n);
      if (less === undefined) break;
      if (!replaceBy({ ...current, hex: hexOf(less) })) n++;
    }
  }
}

/** The datagram without its `n`th message; undefined if there is none, or no other. */
function withoutMessage(datagram: Uint8Array, n: number): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  forEachMessage(datagram, (at, length) => void parts.push(datagram.slice(at, at + align4(length))));
  if (parts.length < 2 || n >= parts.length) return undefined;
  return concat(parts.filter((_, i) => i !== n));
}

const little = hostLittleEndian;
const NLA_HEADER = 4;
/** A datagram of one message without its `n`th attribute. */
function withoutAttribute(datagram: Uint8Array, n: number): Uint8Array | undefined {
  if (datagram.length < NLMSG_HDRLEN) return undefined;
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  if (align4(view.getUint32(0, little)) !== datagram.length) return undefined;
  let at = attributesAt(view.getUint16(4, little));
  for (let i = 0; datagram.length - at >= NLA_HEADER; i++) {
    const length = align4(view.getUint16(at, little));
    if (length < NLA_HEADER || length > datagram.length - at) return undefined;
    if (i === n) {
      const less = concat([datagram.subarray(0, at), datagram.subarray(at + length)]);
      new DataView(less.buffer).setUint32(0, less.length, little);
      return less;
    }
    at += length;
  }
  return undefined;
}
