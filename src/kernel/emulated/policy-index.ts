import type { Policy } from './policy.ts';
import { addressBits, type Flow, halfAt, netHalfAt, Sel, selectorMatches, wordAt } from './selector.ts';

/**
 * Policies of one direction, to be found by packets: the choice of a walk through all of them in the order of priority and age
 * (xfrm_policy.c:xfrm_policy_lookup_bytype), without the walk. Linux hashes exact prefixes and keeps the others in trees and lists; here
 * policies whose selectors look at the same bits of a packet are one shape, and each shape is a hash table over those bits. A lookup costs
 * as much as there are shapes, of which configurations have a handful, whatever the number of policies.
 */
export class PolicyIndex {
  /** By the best priority that they have had. */
  readonly #shapes: Shape[] = [];
  readonly #byKey = new Map<string, Shape>();
  readonly #entries = new Map<Policy, Entry>();

  /** How many policies there are. */
  get size(): number {
    return this.#entries.size;
  }

  lookup(flow: Flow, mark: number, ifId: number): Policy | undefined {
    readFlow(flow, mark, ifId);
    let best: Entry | undefined;
    for (let i = 0; i < this.#shapes.length; i++) {
      const shape = this.#shapes[i] as Shape;
      if (best !== undefined && best.policy.priority < shape.priority) break;
      if (shape.family !== flow.family) continue;
      const { table } = shape;
      let entry = table[hashMasked(shape.mask) & (table.length - 1)];
      for (; entry !== undefined; entry = entry.next) {
        if (best !== undefined && isBefore(best, entry)) break;
        if (!matches(entry.policy, flow, mark, ifId)) continue;
        best = entry;
        break;
      }
    }
    return best?.policy;
  }

  /** Among those of its priority it stands by its `place`. */
  insert(policy: Policy): void {
    const shape = this.#shapeOf(policy);
    const entry: Entry = { policy, shape, next: undefined };
    this.#entries.set(policy, entry);
    if (policy.priority < shape.priority) {
      shape.priority = policy.priority;
      this.#shapes.sort((a, b) => a.priority - b.priority);
    }
    shape.count++;
    if (shape.count > shape.table.length) grow(shape);
    link(shape, entry);
  }

  remove(policy: Policy): void {
    const entry = this.#entries.get(policy);
    if (entry === undefined) return;
    this.#entries.delete(policy);
    const { shape } = entry;
    unlink(shape, entry);
    if (--shape.count > 0) return;
    this.#byKey.delete(shape.key);
    this.#shapes.splice(this.#shapes.indexOf(shape), 1);
  }

