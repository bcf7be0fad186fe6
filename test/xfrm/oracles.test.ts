import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type AnyXfrmMessage, encodeMessage, parseAddress, type XfrmMessage } from '../../src/xfrm/index.ts';
import { compile } from './toolchain.ts';

/** What other people's programs read in the bytes that our encoder writes. */

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed.address;
}

const saId = { daddr: address('10.0.0.2'), spi: 0xc0ffee01, family: 2, proto: 50 };
const head = { flags: 0, seq: 0, pid: 0 };
const ltimeVal = { bytes: 5_000_000_000n, packets: 1234n, addTime: 1600000000n, useTime: 1600000005n };

const legacy: XfrmMessage<'NEWAE'> = {
  ...head,
  kind: 'NEWAE',
  body: { saId, saddr: address('10.0.0.1'), flags: 0x10, reqid: 77 },
  attributes: { replayVal: { oseq: 0xfffffff0, seq: 3, bitmap: 7 }, ltimeVal, replayThresh: 2, etimerThresh: 10 },
};
const esn: XfrmMessage<'NEWAE'> = {
  ...head,
  kind: 'NEWAE',
  body: {
    saId: { ...saId, daddr: address('2001:db8::2'), family: 10 },
    saddr: address('2001:db8::1'),
    flags: 0x20,
    reqid: 78,
  },
  attributes: {
    replayEsnVal: { bmpLen: 2, oseq: 5, seq: 6, oseqHi: 1, seqHi: 2, replayWindow: 64, bmp: [0xaaaaaaaa, 0x55555555] },
    ltimeVal,
    mark: { value: 0xf5, mask: 0xff },
  },
};

