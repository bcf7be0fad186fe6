/** The PF_KEY client against a kernel that has AF_KEY, with the netlink client and the machine's witness as the other sides. */
import { ok, rejects, deepStrictEqual as same } from 'node:assert';
import { type KernelEvent, openPfkeyEvents, PfkeyClient, type PfkeySaId } from 'xfrmsync';
import {
  type AnyPfkeyMessage,
  AuthAlg,
  EncryptAlg,
  encodePfkey,
  formatSockaddr,
  IpsecDir,
  type PfkeyExtensions,
  parseSockaddr,
  SaState,
  SaType,
  type Sockaddr,
} from 'xfrmsync/pfkey';
import { PolicyDir } from 'xfrmsync/xfrm';
import { address, ESP, INET, noLimits, policyBody, saBody, selector } from './bodies.ts';
import { ADDRESSES, inTime, type Pair } from './machine.ts';

const [A, A6] = ADDRESSES.a;
const [B, B6] = ADDRESSES.b;
const MANY = 2000;
/** About a hundred SAs: the kernel goes on with a dump when there is room again. */
const SMALL_BUFFER_BYTES = 100_000;

const key = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i + 1);

function sockaddr(text: string): Sockaddr {
  const parsed = parseSockaddr(text);
  ok(parsed);
  return parsed;
}

const prefixed = (text: string) => ({ proto: 0, prefixlen: text.includes(':') ? 128 : 32, sockaddr: sockaddr(text) });
const id = (spi: number, [src, dst] = [A, B] as readonly string[]): PfkeySaId => ({
  satype: SaType.ESP,
  spi,
  src: sockaddr(src as string),
  dst: sockaddr(dst as string),
});

/** What ADD takes for an SA with AES-CBC and HMAC-SHA1. */
function sa(spi: number, more: PfkeyExtensions = {}): PfkeyExtensions {
  return {
    sa: { spi, replay: 32, state: SaState.MATURE, auth: AuthAlg.SHA1HMAC, encrypt: EncryptAlg.AESCBC, flags: 0 },
    addressSrc: prefixed(A),
    addressDst: prefixed(B),
    keyAuth: { bits: 160, key: key(20) },
    keyEncrypt: { bits: 128, key: key(16) },
    ...more,
  };
}

/** The same over netlink, in tunnel mode and with limits. */
function netlinkSa(spi: number, [saddr, daddr] = [A, B] as readonly string[]) {
  const lft = { ...noLimits, softPacketLimit: 10n, hardByteLimit: 5000n, hardAddExpiresSeconds: 3600n };
  return {
    body: saBody({ saddr: saddr as string, daddr: daddr as string, spi }, { mode: 1, reqid: 7, replayWindow: 16, lft }),
    attributes: {
      algAuthTrunc: { name: 'hmac(sha1)', keyLen: 160, truncLen: 96, key: key(20) },
      algCrypt: { name: 'cbc(aes)', keyLen: 128, key: key(16) },
    },
  };
}

/** A template of netlink: a tunnel over IPv6, with any algorithm. */
const tmpl = {
  id: { daddr: address(B6), spi: 0, proto: ESP },
  family: 10,
  saddr: address(A6),
  reqid: 7,
  mode: 1,
  share: 0,
  optional: 0,
  aalgos: 0xffffffff,
  ealgos: 0xffffffff,
  calgos: 0xffffffff,
};

type Events = AsyncIterator<KernelEvent<AnyPfkeyMessage>>;

/** The next message of this kind, others are passed over; each of them comes back as the same bytes. */
async function nextOf({ machine }: Pair, events: Events, kind: AnyPfkeyMessage['kind']): Promise<AnyPfkeyMessage> {
  for (;;) {
    const { value, done } = await inTime(machine, events.next());
    ok(!done && value.type === 'message');
    const { message, bytes } = value;
    same(Buffer.from(encodePfkey(message)).toString('hex'), Buffer.from(bytes).toString('hex'));
    if (message.kind === kind) return message;
  }
}

