import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Policy } from '../../../src/kernel/emulated/policy.ts';
import { PolicyIndex } from '../../../src/kernel/emulated/policy-index.ts';
import { type Flow, prefixMatches, Sel } from '../../../src/kernel/emulated/selector.ts';
import { hostLittleEndian } from '../../../src/netlink/index.ts';

/** The index must choose as a walk through all policies does, in the order of priority and age. */

const INET = 2;
const INET6 = 10;

interface Wanted {
  family: number;
  daddr: number;
  saddr: number;
  prefixD: number;
  prefixS: number;
  proto: number;
  dport: number;
  dportMask: number;
  sport: number;
  sportMask: number;
  ifindex: number;
  mark: number;
  markMask: number;
  ifId: number;
  priority: number;
}

/** Addresses that share long prefixes; of IPv6 the number stands at both ends. */
function addressOf(family: number, number: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, number);
  if (family === INET6) view.setUint32(12, number);
  return bytes;
}

let places = 0;

function policyOf(wanted: Wanted): Policy {
  const info = new Uint8Array(168);
  const view = new DataView(info.buffer);
  info.set(addressOf(wanted.family, wanted.daddr), Sel.DADDR);
  info.set(addressOf(wanted.family, wanted.saddr), Sel.SADDR);
  // Of IPv4 selectors the rest of an address may hold anything.
  if (wanted.family === INET) info.fill(0xee, Sel.DADDR + 4, Sel.SADDR);
  view.setUint16(Sel.DPORT, wanted.dport);
  view.setUint16(Sel.DPORT_MASK, wanted.dportMask);
  view.setUint16(Sel.SPORT, wanted.sport);
  view.setUint16(Sel.SPORT_MASK, wanted.sportMask);
  view.setUint16(Sel.FAMILY, wanted.family, hostLittleEndian);
  info[Sel.PREFIX_D] = wanted.prefixD;
  info[Sel.PREFIX_S] = wanted.prefixS;
  info[Sel.PROTO] = wanted.proto;
  view.setUint32(Sel.IFINDEX, wanted.ifindex, hostLittleEndian);
  const { mark, markMask, ifId, priority } = wanted;
  const links = { newer: undefined, older: undefined, timer: undefined, firstRunMs: 0, born: 0, place: places++ };
  return {
    info,
    view,
    templates: new Uint8Array(0),
    type: 0,
    dir: 1,
    index: 0,
    priority,
    mark,
    markMask,
    ifId,
    key: '',
    ...links,
  };
}

/** Written from the rules once more: xfrm_policy_match and __xfrm_selector_match. */
function asks(wanted: Wanted, flow: Flow, mark: number, ifId: number): boolean {
  const bits = flow.family === INET ? 32 : 128;
  const has = (own: number, address: Uint8Array, prefix: number): boolean =>
    prefixMatches(addressOf(wanted.family, own), 0, address, 0, Math.min(prefix, bits));
  return (
    wanted.family === flow.family &&
    wanted.ifId === ifId &&
    (mark & wanted.markMask) >>> 0 === wanted.mark &&
    (wanted.proto === 0 || wanted.proto === flow.proto) &&
    (wanted.ifindex === 0 || wanted.ifindex === flow.ifindex) &&
    ((wanted.dport ^ flow.dport) & wanted.dportMask) === 0 &&
    ((wanted.sport ^ flow.sport) & wanted.sportMask) === 0 &&
    has(wanted.daddr, flow.daddr, wanted.prefixD) &&
    has(wanted.saddr, flow.saddr, wanted.prefixS)
  );
}

const address = fc.constantFrom(0x0a000001, 0x0a000002, 0x0a000101, 0x0b000001, 0xc0000201);
const port = fc.constantFrom(53, 80, 500);
const portMask = fc.constantFrom(0, 0, 0, 0, 0xffff, 0xfff0);
const mark = fc.constantFrom(0, 0, 0, 1, 0x11);
const ifId = fc.constantFrom(0, 0, 0, 7);
const prefix = fc.constantFrom(0, 0, 0, 8, 8, 23, 24, 31, 32, 64, 128, 200);
const family = fc.constantFrom(INET, INET, INET6);
const wantedPolicy: fc.Arbitrary<Wanted> = fc.record({
  family,
  daddr: address,
  saddr: address,
  prefixD: prefix,
  prefixS: prefix,
  proto: fc.constantFrom(0, 0, 6, 17),
  dport: port,
  dportMask: portMask,
  sport: port,
  sportMask: portMask,
  ifindex: fc.constantFrom(0, 0, 3),
  mark,
  markMask: fc.constantFrom(0, 0, 1, 0xff),
  ifId,
  priority: fc.nat(3),
});
const packet = fc.record({
  family,
  daddr: address,
  saddr: address,
  proto: fc.constantFrom(6, 17),
  dport: port,
  sport: port,
  ifindex: fc.constantFrom(undefined, 3),
  mark,
  ifId,
});

describe('the policy index', () => {
  it('finds what a walk through all policies finds, whatever comes and goes', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: wantedPolicy },
      { weight: 1, arbitrary: fc.record({ remove: fc.nat() }) },
    );
    let found = 0;
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }),
        fc.array(packet, { minLength: 1, maxLength: 20 }),
        (steps, packets) => {
          const index = new PolicyIndex();
          const all: { wanted: Wanted; policy: Policy }[] = [];
          for (const step of steps) {
            if ('remove' in step) {
              const [gone] = all.splice(step.remove % Math.max(1, all.length), 1);
              if (gone !== undefined) index.remove(gone.policy);
            } else {
              const policy = policyOf(step);
              all.push({ wanted: step, policy });
              index.insert(policy);
            }
          }
          // The sort is stable: of one priority the oldest comes first.
          const ordered = all.toSorted((a, b) => a.wanted.priority - b.wanted.priority);
          for (const { ifindex, mark, ifId, daddr, saddr, ...rest } of packets) {
            const flow: Flow = {
              ...rest,
              daddr: addressOf(rest.family, daddr),
              saddr: addressOf(rest.family, saddr),
              ...(ifindex === undefined ? {} : { ifindex }),
            };
            const expected = ordered.find(({ wanted }) => asks(wanted, flow, mark, ifId))?.policy;
            if (expected !== undefined) found++;
            expect(index.lookup(flow, mark, ifId)).toBe(expected);
          }
        },
      ),
      { numRuns: 500 },
    );
    expect(found).toBeGreaterThan(500);
  });

  it('has no entry left when the last policy goes', () => {
    const index = new PolicyIndex();
    const wanted: Wanted = {
      family: INET,
      daddr: 1,
      saddr: 1,
      prefixD: 0,
      prefixS: 0,
      proto: 0,
      dport: 0,
      dportMask: 0,
      sport: 0,
      sportMask: 0,
      ifindex: 0,
      mark: 0,
      markMask: 0,
      ifId: 0,
      priority: 0,
    };
    const policies = Array.from({ length: 100 }, (_, i) => policyOf({ ...wanted, priority: i % 5 }));
    const flow: Flow = {
      family: INET,
      daddr: addressOf(INET, 9),
      saddr: addressOf(INET, 9),
      proto: 6,
      sport: 1,
      dport: 1,
    };
    for (const policy of policies) index.insert(policy);
    const inOrder = policies.toSorted((a, b) => a.priority - b.priority);
    for (const policy of inOrder) {
      expect(index.lookup(flow, 0, 0)).toBe(policy);
      index.remove(policy);
    }
    expect(index.lookup(flow, 0, 0)).toBeUndefined();
  });
});
