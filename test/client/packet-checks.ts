/**
 * The client against kernels that have ESP and packets, real or emulated: SAs of every kind, counters, events. Each check starts with empty
 * databases; what it returns is noted in the report.
 */
import { ok, deepStrictEqual as same } from 'node:assert';
import { newAevent, type Policy, type Sa, saIdOf } from 'xfrmsync';
import { AeFlag, PolicyDir, SaFlag, XfrmGroup } from 'xfrmsync/xfrm';
import { address, ESP, INET, noLimits, policyBody, type SaBasics, saBody, selector } from './bodies.ts';
import { ADDRESSES, agree, ENCAP_PORT, eventually, flush, Listener, PAYLOAD_BYTES, type Pair } from './machine.ts';

const [A] = ADDRESSES.a;
const [B] = ADDRESSES.b;
/** Two seconds and a half at the 100 jiffies of the lab's kernel: longer than a busy machine takes from an SA to its packets. */
const TIMER_JIFFIES = 250;
/** What ESP protects in transport mode: the datagram with its UDP header. */
const PROTECTED_BYTES = BigInt(8 + PAYLOAD_BYTES);

const bytes = (length: number, first: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + i) & 255);

const algorithms: Readonly<Record<string, Sa['attributes']>> = {
  gcm: { algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key: bytes(20, 1) } },
  cbc: {
    algAuthTrunc: { name: 'hmac(sha256)', keyLen: 256, truncLen: 128, key: bytes(32, 2) },
    algCrypt: { name: 'cbc(aes)', keyLen: 128, key: bytes(16, 3) },
  },
  null: {
    algAuthTrunc: { name: 'hmac(sha1)', keyLen: 160, truncLen: 96, key: bytes(20, 4) },
    algCrypt: { name: 'ecb(cipher_null)', keyLen: 0, key: new Uint8Array(0) },
  },
  chacha: { algAead: { name: 'rfc7539esp(chacha20,poly1305)', keyLen: 288, icvLen: 128, key: bytes(36, 5) } },
};

const esnState = (bmpLen: number): NonNullable<Sa['attributes']['replayEsnVal']> => ({
  bmpLen,
  oseq: 0,
  seq: 0,
  oseqHi: 0,
  seqHi: 0,
  replayWindow: 32 * bmpLen,
  bmp: new Array<number>(bmpLen).fill(0),
});

type Body = Partial<Sa['body']>;
const windows: Readonly<Record<string, { body: Body; attributes: Sa['attributes'] }>> = {
  legacy: { body: { replayWindow: 32 }, attributes: {} },
  bitmap: { body: {}, attributes: { replayEsnVal: esnState(2) } },
  esn: { body: { flags: SaFlag.ESN }, attributes: { replayEsnVal: esnState(4) } },
};

const limits = {
  ...noLimits,
  softByteLimit: 1_000_000n,
  hardByteLimit: 2_000_000n,
  softPacketLimit: 1000n,
  hardPacketLimit: 2000n,
  softAddExpiresSeconds: 3600n,
  hardAddExpiresSeconds: 7200n,
  softUseExpiresSeconds: 1800n,
  hardUseExpiresSeconds: 1900n,
};

const extras: Readonly<Record<string, { body: Body; attributes: Sa['attributes'] }>> = {
  plain: { body: {}, attributes: {} },
  mark: { body: {}, attributes: { mark: { value: 5, mask: 0xff } } },
  ifId: { body: {}, attributes: { ifId: 9 } },
  encap: {
    body: {},
    attributes: { encap: { type: 2, sport: ENCAP_PORT, dport: 4501, oa: address('0.0.0.0') } },
  },
  limits: { body: { lft: limits }, attributes: {} },
};

function espSa(basics: SaBasics, algorithm = 'gcm', window = 'legacy', extra = 'plain', body: Body = {}): Sa {
  const w = windows[window] as { body: Body; attributes: object };
  const x = extras[extra] as { body: Body; attributes: object };
  return {
    body: saBody(basics, { ...w.body, ...x.body, ...body }),
    attributes: { ...algorithms[algorithm], ...w.attributes, ...x.attributes },
  };
}

/** A policy for the machine's datagrams, led into the SA with this reqid. */
function udpPolicy(dir: number, reqid: number): Policy {
  const tmpl = {
    id: { daddr: address(B), spi: 0, proto: ESP },
    family: INET,
    saddr: address(A),
    reqid,
    mode: 0,
    share: 0,
    optional: 0,
    aalgos: 0xffffffff,
    ealgos: 0xffffffff,
    calgos: 0xffffffff,
  };
  return { body: policyBody(selector(A, B), dir), attributes: { tmpl: [tmpl] } };
}