export const pfkeyChecks: Readonly<Record<string, (pair: Pair) => Promise<object | undefined>>> = {
  'PF_KEY: what netlink adds is dumped and read': async ({ machine, a }) => {
    await using client = await PfkeyClient.open(machine.kernel('a'));
    same(await client.dump(), []);
    await a.addSa(netlinkSa(0x100));
    await a.addSa(netlinkSa(0x101, [A6, B6]));
    const all = await client.dump();
    same(
      all.map(({ extensions }) => extensions.sa?.spi),
      [0x101, 0x100],
    );
    const { extensions } = (await client.get(id(0x100))) ?? {};
    same(extensions?.sa, {
      spi: 0x100,
      replay: 16,
      state: SaState.MATURE,
      auth: AuthAlg.SHA1HMAC,
      encrypt: EncryptAlg.AESCBC,
      flags: 0,
    });
    same(extensions?.lifetimeSoft, { allocations: 10, bytes: 0n, addtime: 0n, usetime: 0n });
    same(extensions?.lifetimeHard, { allocations: 0, bytes: 5000n, addtime: 3600n, usetime: 0n });
    same(extensions?.keyAuth, { bits: 160, key: key(20) });
    same(extensions?.keyEncrypt, { bits: 128, key: key(16) });
    same([extensions?.sa2?.mode, extensions?.sa2?.reqid], [2, 7]);
    const six = await client.get(id(0x101, [A6, B6]));
    same(six?.extensions.addressSrc && formatSockaddr(six.extensions.addressSrc.sockaddr), A6);
    same(await client.get(id(0x999)), undefined);
    same((await client.dump(SaType.AH)).length, 0);
    return undefined;
  },

  'PF_KEY: what it adds is there for netlink and the witness, and is deleted': async ({ machine, a }) => {
    await using client = await PfkeyClient.open(machine.kernel('a'));
    const added = await client.request({ kind: 'ADD', satype: SaType.ESP, extensions: sa(0x200) });
    ok((added.extensions.lifetimeCurrent?.addtime ?? 0n) > 1_600_000_000n);
    const netlinkId = { daddr: address(B), family: INET, spi: 0x200, proto: ESP };
    const found = await a.getSa(netlinkId);
    same(found?.attributes.algCrypt, { name: 'cbc(aes)', keyLen: 128, key: key(16) });
    same(found?.body.replayWindow, 32);
    const theirs = machine.witness?.('a');
    if (theirs !== undefined) same([...theirs.keys()], ['00000200']);
    const again = client.request({ kind: 'ADD', satype: SaType.ESP, extensions: sa(0x200) });
    await rejects(again, { name: 'ClientError', code: 'ERR_KERNEL', errno: 17, request: 'ADD' });
    const { addressSrc, addressDst, sa: named } = sa(0x200);
    const extensions = { sa: named, addressSrc, addressDst } as PfkeyExtensions;
    await client.request({ kind: 'DELETE', satype: SaType.ESP, extensions });
    same(await a.getSa(netlinkId), undefined);
    return undefined;
  },

  'PF_KEY: algorithms are listed': async ({ machine }) => {
    await using client = await PfkeyClient.open(machine.kernel('a'));
    const { auth, encrypt } = await client.register(SaType.ESP);
    same(
      auth.find(({ id }) => id === AuthAlg.SHA1HMAC),
      { id: AuthAlg.SHA1HMAC, ivlen: 0, minbits: 160, maxbits: 160 },
    );
    same(encrypt.find(({ id }) => id === EncryptAlg.AESCBC)?.maxbits, 256);
    return { auth: auth.length, encrypt: encrypt.length };
  },

  'PF_KEY: changes by netlink and expiries are heard': async (pair) => {
    const { machine, a } = pair;
    await using stream = await openPfkeyEvents(machine.kernel('a'), { register: [SaType.ESP] });
    const events = stream[Symbol.asyncIterator]();
    const wanted = netlinkSa(0x300);
    await a.addSa(wanted);
    same((await nextOf(pair, events, 'ADD')).extensions.sa?.spi, 0x300);
    await a.request({ kind: 'EXPIRE', body: { state: wanted.body, hard: 0 }, attributes: {} });
    const { extensions } = await nextOf(pair, events, 'EXPIRE');
    same([extensions.sa?.spi, extensions.lifetimeSoft?.allocations, extensions.lifetimeHard], [0x300, 10, undefined]);
    await a.flushSas();
    await nextOf(pair, events, 'FLUSH');
    return undefined;
  },

  'PF_KEY: a dump that is larger than the receive buffer comes whole': async ({ machine, a }) => {
    const results = await a.batch(
      Array.from({ length: MANY }, (_, i) => ({ kind: 'NEWSA', ...netlinkSa(0x1000 + i) }) as const),
    );
    for (const { error } of results) if (error) throw error;
    await using client = await PfkeyClient.open(machine.kernel('a'), { receiveBufferBytes: SMALL_BUFFER_BYTES });
    const [first, second] = await Promise.all([client.dump(), client.dump(SaType.ESP)]);
    const spis = first.map(({ extensions }) => extensions.sa?.spi);
    same(
      spis,
      Array.from({ length: MANY }, (_, i) => 0x1000 + MANY - 1 - i),
    );
    same(second.length, MANY);
    return { sas: MANY };
  },

  'PF_KEY: policies are dumped with their requests': async ({ machine, a }) => {
    await using client = await PfkeyClient.open(machine.kernel('a'));
    same(await client.dumpPolicies(), []);
    for (const dir of [PolicyDir.IN, PolicyDir.OUT, PolicyDir.FWD]) {
      await a.addPolicy({
        body: policyBody(selector('10.1.0.0/16', '10.2.0.0/16'), dir),
        attributes: { tmpl: [tmpl] },
      });
    }
    const policies = await client.dumpPolicies();
    same(policies.map(({ extensions }) => extensions.policy?.dir).sort(), [
      IpsecDir.INBOUND,
      IpsecDir.OUTBOUND,
      IpsecDir.FWD,
    ]);
    for (const { extensions } of policies) {
      const [request, ...others] = extensions.policy?.requests ?? [];
      same(others, []);
      same([request?.proto, request?.mode, request?.reqid], [ESP, 2, 7]);
      same(request?.addresses && formatSockaddr(request.addresses.dst), B6);
      same([extensions.addressSrc?.prefixlen, extensions.addressDst?.prefixlen], [16, 16]);
    }
    return undefined;
  },

  'PF_KEY: policies, encapsulation, ACQUIRE and the rest are heard, and each comes back as the same bytes': async (
    pair,
  ) => {
    const { machine, a } = pair;
    await using stream = await openPfkeyEvents(machine.kernel('a'), { register: [SaType.ESP] });
    const events = stream[Symbol.asyncIterator]();
    const heard = new Map<string, AnyPfkeyMessage>();
    async function until(kind: AnyPfkeyMessage['kind']): Promise<PfkeyExtensions> {
      const message = await nextOf(pair, events, kind);
      heard.set(kind, message);
      return message.extensions;
    }
    await using client = await PfkeyClient.open(machine.kernel('a'));
    const encapsulated = netlinkSa(0x500);
    const encap = { type: 2, sport: 4500, dport: 4501, oa: address('0.0.0.0') };
    await a.addSa({ ...encapsulated, attributes: { ...encapsulated.attributes, encap } });
    const { natTType, natTSport, natTDport } = await until('ADD');
    same([natTType?.type, natTSport?.port, natTDport?.port], [2, 4500, 4501]);

    const request = { proto: ESP, mode: 2, level: 3, reqid: 0x77, addresses: { src: sockaddr(A), dst: sockaddr(B) } };
    const ends = { addressSrc: prefixed(A), addressDst: prefixed(B) };
    const any = { proto: 255 };
    const policy = { type: 2, dir: IpsecDir.OUTBOUND, id: 0, priority: 7, requests: [request] };
    const extensions = {
      policy,
      addressSrc: { ...ends.addressSrc, ...any },
      addressDst: { ...ends.addressDst, ...any },
    };
    await client.request({ kind: 'X_SPDADD', extensions });
    const added = await until('X_SPDADD');
    same(added.policy?.requests, [request]);
    same((await client.dumpPolicies())[0]?.extensions.policy?.id, added.policy?.id);

    const spirange = { min: 0x4444, max: 0x4444 };
    const larval = await client.request({ kind: 'GETSPI', satype: SaType.ESP, extensions: { ...ends, spirange } });
    same(larval.extensions.sa?.spi, 0x4444);
    const { addressSrc, addressDst } = extensions;
    await client.request({ kind: 'X_SPDDELETE', extensions: { policy, addressSrc, addressDst } });
    await until('X_SPDDELETE');

    // A policy of PF_KEY names no algorithms, and the kernel then proposes none.
    const template = {
      ...tmpl,
      reqid: 0x77,
      id: { daddr: address(B), spi: 0, proto: ESP },
      family: INET,
      saddr: address(A),
    };
    await a.addPolicy({ body: policyBody(selector(A, B), PolicyDir.OUT), attributes: { tmpl: [template] } });
    machine.send(1);
    const acquired = await until('ACQUIRE');
    const combs = acquired.proposal?.combs ?? [];
    ok(combs.some(({ auth, encrypt }) => auth === AuthAlg.SHA1HMAC && encrypt === EncryptAlg.AESCBC));
    same(acquired.policy?.dir, IpsecDir.OUTBOUND);
    same(acquired.addressDst && formatSockaddr(acquired.addressDst.sockaddr), B);
    await client.request({ kind: 'X_SPDFLUSH' });
    await client.request({ kind: 'FLUSH' });
    await until('FLUSH');
    const odd = [...heard.values()].filter(({ rest }) => rest !== undefined);
    return {
      heard: [...heard.keys()],
      combs: combs.length,
      withPadding: odd.map(({ kind, rest }) => ({ kind, ...rest })),
    };
  },

  'PF_KEY: an unknown extension is passed over, an unknown message is not taken': async ({ machine }) => {
    const kernel = machine.kernel('a');
    ok(kernel.openPfkey);
    await using socket = await kernel.openPfkey();
    const answers: number[] = [];
    socket.receive(({ buffer, offsets, count }) => {
      for (let i = 0; i < count; i++) answers.push(buffer[(offsets[i] as number) + 2] as number);
    });
    const header = { errno: 0, satype: SaType.ESP, seq: 1, pid: process.pid };
    const other = [{ index: 2, type: 0x7000, data: new Uint8Array(12) }];
    socket.send(encodePfkey({ kind: 'ADD', ...header, extensions: sa(0x400), rest: { other } }));
    socket.drain();
    same(answers, [0]);
    const unknown = encodePfkey({ kind: 'UNKNOWN', type: 150, ...header, extensions: {} });
    await rejects(async () => socket.send(unknown), { name: 'KernelError', code: 'ERR_MALFORMED', errno: 22 });
    await rejects(async () => socket.send(new Uint8Array(24).fill(2)), { code: 'ERR_MALFORMED' });
    return undefined;
  },
};