  #shapeOf(policy: Policy): Shape {
    const mask = maskOf(policy);
    const family = halfAt(policy.info, Sel.FAMILY);
    const key = `${family},${mask.join()}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const shape: Shape = { key, family, mask, priority: Number.POSITIVE_INFINITY, count: 0, table: newTable(1) };
    this.#byKey.set(key, shape);
    this.#shapes.push(shape);
    return shape;
  }
}

interface Entry {
  readonly policy: Policy;
  readonly shape: Shape;
  /** The next in its bucket, in the order of lookups. */
  next: Entry | undefined;
}

interface Shape {
  readonly key: string;
  readonly family: number;
  /** Which bits of a packet count, in the words of `Packet`. */
  readonly mask: Uint32Array;
  /** No policy here has a lower one. */
  priority: number;
  count: number;
  table: (Entry | undefined)[];
}

/** Words of a packet that a policy may look at. */
const Packet = { DADDR: 0, SADDR: 4, PORTS: 8, PROTO: 9, IFINDEX: 10, MARK: 11, IF_ID: 12, WORDS: 13 } as const;
const packet = new Uint32Array(Packet.WORDS);
const WHOLE = 0xffff_ffff;

function readFlow(flow: Flow, mark: number, ifId: number): void {
  const words = addressBits(flow.family) / 32;
  for (let i = 0; i < 4; i++) {
    packet[Packet.DADDR + i] = i < words ? wordAt(flow.daddr, 4 * i) : 0;
    packet[Packet.SADDR + i] = i < words ? wordAt(flow.saddr, 4 * i) : 0;
  }
  packet[Packet.PORTS] = (flow.dport << 16) | flow.sport;
  packet[Packet.PROTO] = flow.proto;
  packet[Packet.IFINDEX] = flow.ifindex ?? 0;
  packet[Packet.MARK] = mark;
  packet[Packet.IF_ID] = ifId;
}

/** The packet that a policy asks for; what it does not ask for may hold anything. */
function readPolicy({ info, mark, ifId }: Policy): void {
  for (let i = 0; i < 4; i++) {
    packet[Packet.DADDR + i] = wordAt(info, Sel.DADDR + 4 * i);
    packet[Packet.SADDR + i] = wordAt(info, Sel.SADDR + 4 * i);
  }
  packet[Packet.PORTS] = (netHalfAt(info, Sel.DPORT) << 16) | netHalfAt(info, Sel.SPORT);
  packet[Packet.PROTO] = info[Sel.PROTO] as number;
  packet[Packet.IFINDEX] = wordAt(info, Sel.IFINDEX);
  packet[Packet.MARK] = mark;
  packet[Packet.IF_ID] = ifId;
}

function maskOf({ info, markMask }: Policy): Uint32Array {
  const mask = new Uint32Array(Packet.WORDS);
  const max = addressBits(halfAt(info, Sel.FAMILY));
  setPrefix(mask, Packet.DADDR, Math.min(info[Sel.PREFIX_D] as number, max));
  setPrefix(mask, Packet.SADDR, Math.min(info[Sel.PREFIX_S] as number, max));
  mask[Packet.PORTS] = (netHalfAt(info, Sel.DPORT_MASK) << 16) | netHalfAt(info, Sel.SPORT_MASK);
  mask[Packet.PROTO] = info[Sel.PROTO] === 0 ? 0 : WHOLE;
  mask[Packet.IFINDEX] = wordAt(info, Sel.IFINDEX) === 0 ? 0 : WHOLE;
  mask[Packet.MARK] = markMask;
  mask[Packet.IF_ID] = WHOLE;
  return mask;
}

/** The first `bits` of an address of four words, as bytes in network order. */
function setPrefix(mask: Uint32Array, at: number, bits: number): void {
  const bytes = new Uint8Array(mask.buffer, 4 * at, 16);
  for (let i = 0; i < 16; i++) {
    const rest = Math.min(8, Math.max(0, bits - 8 * i));
    bytes[i] = 0xff & (0xff << (8 - rest));
  }
}

/** Of the bits of `packet` that count. */
function hashMasked(mask: Uint32Array): number {
  let h = 0;
  for (let i = 0; i < Packet.WORDS; i++) {
    h = Math.imul(h ^ ((packet[i] as number) & (mask[i] as number)), 0x9e37_79b1);
    h ^= h >>> 15;
  }
  return h >>> 0;
}

function matches(policy: Policy, flow: Flow, mark: number, ifId: number): boolean {
  if ((mark & policy.markMask) >>> 0 !== policy.mark || policy.ifId !== ifId) return false;
  return selectorMatches(policy.info, 0, flow);
}

const isBefore = (a: Entry, b: Entry): boolean =>
  a.policy.priority < b.policy.priority || (a.policy.priority === b.policy.priority && a.policy.place < b.policy.place);

const newTable = (length: number): (Entry | undefined)[] => new Array<Entry | undefined>(length).fill(undefined);

function bucketOf({ mask, table }: Shape, { policy }: Entry): number {
  readPolicy(policy);
  return hashMasked(mask) & (table.length - 1);
}

function link(shape: Shape, entry: Entry): void {
  const { table } = shape;
  const bucket = bucketOf(shape, entry);
  const first = table[bucket];
  if (first === undefined || isBefore(entry, first)) {
    entry.next = first;
    table[bucket] = entry;
    return;
  }
  let before = first;
  while (before.next !== undefined && isBefore(before.next, entry)) before = before.next;
  entry.next = before.next;
  before.next = entry;
}

function unlink(shape: Shape, entry: Entry): void {
  const { table } = shape;
  const bucket = bucketOf(shape, entry);
  if (table[bucket] === entry) {
    table[bucket] = entry.next;
    return;
  }
  let before = table[bucket];
  while (before !== undefined && before.next !== entry) before = before.next;
  if (before !== undefined) before.next = entry.next;
}

/** Doubles the table. */
function grow(shape: Shape): void {
  const entries: Entry[] = [];
  for (const first of shape.table) for (let entry = first; entry !== undefined; entry = entry.next) entries.push(entry);
  shape.table = newTable(2 * shape.table.length);
  for (const entry of entries) link(shape, entry);
}
