import { describe, expect, it } from 'vitest';
import { parseStates, parseXfrmStat, statGrowth } from './state-text.ts';

// As `ip -s xfrm state` of iproute2 6.1 writes it on Linux 6.1; the keys are zeros and a one.
const LEGACY = `src 2001:db8::1 dst 2001:db8::2
	proto esp spi 0x00001002(4098) reqid 5(0x00000005) mode transport
	replay-window 32 seq 0x00000000 flag  (0x00000000)
	aead rfc4106(gcm(aes)) 0x0000000000000000000000000000000000000001 (160 bits) 128
	anti-replay context: seq 0x12, oseq 0x1f, bitmap 0x0003ffff
	sel src ::/0 dst ::/0 uid 0
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  3100(bytes), 31(packets)
	  add 2026-11-21 04:00:41 use 2026-11-21 04:00:42
	stats:
	  replay-window 0 replay 0 failed 0
`;
const ESN = `src 192.0.2.1 dst 192.0.2.2
	proto esp spi 0x00001001(4097) reqid 6(0x00000006) mode tunnel
	replay-window 0 seq 0x00000000 flag esn (0x10000000)
	mark 0x2a/0xff 
	auth-trunc hmac(sha256) 0x0000000000000000000000000000000000000000000000000000000000000001 (256 bits) 128
	enc cbc(aes) 0x00000000000000000000000000000001 (128 bits)
	encap type espinudp sport 4500 dport 4500 addr 0.0.0.0
	anti-replay esn context:
	 seq-hi 0x0, seq 0x5, oseq-hi 0x1, oseq 0x2
	 replay_window 64, bitmap-length 2
	 0000001f 00000000 
	sel src 0.0.0.0/0 dst 0.0.0.0/0 uid 0
	lifetime config:
	  limit: soft 4000000000(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard 4444(packets)
	  expire add: soft 0(sec), hard 36000(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-21 04:00:41 use -
	stats:
	  replay-window 0 replay 0 failed 0
`;

const one = (text: string) => [...parseStates(text).values()][0];

describe('text of SAs', () => {
  it('reads counters, lifetimes and limits of both kinds of window', () => {
    const states = parseStates(LEGACY + ESN);
    expect(states.get(0x1002)).toMatchObject({
      src: '2001:db8::1',
      reqid: 5,
      seq: 0x12n,
      oseq: 0x1fn,
      lifetimeBytes: 3100,
      lifetimePackets: 31,
      addTime: '2026-11-21 04:00:41',
      useTime: '2026-11-21 04:00:42',
    });
    expect(states.get(0x1001)).toMatchObject({ seq: 5n, oseq: 0x100000002n, useTime: '-' });
    expect(states.get(0x1001)?.limits).toMatchObject({
      'soft bytes': '4000000000',
      'hard packets': '4444',
      'hard add': '36000',
    });
  });

  it.each([
    ['a key', 'keys', '000001 (128 bits)', '000002 (128 bits)'],
    ['the mark', 'identity', '0x2a/0xff', '0x2b/0xff'],
    ['the mode', 'identity', 'mode tunnel', 'mode transport'],
    ['the encapsulation', 'identity', 'sport 4500', 'sport 4501'],
    ['the window', 'identity', 'replay_window 64', 'replay_window 32'],
    ['a flag', 'identity', 'flag esn', 'flag noecn esn'],
    ['a key', 'identity', '000001 (256 bits)', '000003 (256 bits)'],
  ] as const)('sees that %s differs (%s)', (_, field, from, to) => {
    expect(ESN).toContain(from);
    expect(one(ESN.replace(from, to))?.[field]).not.toBe(one(ESN)?.[field]);
  });

  it.each([
    ['counters', 'oseq 0x2', 'oseq 0x99'],
    ['lifetimes', '0(packets)', '12(packets)'],
    ['the number of the acquire', 'seq 0x00000000 flag', 'seq 0x00000007 flag'],
    ['a packet limit', 'hard 4444(packets)', 'hard 77(packets)'],
  ])('does not take %s for identity', (_, from, to) => {
    expect(ESN).toContain(from);
    expect(one(ESN.replace(from, to))?.identity).toBe(one(ESN)?.identity);
  });

  it('refuses two SAs with one SPI, and text that it does not know', () => {
    expect(() => parseStates(ESN + ESN)).toThrow('two SAs');
    expect(() => parseStates('src 1.2.3.4 dst 1.2.3.5\n\tproto ah spi 0x1 reqid 1 mode tunnel\n')).toThrow(
      'not the text',
    );
    expect(() => parseStates(LEGACY.replace(/\tlifetime current[\s\S]*/, ''))).toThrow('ip -s');
  });

  it('holds no key', () => {
    const json = JSON.stringify([...parseStates(LEGACY + ESN).values()], (_, value) =>
      typeof value === 'bigint' ? `${value}` : value,
    );
    expect(json).not.toMatch(/0{20}/);
  });
});

describe('xfrm_stat', () => {
  it('names the counters that moved', () => {
    const before = parseXfrmStat('XfrmInError             \t0\nXfrmInStateSeqError     \t5\n');
    const after = parseXfrmStat('XfrmInError             \t0\nXfrmInStateSeqError     \t12\n');
    expect(statGrowth(before, after)).toEqual({ XfrmInStateSeqError: 7 });
  });
});
