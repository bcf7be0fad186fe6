/** The runner's target on the kernel of this machine, as far as that goes without ESP. */
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { linuxTargetOn } from '../../src/conformance/linux-target.ts';
import type { Target } from '../../src/conformance/target.ts';
import { type LinuxSystem, openSystem } from '../../src/kernel/linux/index.ts';
import { decodeMessage, encodeMessage } from '../../src/xfrm/index.ts';

type Topology = 'single' | 'pair';

/** Why a target cannot be had here, or what it takes to have one. */
async function reach(): Promise<LinuxSystem | string> {
  try {
    const system = await openSystem();
    linuxTargetOn(system, { topology: 'pair' }).close();
    return system;
  } catch (error) {
    return (error as Error).message;
  }
}

const system = await reach();
const descriptors = (): number => readdirSync('/proc/self/fd').length;

if (typeof system === 'string') {
  console.warn(`Skipped, as the kernel of this machine is out of reach: the target on it: ${system}`);
  describe.skip(`the target on the kernel of this machine (skipped: ${system})`, () => {
    it('runs', () => undefined);
  });
} else {
  describe('the target on the kernel of this machine', () => {
    function on(topology: Topology, action: (target: Target) => void): void {
      const target = linuxTargetOn(system as LinuxSystem, { topology });
      try {
        action(target);
      } finally {
        target.close();
      }
    }

    const t = 0;
    const open = { op: 'socket', t, sock: 's' } as const;
    const getSpdInfo = encodeMessage({
      kind: 'GETSPDINFO',
      flags: 1,
      seq: 7,
      pid: 0,
      body: { flags: 0 },
      attributes: {},
    });
    const errorOf = (bytes: Uint8Array | undefined): number | undefined => {
      const message = bytes && decodeMessage(bytes);
      return message?.kind === 'ERROR' ? message.body.error : undefined;
    };

    it('opens sockets as asked, and says what the kernel says', () => {
      on('single', (target) => {
        expect(target.openSocket({ ...open, portid: 1001, groups: 2 })).toBe(0);
        expect(target.openSocket({ ...open, sock: 'twin', portid: 1001 })).toBe(98);
        expect(target.openSocket({ ...open, sock: 'weak', groups: 2, cap_net_admin: false })).toBe(1);
        expect(target.openSocket({ ...open, sock: 'weak', cap_net_admin: false })).toBe(0);
        expect(target.setMembership({ op: 'join', t, sock: 's', group: 5 })).toBe(0);
        expect(target.setMembership({ op: 'join', t, sock: 's', group: 0 })).toBe(22);
        expect(target.setMembership({ op: 'join', t, sock: 's', group: 5, cap_net_admin: false })).toBe(1);
        expect(target.setOption({ op: 'setopt', t, sock: 's', name: 'rcvbuf', value: 8000 })).toBe(0);
      });
    });

    it('sends with and without CAP_NET_ADMIN, and has it back afterwards', () => {
      on('single', (target) => {
        target.openSocket(open);
        target.send('s', getSpdInfo, { privileged: false, addressed: true });
        expect(errorOf(target.read('s').messages[0])).toBe(-1);
        target.send('s', getSpdInfo, { privileged: true, addressed: false });
        const got = target.read('s');
        expect(got).toMatchObject({ datagrams: [1], groups: [0], overruns: [] });
        expect(got.messages.map((bytes) => decodeMessage(bytes).kind)).toEqual(['NEWSPDINFO']);
      });
    });

    it('sets and reads sysctls of its own namespace', () => {
      const name = 'net.core.xfrm_aevent_rseqth';
      on('single', (target) => {
        expect(target.setSysctl('a', name, '50')).toBe(0);
        expect(target.setSysctl('a', name, 'x')).toBe(22);
        expect(target.sysctl('a', name)).toBe('50');
      });
      on('single', (target) => expect(target.sysctl('a', name)).toBe('2'));
    });

    it('sends packets across the link and judges those that come', () => {
      on('pair', (target) => {
        const sa = { daddr: '10.9.0.2', spi: 0x100, proto: 50, family: 2 } as const;
        const out = {
          op: 'packet',
          dir: 'out',
          t,
          sa,
          src: '10.9.0.1',
          dst: '10.9.0.2',
          dport: 9,
          payload: 8,
        } as const;
        const clear = { seq: [], ipLengths: [], acct: undefined, stat: {} };
        expect(target.packetOut({ ...out, count: 3 })).toEqual({ ...clear, errnos: [0, 0, 0] });
        const six = { ...out, sa: { ...sa, daddr: 'fd09::2', family: 10 as const }, src: 'fd09::1', dst: 'fd09::2' };
        expect(target.packetOut(six)).toEqual({ ...clear, errnos: [0] });
        const esp = `4500002400010000403200000a0900020a090001${'00000100'}${'00000001'}${'00'.repeat(8)}`;
        const { verdicts } = target.packetIn({ op: 'packet', dir: 'in', t, sa, packets: [{ hex: esp, seq: 1 }] });
        expect(verdicts).toMatchObject([{ verdict: 'drop', bytes: undefined }]);
      });
    });

    it('leaves nothing open', () => {
      const before = descriptors();
      for (let i = 0; i < 20; i++) on(i % 2 === 0 ? 'single' : 'pair', (target) => void target.openSocket(open));
      expect(descriptors()).toBe(before);
    });
  });
}
