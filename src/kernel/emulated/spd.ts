import { hostLittleEndian } from '../../netlink/index.ts';
import { AddressFamily } from '../../xfrm/index.ts';
import { PolicyIndex } from './policy-index.ts';
import { type Flow, Sel } from './selector.ts';
import type { Timer } from './timers.ts';

/** A policy: the structures as they are shown, and what lookups need. */
export interface Policy {
  /** xfrm_userpolicy_info, 168 bytes. */
  readonly info: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** Templates as they are shown, 64 bytes each. */
  readonly templates: Uint8Array<ArrayBuffer>;
  readonly type: number;
  readonly dir: number;
  readonly index: number;
  readonly priority: number;
  readonly mark: number;
  readonly markMask: number;
  readonly ifId: number;
  readonly key: string;
  newer: Policy | undefined;
  older: Policy | undefined;
  timer: Timer | undefined;
}

export interface SpdCursor {
  next: Policy | undefined;
}

export const DIRECTIONS = 3;

/** The selector, 56 bytes, and all else that makes two policies one. */
export function policyKey(
  selector: Uint8Array,
  dir: number,
  type: number,
  mark: number,
  markMask: number,
  ifId: number,
): string {
  return `${Buffer.from(selector).toString('latin1')}${dir},${type},${mark},${markMask},${ifId}`;
}

/** The policy database of one namespace. */
export class Spd {
  /** By direction, of either type; what GETSPDINFO tells of "sub" policies are those of sockets, of which there are none here. */
  readonly counts = new Uint32Array(DIRECTIONS);
  readonly cursors = new Set<SpdCursor>();
  /** For each direction 1 = block, 2 = accept what no policy matches (XFRM_USERPOLICY_*); in the order in, out, fwd. */
  readonly defaults = new Uint8Array([2, 2, 2]);
  /** Prefix lengths from which on policies are hashed: left and right, for IPv4 and IPv6. */
  /** Sizes of the hash tables less one: of selectors for each direction, of indices. */
  readonly selectorMasks = new Uint32Array([7, 7, 7]);
  indexMask = 7;
  readonly thresholds = new Uint8Array([32, 32, 128, 128]);
  newest: Policy | undefined;
  readonly #byKey = new Map<string, Policy>();
  readonly #byIndex = new Map<number, Policy>();
  /** What packets look their policy up in: for each direction and type, those that are not hashed and those that are. */
  readonly #indices: readonly PolicyIndex[] = Array.from({ length: 4 * DIRECTIONS }, () => new PolicyIndex());

  get count(): number {
    return this.#byIndex.size;
  }

  /** Whether a direction has more policies than buckets: then the tables are to grow. */
  isCrowded(dir: number): boolean {
    return (this.counts[dir] as number) > (this.selectorMasks[dir] as number);
  }

  /** Doubles what is crowded (xfrm_policy.c:xfrm_hash_resize); what is left of it are the numbers that GETSPDINFO tells. */
  grow(): void {
    let total = 0;
    for (let dir = 0; dir < DIRECTIONS; dir++) {
      total += this.counts[dir] as number;
      if (this.isCrowded(dir)) this.selectorMasks[dir] = 2 * (this.selectorMasks[dir] as number) + 1;
    }
    if (total > this.indexMask) this.indexMask = 2 * this.indexMask + 1;
  }

  byKey(key: string): Policy | undefined {
    return this.#byKey.get(key);
  }

  byIndex(index: number): Policy | undefined {
    return this.#byIndex.get(index);
  }

  /**
   * The policy of a packet: of those of one type that match it that of the lowest priority number, of several the oldest. Of one with host
   * addresses (which the kernel hashes) and one without, of the same priority, the latter counts if it is the first of its kind
   * (xfrm_policy.c:xfrm_policy_lookup_bytype).
   */
  lookup(dir: number, flow: Flow, mark: number, ifId: number, type = 0): Policy | undefined {
    const hashed = this.#index(dir, type, true).lookup(flow, mark, ifId);
    const inexact = this.#index(dir, type, false).lookup(flow, mark, ifId);
    if (hashed === undefined || inexact === undefined) return hashed ?? inexact;
    if (hashed.priority !== inexact.priority) return hashed.priority < inexact.priority ? hashed : inexact;
    return this.#isFirstInexact(inexact) ? inexact : hashed;
  }

  #index(dir: number, type: number, hashed: boolean): PolicyIndex {
    return this.#indices[4 * dir + 2 * type + (hashed ? 1 : 0)] as PolicyIndex;
  }

  #indexOf(policy: Policy): PolicyIndex {
    return this.#index(policy.dir, policy.type, this.#isHashed(policy));
  }

  /** Of all policies of its direction that are not hashed. */
  #isFirstInexact(policy: Policy): boolean {
    for (let other = this.newest; other !== undefined; other = other.older) {
      if (other === policy || other.dir !== policy.dir || this.#isHashed(other)) continue;
      if (other.priority < policy.priority) return false;
      if (other.priority === policy.priority && this.#isOlder(other, policy)) return false;
    }
    return true;
  }

  #isOlder(policy: Policy, than: Policy): boolean {
    for (let other = than.older; other !== undefined; other = other.older) if (other === policy) return true;
    return false;
  }

  /** New prefix lengths from which on policies are hashed. */
  setThresholds(bytes: Uint8Array, at: number): void {
    const all: Policy[] = [];
    for (let policy = this.newest; policy !== undefined; policy = policy.older) all.push(policy);
    for (const policy of all) this.#indexOf(policy).remove(policy);
    this.thresholds.set(bytes, at);
    for (const policy of all.reverse()) this.#indexOf(policy).insert(policy);
  }

  #isHashed({ info, view }: Policy): boolean {
    const [d4, s4, d6, s6] = this.thresholds as unknown as readonly [number, number, number, number];
    const isInet = view.getUint16(Sel.FAMILY, hostLittleEndian) === AddressFamily.INET;
    const [d, s] = isInet ? [d4, s4] : [d6, s6];
    return (info[Sel.PREFIX_D] as number) >= d && (info[Sel.PREFIX_S] as number) >= s;
  }

  insert(policy: Policy): void {
    this.#byKey.set(policy.key, policy);
    this.#byIndex.set(policy.index, policy);
    policy.older = this.newest;
    if (this.newest !== undefined) this.newest.newer = policy;
    this.newest = policy;
    this.#indexOf(policy).insert(policy);
    this.#count(policy, 1);
  }

  remove(policy: Policy): void {
    for (const cursor of this.cursors) if (cursor.next === policy) cursor.next = policy.older;
    this.#byKey.delete(policy.key);
    this.#byIndex.delete(policy.index);
    if (policy.newer === undefined) this.newest = policy.older;
    else policy.newer.older = policy.older;
    if (policy.older !== undefined) policy.older.newer = policy.newer;
    this.#indexOf(policy).remove(policy);
    this.#count(policy, -1);
  }

  #count({ dir }: Policy, change: number): void {
    this.counts[dir] = (this.counts[dir] as number) + change;
  }
}
