/**
 * Real ESP both ways: a kernel encrypts and the data plane decrypts, and the other way round, for every algorithm, mode, family and
 * encapsulation. Runs as root of a guest whose kernel has ESP; prints one line of JSON, the outcome of every check.
 *
 * Namespace `a` is a host with real SAs and policies. Its only neighbour is this process, which answers on the other end of the wire with raw
 * frames; behind it is an emulated kernel with the same SAs.
 */
import { ok, deepStrictEqual as same } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { release } from 'node:os';
import { ClientError, linuxKernel, newAevent, type Policy, type Sa, saIdOf, XfrmClient } from 'xfrmsync';
import { EmulatedKernel } from 'xfrmsync/emulated';
import { EspDataPlane, espTransform, type InboundVerdict } from 'xfrmsync/esp';
import { PolicyDir, SaFlag, type XfrmAttributes } from 'xfrmsync/xfrm';
import { policyBody, selector } from '../client/bodies.ts';
import type { LabCheck, LabReport } from '../lab/lab-report.ts';
import { packetSocket, receive, send, socketAddress, udpSocket, writeSysctls } from '../lab/libc.ts';
import { ipBatch } from '../lab/world.ts';
import { address, algorithms, espSa, ipPacket, sum } from './sas.ts';

const ENDS = {
  4: { saddr: '10.9.0.1', daddr: '10.9.0.2' },
  6: { saddr: 'fd09::1', daddr: 'fd09::2' },
} as const;
/** Hosts at the ends of tunnels: `saddr` lies in `a` too. */
const INSIDE = {
  4: { saddr: '10.78.0.1', daddr: '10.77.0.1' },
  6: { saddr: 'fd78::1', daddr: 'fd77::1' },
} as const;
const MAC = { a: '02:00:00:00:00:0a', b: '02:00:00:00:00:0b' } as const;
const PORT = 9;
const SENDER_PORT = 4242;
const ENCAP_PORT = 4500;
const WAIT_MS = 60_000;
const ETHERNET_BYTES = 14;
const SIZES = [1, 30, 777];
/** Linux drops ESP in UDP over IPv6 that is shorter than an IPv6 header (xfrm6_input.c:xfrm6_udp_encap_rcv), though it sends it. */
const SIZES_BACK = [12, 30, 777];
const SIZE_FORGED = 13;
const REQID = 7;
/** Expedited forwarding, ECT(1). */
const TOS = 0xb9;

type Family = 4 | 6;
const FAMILIES: readonly Family[] = [4, 6];

const sh = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' });

sh('ip', 'netns', 'add', 'a');
sh('ip', 'netns', 'add', 'b');
for (const namespace of ['a', 'b']) {
  writeSysctls(namespace, {
    'ipv6/conf/default/accept_dad': 0,
    'ipv6/conf/default/router_solicitations': 0,
    'ipv4/conf/all/rp_filter': 0,
    'ipv4/conf/default/rp_filter': 0,
  });
}
sh(
  'ip',
  'link',
  'add',
  'v0',
  'address',
  MAC.a,
  'netns',
  'a',
  'type',
  'veth',
  'peer',
  'name',
  'v0',
  'address',
  MAC.b,
  'netns',
  'b',
);
ipBatch('a', [
  ...FAMILIES.flatMap((family) => [
    `address add ${ENDS[family].saddr}/${family === 4 ? 24 : 64} dev v0${family === 6 ? ' nodad' : ''}`,
    `address add ${INSIDE[family].saddr}/${family === 4 ? 32 : 128} dev v0${family === 6 ? ' nodad' : ''}`,
  ]),
  'link set v0 up',
]);
ipBatch('b', ['link set v0 up']);
ipBatch(
  'a',
  FAMILIES.flatMap((family) => [
    `neighbour replace ${ENDS[family].daddr} lladdr ${MAC.b} dev v0 nud permanent`,
    `route add ${INSIDE[family].daddr} via ${ENDS[family].daddr} dev v0`,
  ]),
);

const kernel = await XfrmClient.open(linuxKernel({ namespace: '/run/netns/a' }));
const emulated = new EmulatedKernel();
const model = await XfrmClient.open(emulated);
const plane = new EspDataPlane(emulated);
const wire = packetSocket('b', 'v0', true);
const frame = Buffer.alloc(2048);

function must(fd: number | undefined): number {
  ok(fd !== undefined, 'a socket of the lab cannot be bound');
  return fd;
}
const applications = new Map(
  FAMILIES.flatMap((family) =>
    [ENDS, INSIDE].map(
      (place) =>
        [place[family].saddr, must(udpSocket('a', family, place[family].saddr, SENDER_PORT, { tos: TOS }))] as const,
    ),
  ),
);
const receivers = { 4: must(udpSocket('a', 4, '', PORT)), 6: must(udpSocket('a', 6, '', PORT)) };
// The kernel takes the ESP out of these; nothing is ever read from them.
for (const family of FAMILIES) must(udpSocket('a', family, '', ENCAP_PORT, { encapsulation: true }));