/** The same SA on both sides of the link, and the policies that use it. */
async function connect({ a, b }: Pair, spi: number, sa: Sa): Promise<void> {
  await a.addSa({ ...sa, body: { ...sa.body, reqid: spi } });
  await b.addSa({ ...sa, body: { ...sa.body, reqid: spi, lft: noLimits } });
  await a.addPolicy(udpPolicy(PolicyDir.OUT, spi));
  await b.addPolicy(udpPolicy(PolicyDir.IN, spi));
}

export const packetChecks: Readonly<Record<string, (pair: Pair) => Promise<object | undefined>>> = {
  'every algorithm, window and extra: added, read, the same to the witness': async (pair) => {
    const { a } = pair;
    let spi = 0x1000;
    const added: Sa[] = [];
    for (const [saddr, daddr] of [
      [A, B],
      ['fd09::1', 'fd09::2'],
    ] as const) {
      for (const algorithm of Object.keys(algorithms)) {
        for (const window of Object.keys(windows)) {
          for (const extra of Object.keys(extras)) {
            if (extra === 'encap' && saddr !== A) continue;
            const mode = spi % 2;
            added.push(espSa({ saddr, daddr, spi: spi++ }, algorithm, window, extra, { mode, reqid: spi }));
          }
        }
      }
    }
    for (const { error } of await a.batch(added.map((sa) => ({ kind: 'NEWSA', ...sa }) as const))) {
      if (error) throw error;
    }
    for (const sa of added) {
      const found = await a.getSa(saIdOf(sa));
      ok(found, `no SA 0x${sa.body.id.spi.toString(16)}`);
      const { curlft, ...stable } = found.body;
      const { curlft: _, ...asked } = sa.body;
      same(stable, asked);
      ok(curlft.addTime > 1_600_000_000n && curlft.packets === 0n);
      // The kernel adds to what was given: XFRMA_ALG_AUTH beside XFRMA_ALG_AUTH_TRUNC, and always a replay state.
      for (const [name, value] of Object.entries(sa.attributes)) {
        same(found.attributes[name as keyof Sa['attributes']], value, name);
      }
    }
    same(await agree(pair, 'a'), added.length);
    return { sas: added.length };
  },

  'update changes limits and leaves counters': async (pair) => {
    const { a } = pair;
    const sa = espSa({ saddr: A, daddr: B, spi: 0x2000 }, 'cbc', 'esn');
    await a.addSa(sa);
    const state = { ...esnState(4), oseq: 77, oseqHi: 1, seq: 1000, seqHi: 3, bmp: [1, 2, 3, 0x80000000] };
    const ltimeVal = { bytes: 5000n, packets: 50n, addTime: 1_600_000_000n, useTime: 1_600_000_005n };
    await a.setAevent(saIdOf(sa), { replayEsnVal: state, ltimeVal });
    const softPacketLimit = 111n;
    await a.updateSa({ ...sa, body: { ...sa.body, lft: { ...noLimits, softPacketLimit, hardPacketLimit: 222n } } });
    const found = await a.getSa(saIdOf(sa));
    same([found?.body.lft.softPacketLimit, found?.body.lft.hardPacketLimit], [softPacketLimit, 222n]);
    same(found?.attributes.replayEsnVal, state);
    same(found?.body.curlft, ltimeVal);
    same(found?.attributes.algCrypt, sa.attributes.algCrypt);
    await agree(pair, 'a');
    return undefined;
  },

  'counters set are the counters read, in every kind of window, and the change is announced': async (pair) => {
    const { machine, a } = pair;
    await using events = await Listener.open(machine, 'a', XfrmGroup.AEVENTS);
    for (const [i, window] of Object.keys(windows).entries()) {
      const sa = espSa({ saddr: A, daddr: B, spi: 0x3000 + i }, 'gcm', window, 'mark', { reqid: 5 });
      const id = saIdOf(sa);
      await a.addSa(sa);
      const values =
        window === 'legacy'
          ? { replayVal: { oseq: 0xfffffff0, seq: 100, bitmap: 0x80000001 } }
          : {
              replayEsnVal: {
                ...(sa.attributes.replayEsnVal ?? esnState(2)),
                oseq: 9,
                seq: 70,
                bmp: new Array<number>(window === 'esn' ? 4 : 2).fill(0xdeadbeef),
                ...(window === 'esn' ? { seqHi: 2, oseqHi: 3 } : {}),
              },
            };
      const ltimeVal = { bytes: 1n << 40n, packets: 12n, addTime: 1_600_000_000n, useTime: 0n };
      await a.setAevent(id, { ...values, ltimeVal });
      const read = await a.getAevent(id);
      same({ ...read?.attributes, pad: undefined }, { ...values, ltimeVal, mark: id.mark, pad: undefined });
      const announced = await events.next('NEWAE');
      same(announced.body, { ...read?.body, flags: AeFlag.CU });
      same({ ...announced.attributes, pad: undefined }, { ...read?.attributes, pad: undefined });
    }
    await agree(pair, 'a');
    return undefined;
  },

  'thresholds: jiffies when set, tenths of a second when read': async ({ a }) => {
    const sa = espSa({ saddr: A, daddr: B, spi: 0x4000 });
    await a.addSa({ ...sa, attributes: { ...sa.attributes, etimerThresh: 10_000 } });
    const id = saIdOf(sa);
    const scratch = (await a.getAevent(id, { thresholds: true }))?.attributes;
    same(scratch?.replayThresh, 2);
    const hz = Math.round((10_000 * 10) / (scratch?.etimerThresh ?? 0));
    ok([100, 250, 300, 1000].includes(hz), `HZ ${hz}`);
    await a.setAevent(id, { replayThresh: 500, etimerThresh: 3 * hz });
    const { replayThresh, etimerThresh } = (await a.getAevent(id, { thresholds: true }))?.attributes ?? {};
    same([replayThresh, etimerThresh], [500, 30]);
    same((await a.getAevent(id))?.attributes.replayThresh, undefined);
    return { hz };
  },

  'thresholds of a new SA are those of the sysctls, those of others stay': async ({ machine, a }) => {
    const [before, after] = [0x4200, 0x4201].map((spi) => espSa({ saddr: A, daddr: B, spi })) as [Sa, Sa];
    const thresholds = async (sa: Sa): Promise<unknown> => {
      const { replayThresh, etimerThresh } = (await a.getAevent(saIdOf(sa), { thresholds: true }))?.attributes ?? {};
      return [replayThresh, etimerThresh];
    };
    await a.addSa(before);
    machine.setSysctl('a', 'net.core.xfrm_aevent_rseqth', 7);
    machine.setSysctl('a', 'net.core.xfrm_aevent_etime', 50);
    try {
      await a.addSa(after);
    } finally {
      machine.setSysctl('a', 'net.core.xfrm_aevent_rseqth', 2);
      machine.setSysctl('a', 'net.core.xfrm_aevent_etime', 10);
    }
    same(await thresholds(before), [2, 10]);
    same(await thresholds(after), [7, 50]);
    return undefined;
  },

  'thresholds of the SA whose answer to both at once stops a kernel': async ({ a }) => {
    for (const words of [7, 8]) {
      const sa = espSa({ saddr: A, daddr: B, spi: 0x4100 + words }, 'gcm', 'esn');
      const attributes = { ...sa.attributes, replayEsnVal: esnState(words), mark: { value: 1, mask: 1 }, ifId: 3 };
      await a.addSa({ ...sa, attributes });
      const read = await a.getAevent(saIdOf({ ...sa, attributes }), { thresholds: true });
      same([read?.attributes.replayThresh, read?.attributes.etimerThresh, read?.attributes.ifId], [2, 10, 3]);
    }
    return undefined;
  },

  'packets raise CR and CE, and what they say is what is read': async (pair) => {
    const { machine, a } = pair;
    const spi = 0x6000;
    await using outbound = await Listener.open(machine, 'a', XfrmGroup.AEVENTS);
    await using inbound = await Listener.open(machine, 'b', XfrmGroup.AEVENTS);
    const plain = espSa({ saddr: A, daddr: B, spi }, 'cbc', 'legacy');
    const sa = { ...plain, attributes: { ...plain.attributes, etimerThresh: TIMER_JIFFIES } };
    await connect(pair, spi, sa);
    same(machine.send(3), 3);
    // The second packet reaches the threshold of two; the third waits for the timer.
    const cr = await outbound.next('NEWAE');
    same([cr.body.flags, cr.body.saId.spi, cr.attributes.replayVal?.oseq], [AeFlag.CR, spi, 2]);
    same([cr.body.reqid, cr.body.saddr.w0], [spi, address(A).w0]);
    const received = await inbound.next('NEWAE');
    same([received.body.flags, received.attributes.replayVal], [AeFlag.CR, { oseq: 0, seq: 2, bitmap: 3 }]);
    const ce = await outbound.next('NEWAE');
    same([ce.body.flags, ce.attributes.replayVal?.oseq], [AeFlag.CE, 3]);
    const read = await a.getAevent(saIdOf(sa));
    same(read?.attributes.replayVal, ce.attributes.replayVal);
    same(read?.attributes.ltimeVal, ce.attributes.ltimeVal);
    same(read?.attributes.ltimeVal?.packets, 3n);
    same(read?.attributes.ltimeVal?.bytes, 3n * PROTECTED_BYTES);
    const last = await inbound.next('NEWAE');
    same([last.body.flags, last.attributes.replayVal], [AeFlag.CE, { oseq: 0, seq: 3, bitmap: 7 }]);
    await agree(pair, 'a');
    await agree(pair, 'b');
    return undefined;
  },

  'ESN and bitmap count packets too': async (pair) => {
    const { machine, a, b } = pair;
    for (const [i, window] of ['bitmap', 'esn'].entries()) {
      await flush(a, b);
      const spi = 0x6100 + i;
      const sa = espSa({ saddr: A, daddr: B, spi }, i === 0 ? 'null' : 'gcm', window);
      await connect(pair, spi, sa);
      same(machine.send(5), 5);
      same((await a.getAevent(saIdOf(sa)))?.attributes.replayEsnVal?.oseq, 5);
      await eventually<unknown>(machine, [5, 0x1f, 5n], async () => {
        const { replayEsnVal, ltimeVal } = (await b.getAevent(saIdOf(sa)))?.attributes ?? {};
        return [replayEsnVal?.seq, replayEsnVal?.bmp[0], ltimeVal?.packets];
      });
      await agree(pair, 'a');
      await agree(pair, 'b');
    }
    return undefined;
  },

  'packet limits: EXPIRE soft, then hard, then the SA is gone': async (pair) => {
    const { machine, a } = pair;
    const spi = 0x7000;
    await using events = await Listener.open(machine, 'a', XfrmGroup.EXPIRE);
    const lft = { ...noLimits, softPacketLimit: 2n, hardPacketLimit: 4n };
    const sa = espSa({ saddr: A, daddr: B, spi }, 'gcm', 'legacy', 'plain', { lft });
    await connect(pair, spi, sa);
    same(machine.send(5), 4);
    const soft = await events.next('EXPIRE');
    same([soft.body.hard, soft.body.state.id.spi, soft.body.state.curlft.packets], [0, spi, 2n]);
    const hard = await events.next('EXPIRE');
    same([hard.body.hard, hard.body.state.id.spi, hard.body.state.curlft.packets], [1, spi, 4n]);
    same(await a.getSa(saIdOf(sa)), undefined);
    return undefined;
  },

  'an outer port that has changed raises MAPPING': async ({ machine, a, b }) => {
    const spi = 0x8000;
    await using events = await Listener.open(machine, 'b', XfrmGroup.MAPPING);
    const encap = (sport: number): Sa => {
      const sa = espSa({ saddr: A, daddr: B, spi }, 'gcm', 'legacy', 'plain', { reqid: spi });
      return {
        ...sa,
        attributes: { ...sa.attributes, encap: { type: 2, sport, dport: ENCAP_PORT, oa: address('0.0.0.0') } },
      };
    };
    await a.addSa(encap(4600));
    await b.addSa(encap(ENCAP_PORT));
    // No policy in b: it would apply to the UDP around the ESP as well.
    await a.addPolicy(udpPolicy(PolicyDir.OUT, spi));
    same(machine.send(1), 1);
    const { body } = await events.next('MAPPING');
    same([body.id.spi, body.oldSport, body.newSport, body.reqid], [spi, ENCAP_PORT, 4600, spi]);
    same([body.oldSaddr.w0, body.newSaddr.w0], [address(A).w0, address(A).w0]);
    return undefined;
  },

  'a batch sets the counters of many SAs, and failures stay in their place': async (pair) => {
    const { a } = pair;
    const count = 500;
    const sas = Array.from({ length: count }, (_, i) => espSa({ saddr: A, daddr: B, spi: 0x9000 + i }, 'null'));
    const add = await a.batch(sas.map((sa) => ({ kind: 'NEWSA', ...sa }) as const));
    same(add.filter(({ error }) => error !== undefined).length, 0);
    await a.deleteSa(saIdOf(sas[250] as Sa));
    const set = await a.batch(
      sas.map((sa, i) => newAevent(saIdOf(sa), { replayVal: { oseq: i + 1, seq: i, bitmap: 0 } })),
    );
    same(
      set.flatMap(({ error }, i) => (error === undefined ? [] : [[i, error.errno]])),
      [[250, 3]],
    );
    const all = await a.dumpSas();
    same(all.length, count - 1);
    for (const { body, attributes } of all) same(attributes.replayVal?.oseq, body.id.spi - 0x9000 + 1);
    same((await a.sadInfo()).count, count - 1);
    await agree(pair, 'a');
    return { sas: count };
  },

  'a flush leaves none, and is announced once': async (pair) => {
    const { machine, a } = pair;
    await using events = await Listener.open(machine, 'a', XfrmGroup.SA);
    await a.addSa(espSa({ saddr: A, daddr: B, spi: 0xa000 }));
    await a.addSa(espSa({ saddr: A, daddr: B, spi: 0xa001 }));
    await a.flushSas(ESP);
    same((await events.next('FLUSHSA')).body.proto, ESP);
    same(await a.dumpSas(), []);
    same(await agree(pair, 'a'), 0);
    return undefined;
  },
};
