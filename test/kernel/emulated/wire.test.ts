import { describe, expect, it } from 'vitest';
import { carry, type EmulatedNamespace, udpPacket, Verdict } from '../../../src/kernel/emulated/index.ts';
import { KernelError } from '../../../src/kernel/index.ts';
import { encodeMessage } from '../../../src/xfrm/index.ts';
import { newPolicy, newSa, world } from './world.ts';

/** From the peer of the tests' SA to its own address. */
const packet = udpPacket({ from: '10.9.0.2', to: '10.9.0.1', sport: 1, dport: 9, payloadBytes: 100 });

const MODE = { TRANSPORT: 0, TUNNEL: 1 };

/** Two namespaces with the same SA, and a policy that leads into it. */
function joined(mode: number): readonly [EmulatedNamespace, EmulatedNamespace] {
  const { kernel } = world();
  const sides = [kernel, kernel.namespace()] as const;
  const { body, attributes } = newSa();
  const policy = newPolicy({}, 1);
  const [tmpl] = policy.attributes.tmpl ?? [];
  if (tmpl === undefined) throw new Error('no template');
  for (const side of sides) {
    const socket = side.openNow();
    socket.send(encodeMessage({ ...newSa(), body: { ...body, mode }, attributes }));
    const own = { ...tmpl, reqid: body.reqid, mode };
    socket.send(encodeMessage({ ...policy, attributes: { tmpl: [own] } }));
  }
  return sides;
}

describe('a link between two namespaces', () => {
  it.each([
    [MODE.TRANSPORT, 108],
    [MODE.TUNNEL, 128],
  ])('mode %d: what one side has sent the other has received', (mode, bytes) => {
    const [from, to] = joined(mode);
    const passages = Array.from({ length: 3 }, () => carry(from, to, packet));
    expect(passages.map(({ sent, facts, verdict }) => [sent, facts?.seq, verdict])).toEqual(
      [1, 2, 3].map((seq) => [true, seq, Verdict.ACCEPT]),
    );
    expect(from.snapshot().sas).toMatchObject([{ oseq: 3n, packets: 3, bytes: 3 * bytes }]);
    expect(to.snapshot().sas).toMatchObject([{ seq: 3n, packets: 3, bytes: 3 * bytes }]);
    // What comes out of a tunnel needs a policy, and there is none inbound (RFC 4301, section 5.2).
    expect(passages.map(({ delivered }) => delivered)).toEqual(new Array(3).fill(mode === MODE.TRANSPORT));
  });

  it('an SA that the other side has not: sent, and dropped there', () => {
    const [from] = joined(MODE.TRANSPORT);
    const { kernel: to } = world();
    expect(carry(from, to, packet)).toMatchObject({ sent: true, verdict: Verdict.DROP, delivered: false });
    expect(to.stats()).toEqual({ XfrmInNoStates: 1 });
  });

  it('without a policy a packet goes as it is', () => {
    const { kernel } = world();
    const passage = carry(kernel, kernel.namespace(), packet);
    expect(passage).toEqual({ errno: 0, sent: true, facts: undefined, verdict: undefined, delivered: true });
  });

  it.each([
    ['10.0.0.1', 'nowhere'],
    ['10.0.0.1', 'fd00::1'],
  ])('refuses a packet from %s to %s', (from, to) => {
    expect(() => udpPacket({ from, to })).toThrow(KernelError);
  });
});