/** Asks until there is something. */
async function eventually<T>(what: string, ask: () => T | undefined): Promise<T> {
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    const found = ask();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`no ${what} within ${WAIT_MS} ms`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The next packet of the real kernel that carries ESP; neighbour discovery and the like is passed over. */
function nextEsp(): Uint8Array | undefined {
  for (let bytes = receive(wire, frame); bytes >= 0; bytes = receive(wire, frame)) {
    const packet = Uint8Array.from(frame.subarray(ETHERNET_BYTES, bytes));
    const proto = (packet[0] as number) >>> 4 === 4 ? packet[9] : packet[6];
    const udp = (packet[0] as number) >>> 4 === 4 ? 20 : 40;
    const dport = ((packet[udp + 2] as number) << 8) | (packet[udp + 3] as number);
    if (proto === 50 || (proto === 17 && dport === ENCAP_PORT)) return packet;
  }
  return undefined;
}

function transmit(packet: Uint8Array): void {
  const macs = Buffer.from(`${MAC.a}:${MAC.b}`.replaceAll(':', ''), 'hex');
  const type = (packet[0] as number) >>> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  const whole = Buffer.concat([macs, Uint8Array.from(type), packet]);
  ok(send(wire, whole, whole.length, null) === whole.length, 'the frame was not sent');
}

const payload = (bytes: number): Buffer => Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i + 8) & 255));

/** A datagram to `a` with the checksums that its kernel wants. */
function datagram(family: Family, { saddr, daddr }: { saddr: string; daddr: string }, bytes: number): Uint8Array {
  const packet = ipPacket({ family, saddr: daddr, daddr: saddr, sport: SENDER_PORT, dport: PORT, bytes });
  const udp = family === 4 ? 20 : 40;
  const addresses = packet.subarray(family === 4 ? 12 : 8, udp);
  const upper = packet.subarray(udp);
  const checksum = sum(Buffer.concat([addresses, Uint8Array.of(0, 17, upper[4] ?? 0, upper[5] ?? 0), upper])) || 0xffff;
  packet.set([checksum >>> 8, checksum & 255], udp + 6);
  return packet;
}

interface Case {
  readonly name: string;
  readonly mode: number;
  readonly outer: Family;
  readonly inner: Family;
  readonly attributes: XfrmAttributes;
  readonly encap: boolean;
  readonly esn: boolean;
}

/** The upper half before the wrap, and the last number used: one more is the last of its epoch. */
const BEFORE_WRAP = { oseq: 0xffff_fffe, oseqHi: 6, seq: 0xffff_fffe, seqHi: 6 };
const ESN_WORDS = 4;

const esnState = (more: Partial<typeof BEFORE_WRAP>): NonNullable<XfrmAttributes['replayEsnVal']> => ({
  bmpLen: ESN_WORDS,
  oseq: 0,
  seq: 0,
  oseqHi: 0,
  seqHi: 0,
  replayWindow: 32 * ESN_WORDS,
  bmp: new Array<number>(ESN_WORDS).fill(0),
  ...more,
});

let spi = 0x1000;

/** The SAs of a case, outbound and inbound as `a` sees them. */
function sasOf(c: Case): { out: Sa; back: Sa } {
  const { saddr, daddr } = ENDS[c.outer];
  const port = { sport: ENCAP_PORT, dport: ENCAP_PORT, type: 2, oa: address('0.0.0.0') };
  const attributes = {
    ...c.attributes,
    ...(c.encap ? { encap: port } : {}),
    ...(c.esn ? { replayEsnVal: esnState({}) } : {}),
  };
  const flags = c.inner !== c.outer ? SaFlag.AF_UNSPEC : 0;
  const make = (from: string, to: string): Sa => {
    const shape = {
      mode: c.mode,
      family: c.outer,
      spi: spi++,
      reqid: REQID,
      esn: c.esn,
      saddr: from,
      daddr: to,
      flags,
    };
    const sa = espSa(shape, attributes);
    if (!c.esn) sa.body.replayWindow = 32;
    return sa;
  };
  return { out: make(saddr, daddr), back: make(daddr, saddr) };
}

