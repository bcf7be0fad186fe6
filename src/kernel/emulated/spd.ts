import type { Policy } from './policy.ts';
import { PolicyChains } from './policy-chains.ts';
import type { Flow } from './selector.ts';

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
  /** Sizes of the hash tables less one: of selectors for each direction, of indices. */
  readonly selectorMasks = new Uint32Array([7, 7, 7]);
  indexMask = 7;
  /** Prefix lengths from which on policies are hashed: left and right, for IPv4 and IPv6. */
  readonly thresholds = new Uint8Array([32, 32, 128, 128]);
  newest: Policy | undefined;
  readonly #byKey = new Map<string, Policy>();
  readonly #byIndex = new Map<number, Policy>();
  /** What packets look their policy up in, by direction. */
  readonly #chains: readonly PolicyChains[];
  #inserted = 0;

  /** `byAge`: of several policies of a packet with one priority the oldest counts, hashed or not. */
  constructor(byAge: boolean) {
    this.#chains = Array.from({ length: DIRECTIONS }, () => new PolicyChains(byAge, this.thresholds));
  }

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

  /** The policy of a packet: of those of one type that match it that of the lowest priority number, of several mostly the oldest. */
  lookup(dir: number, flow: Flow, mark: number, ifId: number, type = 0): Policy | undefined {
    return this.#chainsOf(dir).lookup(flow, mark, ifId, type);
  }

  #chainsOf(dir: number): PolicyChains {
    return this.#chains[dir] as PolicyChains;
  }

  /** Newest first. */
  *#policies(dir: number): Generator<Policy> {
    for (let policy = this.newest; policy !== undefined; policy = policy.older) if (policy.dir === dir) yield policy;
  }

  /** New prefix lengths from which on policies are hashed. */
  setThresholds(bytes: Uint8Array, at: number): void {
    for (let dir = 0; dir < DIRECTIONS; dir++) {
      for (const policy of this.#policies(dir)) this.#chainsOf(dir).remove(policy);
    }
    this.thresholds.set(bytes, at);
    for (let dir = 0; dir < DIRECTIONS; dir++) {
      for (const policy of this.#policies(dir)) this.#chainsOf(dir).insert(policy, () => this.#policies(dir));
    }
  }

  /** `replaced`: the policy that it takes the place of, which has been removed. */
  insert(policy: Policy, replaced?: Policy): void {
    policy.born = this.#inserted++;
    policy.place = replaced?.priority === policy.priority ? replaced.place : policy.born;
    this.#byKey.set(policy.key, policy);
    this.#byIndex.set(policy.index, policy);
    policy.older = this.newest;
    if (this.newest !== undefined) this.newest.newer = policy;
    this.newest = policy;
    this.#chainsOf(policy.dir).insert(policy, () => this.#policies(policy.dir));
    this.#count(policy, 1);
  }

  remove(policy: Policy): void {
    for (const cursor of this.cursors) if (cursor.next === policy) cursor.next = policy.older;
    this.#byKey.delete(policy.key);
    this.#byIndex.delete(policy.index);
    if (policy.newer === undefined) this.newest = policy.older;
    else policy.newer.older = policy.older;
    if (policy.older !== undefined) policy.older.newer = policy.newer;
    this.#chainsOf(policy.dir).remove(policy);
    this.#count(policy, -1);
  }

  #count({ dir }: Policy, change: number): void {
    this.counts[dir] = (this.counts[dir] as number) + change;
  }
}
