import { AddressFamily } from '../../xfrm/index.ts';
import type { Policy } from './policy.ts';
import { PolicyIndex } from './policy-index.ts';
import { type Flow, halfAt, Sel } from './selector.ts';

/**
 * The policies of one direction as packets choose among them. The kernel has a chain of those that it hashes, and one for each way in which
 * the others name addresses; in a chain an updated policy keeps its place if its priority stays. Of matches in several chains the lowest
 * priority number counts, then (xfrm_policy.c: xfrm_policy_lookup_bytype, __xfrm_policy_eval_candidates):
 *
 * - `byAge` (6.12): the oldest; an update makes a policy new
 * - before: the first in the list of all that are not hashed. A hashed one comes before them, but for the very first of that list: it has the
 *   position 0, as hashed ones have. Positions are counted when a policy is added to the list.
 */
export class PolicyChains {
  readonly #byAge: boolean;
  /** Prefix lengths from which on policies are hashed: left and right, for IPv4 and IPv6. */
  readonly #thresholds: Uint8Array;
  readonly #chains: readonly PolicyIndex[] = Array.from({ length: TYPES * CHAINS }, () => new PolicyIndex());
  /** The chains that are not empty, by type: mostly one. */
  readonly #used: readonly PolicyIndex[][] = Array.from({ length: TYPES }, () => []);
  /** Of those that are not hashed the one with position 0. */
  #first: Policy | undefined;

  constructor(byAge: boolean, thresholds: Uint8Array) {
    this.#byAge = byAge;
    this.#thresholds = thresholds;
  }

  lookup(flow: Flow, mark: number, ifId: number, type: number): Policy | undefined {
    const used = this.#used[type] as PolicyIndex[];
    let best: Policy | undefined;
    for (let i = 0; i < used.length; i++) {
      const found = (used[i] as PolicyIndex).lookup(flow, mark, ifId);
      if (found !== undefined && (best === undefined || this.#isBefore(found, best))) best = found;
    }
    return best;
  }

  /** `all`: the policies of the direction that there are, this one included. */
  insert(policy: Policy, all: () => Iterable<Policy>): void {
    this.#chainOf(policy).insert(policy);
    this.#noteUsed(policy.type);
    if (this.#byAge || this.isHashed(policy)) return;
    for (const other of this.#first === undefined ? all() : [policy]) {
      if (this.isHashed(other)) continue;
      if (this.#first === undefined || isAhead(other, this.#first)) this.#first = other;
    }
  }

  remove(policy: Policy): void {
    this.#chainOf(policy).remove(policy);
    this.#noteUsed(policy.type);
    if (this.#first === policy) this.#first = undefined;
  }

  isHashed({ info }: Policy): boolean {
    const at = isInet(info) ? 0 : 2;
    const [d, s] = [this.#thresholds[at] as number, this.#thresholds[at + 1] as number];
    return (info[Sel.PREFIX_D] as number) >= d && (info[Sel.PREFIX_S] as number) >= s;
  }

  #chainOf(policy: Policy): PolicyIndex {
    const { info, type } = policy;
    const names = (prefix: number): boolean => prefix >= (isInet(info) ? TREE_PREFIX_MIN.inet : TREE_PREFIX_MIN.inet6);
    const [d, s] = [names(info[Sel.PREFIX_D] as number), names(info[Sel.PREFIX_S] as number)];
    const chain = this.isHashed(policy) ? 0 : 1 + (d ? 1 : 0) + (s ? 2 : 0);
    return this.#chains[CHAINS * type + chain] as PolicyIndex;
  }

  #noteUsed(type: number): void {
    const used = this.#used[type] as PolicyIndex[];
    used.length = 0;
    for (const chain of this.#chains.slice(CHAINS * type, CHAINS * (type + 1))) if (chain.size > 0) used.push(chain);
  }

  #isBefore(a: Policy, b: Policy): boolean {
    if (a.priority !== b.priority) return a.priority < b.priority;
    if (this.#byAge) return a.born < b.born;
    const [hashedA, hashedB] = [this.isHashed(a), this.isHashed(b)];
    if (hashedA === hashedB) return a.place < b.place;
    return hashedA ? b !== this.#first : a === this.#first;
  }
}

/** MAIN and SUB. */
const TYPES = 2;
/** Hashed; then without addresses, with a destination, with a source, with both. */
const CHAINS = 5;
/** Shorter prefixes count as no address (INEXACT_PREFIXLEN_IPV4, INEXACT_PREFIXLEN_IPV6). */
const TREE_PREFIX_MIN = { inet: 16, inet6: 48 } as const;

const isInet = (info: Uint8Array): boolean => halfAt(info, Sel.FAMILY) === AddressFamily.INET;

const isAhead = (a: Policy, b: Policy): boolean =>
  a.priority < b.priority || (a.priority === b.priority && a.place < b.place);