/** A policy for the lab's datagrams alone: it must not apply to UDP that carries ESP. */
function policyOf(c: Case, dir: number, from: string, to: string, { body }: Sa): Policy {
  const sel = { ...selector(from, to), proto: 17, dport: PORT, dportMask: 0xffff };
  const { id, saddr, reqid, mode, family } = body;
  const masks = { aalgos: 0xffffffff, ealgos: 0xffffffff, calgos: 0xffffffff };
  const tmpl = { id: { ...id, spi: 0 }, family, saddr, reqid, mode, share: 0, optional: 0, ...masks };
  ok(sel.family === (c.inner === 4 ? 2 : 10));
  return { body: policyBody(sel, dir), attributes: { tmpl: [tmpl] } };
}

async function install(client: XfrmClient, c: Case, out: Sa, back: Sa, dirs: readonly [number, number]): Promise<void> {
  const { saddr, daddr } = (c.mode === 1 ? INSIDE : ENDS)[c.inner];
  const sas = [out, back];
  const requests = [
    { kind: 'FLUSHPOLICY', body: {}, attributes: {} },
    { kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} },
    ...sas.map((sa) => ({ kind: 'NEWSA', ...sa }) as const),
    { kind: 'NEWPOLICY', ...policyOf(c, dirs[0], saddr, daddr, out) },
    { kind: 'NEWPOLICY', ...policyOf(c, dirs[1], daddr, saddr, back) },
    ...(c.esn ? sas.map((sa) => newAevent(saIdOf(sa), { replayEsnVal: esnState(BEFORE_WRAP) })) : []),
  ] as const;
  for (const { error } of await client.batch([...requests])) if (error) throw error;
}

/** What both kernels must agree on of an SA. */
async function account(client: XfrmClient, sa: Sa): Promise<object> {
  const found = await client.getSa(saIdOf(sa));
  ok(found, 'the SA is gone');
  const { curlft, stats } = found.body;
  const { replayVal, replayEsnVal } = found.attributes;
  return { bytes: curlft.bytes, packets: curlft.packets, stats, replayVal, replayEsnVal };
}

function opened(packet: Uint8Array): { verdict: InboundVerdict; inner: Uint8Array } {
  const { verdict, packet: inner } = plane.inbound(packet);
  return { verdict, inner: Uint8Array.from(inner) };
}

function arrived(family: Family): Buffer | undefined {
  const into = Buffer.alloc(2048);
  const bytes = receive(receivers[family], into);
  return bytes < 0 ? undefined : into.subarray(0, bytes);
}

/**
 * What the kernel has made of `inner` is what `seal` makes of it: length, header, and with a NULL cipher every byte. Identifications are
 * the kernel's own, IVs too.
 */
function compare(c: Case, out: Sa, theirs: Uint8Array, inner: Uint8Array): void {
  const head = c.outer === 4 ? 20 : 40;
  const esp = head + (c.encap ? 8 : 0);
  const seq = Buffer.from(theirs).readUInt32BE(esp + 4);
  const ours = new Uint8Array(2048);
  same(
    espTransform(out).seal(inner, seq, seq === 0xffff_ffff ? 6 : 7, ours),
    theirs.length,
    'the length of what was sealed',
  );
  const header = (packet: Uint8Array): Uint8Array => {
    const bytes = packet.slice(0, esp);
    if (c.outer === 4) bytes.fill(0, 4, 6).fill(0, 10, 12);
    else if (c.encap) bytes.fill(0, esp - 2);
    return bytes;
  };
  same(header(ours), header(theirs), 'the outer header');
  if (c.attributes.algCrypt?.key.length === 0) same(ours.slice(esp, theirs.length), theirs.slice(esp), 'ESP');
}

/** The packet with the words of its signature turned, so that the sum of a UDP around it stays right. */
function forged(packet: Uint8Array): Uint8Array {
  const end = packet.length;
  return Uint8Array.from([
    ...packet.subarray(0, end - 8),
    ...packet.subarray(end - 6),
    ...packet.subarray(end - 8, end - 6),
  ]);
}