describe('iproute2', () => {
  const directory = mkdtempSync(join(tmpdir(), 'xfrmsync-ip-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const missing = spawnSync('ip', ['-V']).error ? ' (skipped: no ip command)' : '';

  /** `ip monitor file` reads what rtmon writes: messages, one behind the other. */
  function monitor(...messages: AnyXfrmMessage[]): string {
    const file = join(directory, 'messages');
    writeFileSync(file, Buffer.concat(messages.map((message) => encodeMessage(message))));
    const { stdout, stderr, status } = spawnSync('ip', ['xfrm', 'monitor', 'all', 'file', file], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    return stdout.replace(/\s+/g, ' ');
  }

  it.skipIf(missing !== '')(`reads aevents${missing}`, () => {
    const text = monitor(legacy, esn);
    expect(text).toMatch(/src 10\.0\.0\.1 dst 10\.0\.0\.2 reqid 0x4d protocol esp SPI 0xc0ffee01/);
    expect(text).toMatch(/src 2001:db8::1 dst 2001:db8::2 reqid 0x4e protocol esp SPI 0xc0ffee01/);
    expect(text).toContain('0x10');
  });

  it.skipIf(missing !== '')(`reads SAs, deletions and flushes${missing}`, () => {
    const info = {
      sel: {
        daddr: address('10.2.0.0'),
        saddr: address('10.1.0.0'),
        dport: 80,
        dportMask: 0xffff,
        sport: 0,
        sportMask: 0,
        family: 2,
        prefixlenD: 16,
        prefixlenS: 24,
        proto: 6,
        ifindex: 0,
        user: 0,
      },
      id: { daddr: saId.daddr, spi: saId.spi, proto: 50 },
      saddr: address('10.0.0.1'),
      lft: {
        softByteLimit: 2n ** 64n - 1n,
        hardByteLimit: 2n ** 64n - 1n,
        softPacketLimit: 2n ** 64n - 1n,
        hardPacketLimit: 2n ** 64n - 1n,
        softAddExpiresSeconds: 0n,
        hardAddExpiresSeconds: 0n,
        softUseExpiresSeconds: 0n,
        hardUseExpiresSeconds: 0n,
      },
      curlft: ltimeVal,
      stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
      seq: 0,
      reqid: 77,
      family: 2,
      mode: 1,
      replayWindow: 32,
      flags: 0,
    };
    const key = Uint8Array.from({ length: 20 }, (_, i) => i);
    const text = monitor(
      {
        ...head,
        kind: 'NEWSA',
        body: info,
        attributes: {
          algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key },
          encap: { type: 2, sport: 4500, dport: 4501, oa: address('0.0.0.0') },
          mark: { value: 5, mask: 0xff },
          ifId: 42,
          replayVal: { oseq: 9, seq: 0, bitmap: 0 },
        },
      },
      { ...head, kind: 'DELSA', body: saId, attributes: { sa: info } },
      { ...head, kind: 'EXPIRE', body: { state: info, hard: 1 }, attributes: {} },
      { ...head, kind: 'FLUSHSA', body: { proto: 50 }, attributes: {} },
    );
    expect(text).toMatch(
      /src 10\.0\.0\.1 dst 10\.0\.0\.2 proto esp spi 0xc0ffee01 reqid 77 mode tunnel replay-window 32/,
    );
    expect(text).toContain('aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128');
    expect(text).toContain('encap type espinudp sport 4500 dport 4501 addr 0.0.0.0');
    expect(text).toContain('mark 0x5/0xff');
    expect(text).toContain('if_id 0x2a');
    expect(text).toContain('oseq 0x9');
    expect(text).toContain('sel src 10.1.0.0/24 dst 10.2.0.0/16 proto tcp dport 80');
    expect(text).toMatch(/Deleted src 10\.0\.0\.1 dst 10\.0\.0\.2/);
    expect(text).toContain('hard 1');
    expect(text).toContain('Flushed state proto esp');
  });
});

describe('libnl-xfrm', () => {
  const flags = spawnSync('pkg-config', ['--cflags', '--libs', 'libnl-xfrm-3.0'], { encoding: 'utf8' });
  const compiled =
    flags.status === 0
      ? compile(
          `#include <stdio.h>
          #include <netlink/netlink.h>
          #include <netlink/addr.h>
          #include <netlink/xfrm/ae.h>
          static char buffer[65536];
          int main(void) {
            size_t n = fread(buffer, 1, sizeof buffer, stdin);
            for (struct nlmsghdr *h = (void *)buffer; (char *)h < buffer + n; h = (void *)((char *)h + NLMSG_ALIGN(h->nlmsg_len))) {
              struct xfrmnl_ae *ae = 0;
              unsigned v, m, oseq = 0, seq = 0, oseq_hi = 0, seq_hi = 0, window = 0, words = 0, bitmap[128] = {0};
              unsigned long long b, p, a, u;
              char d[64], s[64];
              int error = xfrmnl_ae_parse(h, &ae);
              if (error < 0) { printf("error %d\\n", error); return 1; }
              printf("%s %s %x %d %d %x %d", nl_addr2str(xfrmnl_ae_get_saddr(ae), s, sizeof s),
                nl_addr2str(xfrmnl_ae_get_daddr(ae), d, sizeof d), (unsigned)xfrmnl_ae_get_spi(ae), xfrmnl_ae_get_proto(ae),
                xfrmnl_ae_get_family(ae), (unsigned)xfrmnl_ae_get_flags(ae), xfrmnl_ae_get_reqid(ae));
              xfrmnl_ae_get_curlifetime(ae, &b, &p, &a, &u);
              printf(" | %llu %llu %llu %llu", b, p, a, u);
              if (xfrmnl_ae_get_replay_state_esn(ae, &oseq, &seq, &oseq_hi, &seq_hi, &window, &words, bitmap) < 0)
                xfrmnl_ae_get_replay_state(ae, &oseq, &seq, bitmap);
              printf(" | %u %u %u %u %u %u %x %x", oseq, seq, oseq_hi, seq_hi, window, words, bitmap[0], bitmap[1]);
              if (xfrmnl_ae_get_mark(ae, &m, &v) == 0) printf(" | %x/%x", v, m);
              printf("\\n");
              xfrmnl_ae_put(ae);
            }
            return 0;
          }`,
          flags.stdout.trim().split(/\s+/),
        )
      : { missing: 'no libnl-xfrm-3.0' };
  afterAll(() => ('run' in compiled ? compiled.remove() : undefined));
  const missing = 'missing' in compiled ? ` (skipped: ${compiled.missing})` : '';

  it.skipIf('missing' in compiled)(`parses aevents${missing}`, () => {
    const wire = Buffer.concat([encodeMessage(legacy), encodeMessage(esn)]);
    const lines = ('run' in compiled ? compiled.run(wire) : '').trim().split('\n');
    expect(lines).toEqual([
      '10.0.0.1 10.0.0.2 c0ffee01 50 2 10 77 | 5000000000 1234 1600000000 1600000005 | 4294967280 3 0 0 0 0 7 0',
      '2001:db8::1 2001:db8::2 c0ffee01 50 10 20 78 | 5000000000 1234 1600000000 1600000005 | 5 6 1 2 64 2 aaaaaaaa 55555555 | f5/ff',
    ]);
  });
});