/** Packets of one case, both ways. Returns how many. */
async function converse(c: Case): Promise<number> {
  const { out, back } = sasOf(c);
  await install(kernel, c, out, back, [PolicyDir.OUT, PolicyDir.IN]);
  await install(model, c, out, back, [PolicyDir.IN, PolicyDir.OUT]);
  const place = (c.mode === 1 ? INSIDE : ENDS)[c.inner];
  const sender = must(applications.get(place.saddr));
  const udp = c.inner === 4 ? 20 : 40;
  nextEsp();

  let last: Uint8Array = new Uint8Array(0);
  for (const size of SIZES) {
    const data = payload(size);
    ok(send(sender, data, size, socketAddress(c.inner, place.daddr, PORT)) === size, 'the kernel refused to send');
    last = await eventually('packet of the kernel', nextEsp);
    const { verdict, inner } = opened(last);
    same(verdict, 'OPENED');
    same(Buffer.from(inner.subarray(udp + 8)), data);
    compare(c, out, last, inner);
    if (c.inner === 4) same(sum(inner.subarray(0, udp)), 0);
    const addresses = inner.subarray(c.inner === 4 ? 12 : 8, udp);
    const upper = inner.subarray(udp);
    same(sum(Buffer.concat([addresses, Uint8Array.of(0, 17, upper[4] ?? 0, upper[5] ?? 0), upper])), 0);
  }
  same(opened(last).verdict, 'REPLAY');

  for (const size of SIZES_BACK) {
    const { verdict, packet } = plane.outbound(datagram(c.inner, place, size));
    same(verdict, 'SEALED');
    last = Uint8Array.from(packet);
    transmit(last);
    same(await eventually('datagram of the kernel', () => arrived(c.inner)), payload(size));
  }
  // A replay and a forgery are counted by the real kernel as well, and bring nothing.
  transmit(last);
  const sealed = plane.outbound(datagram(c.inner, place, SIZE_FORGED));
  same(sealed.verdict, 'SEALED');
  transmit(forged(sealed.packet));
  transmit(Uint8Array.from(sealed.packet));
  same(await eventually('datagram of the kernel', () => arrived(c.inner)), payload(SIZE_FORGED));
  same(arrived(c.inner), undefined);

  const [ours, theirs] = await Promise.all(
    [model, kernel].map((client) => Promise.all([out, back].map((sa) => account(client, sa)))),
  );
  const [ourOut, ourBack] = ours as [Record<string, unknown>, Record<string, unknown>];
  const [theirOut, theirBack] = theirs as [Record<string, unknown>, Record<string, unknown>];
  for (const field of ['bytes', 'packets']) {
    same([ourOut[field], ourBack[field]], [theirOut[field], theirBack[field]], field);
  }
  same(theirBack.stats, { replayWindow: 0, replay: 1, integrityFailed: 1 });
  same(ourOut.stats, { replayWindow: 0, replay: 1, integrityFailed: 0 });
  // Our inbound window is where their outbound number is, and the other way round.
  const number = (account: Record<string, unknown>, inbound: boolean): unknown[] => {
    const state = (account.replayEsnVal ?? account.replayVal) as Record<string, unknown>;
    return inbound ? [state.seq, state.seqHi] : [state.oseq, state.oseqHi];
  };
  same(number(ourOut, true), number(theirOut, false));
  same(number(theirBack, true), number(ourBack, false));
  if (c.esn) same(number(theirBack, true), [SIZES.length - 1, 7]);
  return SIZES.length + SIZES_BACK.length + 3;
}

function casesOf(attributes: XfrmAttributes): Case[] {
  const shapes = [
    [0, 4, 4],
    [0, 6, 6],
    [1, 4, 4],
    [1, 6, 6],
    [1, 4, 6],
    [1, 6, 4],
  ] as const;
  return shapes.flatMap(([mode, outer, inner]) =>
    [false, true].flatMap((encap) =>
      [false, true].map((esn) => ({
        name: `${mode === 1 ? 'tunnel' : 'transport'} IPv${outer}${mode === 1 ? ` around IPv${inner}` : ''}${encap ? ' in UDP' : ''}${esn ? ', ESN across 2^32' : ''}`,
        mode,
        outer,
        inner,
        attributes,
        encap,
        esn,
      })),
    ),
  );
}

/** Whether the kernel has the algorithm at all. */
async function has(attributes: XfrmAttributes): Promise<boolean> {
  const probe = espSa({ spi: 0xfff }, attributes);
  try {
    await kernel.addSa(probe);
  } catch (error) {
    if (error instanceof ClientError && error.code === 'ERR_KERNEL') return false;
    throw error;
  }
  await kernel.deleteSa(saIdOf(probe));
  return true;
}

const begin = performance.now();
const outcomes: LabCheck[] = [];
for (const [name, attributes] of Object.entries(algorithms)) {
  const start = performance.now();
  let at = '';
  let packets = 0;
  let cases = 0;
  try {
    const present = await has(attributes);
    for (const c of present ? casesOf(attributes) : []) {
      at = c.name;
      packets += await converse(c);
      cases++;
    }
    outcomes.push({ name, ok: true, ms: Math.round(performance.now() - start), facts: { present, cases, packets } });
  } catch (error) {
    const text = `${at}: ${(error as Error).stack ?? error}`;
    outcomes.push({ name, ok: false, ms: Math.round(performance.now() - start), error: text });
  }
}
plane[Symbol.dispose]();
kernel.close();
model.close();
const report: LabReport = { kernel: release(), ms: Math.round(performance.now() - begin), checks: outcomes };
console.log(JSON.stringify(report));
