/** The client on this machine's own kernel, which need not know ESP: policies, larval SAs, refusals, rights, events. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  ClientError,
  type KernelEvent,
  openEvents,
  type Policy,
  policyIdOf,
  type Request,
  type Sa,
  saIdOf,
  XfrmClient,
} from '../../src/client/index.ts';
import { type LinuxKernelOptions, linuxKernel } from '../../src/kernel/index.ts';
import { NlmF } from '../../src/netlink/index.ts';
import { PolicyDir, XfrmGroup } from '../../src/xfrm/index.ts';
import { describeNative, type Namespace, newNamespace } from '../kernel/native.ts';
import { address, ESP, INET, policyBody, saBody, selector } from './bodies.ts';

const EPERM = 1;
const ENOENT = 2;
const ESRCH = 3;
const EEXIST = 17;
const EINVAL = 22;
/** The kernel raises it to 2304, which is three events. */
const TINY_BUFFER_BYTES = 1;
const MANY = 10_000;

async function failure(promise: Promise<unknown>): Promise<ClientError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ClientError);
  return error as ClientError;
}

/** Policy number n; those with a template are answered with one. */
function policy(n: number, priority = 100): Policy {
  const sel = selector('10.0.0.1', `11.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`);
  const tmpl = {
    id: { daddr: address('10.0.0.2'), spi: 0, proto: ESP },
    family: INET,
    saddr: address('10.0.0.1'),
    reqid: n,
    mode: 1,
    share: 0,
    optional: 0,
    aalgos: 0xffffffff,
    ealgos: 0xffffffff,
    calgos: 0xffffffff,
  };
  return { body: policyBody(sel, PolicyDir.OUT, { priority }), attributes: n % 2 === 0 ? { tmpl: [tmpl] } : {} };
}

const addRequest = (n: number): Request => ({ kind: 'NEWPOLICY', ...policy(n) });

const larval = (daddr: string, reqid: number): Sa => ({
  body: saBody({ saddr: '10.0.0.1', daddr, spi: 0 }, { reqid, mode: 1 }),
  attributes: {},
});

async function take(events: AsyncIterator<KernelEvent>, count: number): Promise<KernelEvent[]> {
  const all: KernelEvent[] = [];
  while (all.length < count) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the stream ended after ${all.length} of ${count} events`);
    all.push(value as KernelEvent);
  }
  return all;
}

const messageOf = (event: KernelEvent | undefined) => (event?.type === 'message' ? event.message : undefined);

describeNative('the client on this kernel', () => {
  let namespace: Namespace;
  let kernel: ReturnType<typeof linuxKernel>;
  let client: XfrmClient;

  beforeAll(async () => {
    namespace = await newNamespace();
    const options: LinuxKernelOptions = { namespace: namespace.path };
    kernel = linuxKernel(options);
    client = await XfrmClient.open(kernel);
  });

  beforeEach(async () => {
    await client.flushPolicies();
    await client.flushSas();
  });

  afterAll(async () => {
    client?.close();
    await namespace?.[Symbol.asyncDispose]();
  });

  test('policies: add, get by selector and by index, update, delete, dump', async () => {
    const plain = policy(1);
    const withTemplate = policy(2);
    await client.addPolicy(plain);
    await client.addPolicy(withTemplate);

    const found = await client.getPolicy(policyIdOf(withTemplate));
    expect(found?.body).toMatchObject({ sel: withTemplate.body.sel, dir: PolicyDir.OUT, priority: 100, action: 0 });
    expect(found?.body.index).toBeGreaterThan(0);
    expect(found?.body.curlft.addTime).toBeGreaterThan(1_600_000_000n);
    expect(found?.attributes.tmpl).toMatchObject([{ reqid: 2, mode: 1, id: { proto: ESP } }]);
    const index = found?.body.index as number;
    expect(await client.getPolicy({ index, dir: PolicyDir.OUT })).toMatchObject({ body: found?.body });

    await client.updatePolicy(policy(2, 7));
    expect((await client.getPolicy(policyIdOf(withTemplate)))?.body.priority).toBe(7);
    await client.updatePolicy(policy(3));
    const all = await client.dumpPolicies();
    expect(all.map(({ body }) => body.sel.daddr.w0 & 255).sort()).toEqual([1, 2, 3]);
    expect(await client.spdInfo()).toEqual({ in: 0, out: 3, fwd: 0 });

    await client.deletePolicy(policyIdOf(plain));
    expect(await client.getPolicy(policyIdOf(plain))).toBeUndefined();
    await client.flushPolicies();
    expect(await client.dumpPolicies()).toEqual([]);
    expect(await client.spdInfo()).toEqual({ in: 0, out: 0, fwd: 0 });
  });

  test('a mark and an interface id are part of what a policy is found by', async () => {
    const mark = { value: 5, mask: 0xff };
    const marked = { ...policy(1), attributes: { mark, ifId: 9 } };
    await client.addPolicy(marked);
    expect(await client.getPolicy(policyIdOf(policy(1)))).toBeUndefined();
    expect(await client.getPolicy(policyIdOf({ ...marked, attributes: { mark } }))).toBeUndefined();
    expect((await client.getPolicy(policyIdOf(marked)))?.attributes).toMatchObject({ mark, ifId: 9 });
    const [dumped] = await client.dumpPolicies();
    await client.deletePolicy(policyIdOf(dumped as Policy));
    expect(await client.dumpPolicies()).toEqual([]);
  });

  test('policy events: what was added, updated, deleted and flushed', async () => {
    await using stream = await openEvents(kernel, { groups: [XfrmGroup.POLICY] });
    const events = stream[Symbol.asyncIterator]();
    await client.addPolicy(policy(2));
    await client.updatePolicy(policy(2, 7));
    const index = (await client.getPolicy(policyIdOf(policy(2))))?.body.index;
    await client.deletePolicy(policyIdOf(policy(2)));
    await client.addPolicy(policy(1));
    await client.flushPolicies();
    const messages = (await take(events, 5)).map(messageOf);
    expect(messages.map((message) => message?.kind)).toEqual([
      'NEWPOLICY',
      'UPDPOLICY',
      'DELPOLICY',
      'NEWPOLICY',
      'FLUSHPOLICY',
    ]);
    expect(messages[0]).toMatchObject({
      body: { sel: policy(2).body.sel, priority: 100 },
      attributes: { tmpl: [{ reqid: 2 }] },
    });
    expect(messages[1]).toMatchObject({ body: { priority: 7 } });
    // The fixed part says how it was found, XFRMA_POLICY what it was.
    expect(messages[2]).toMatchObject({
      body: { sel: policy(2).body.sel, index: 0, dir: PolicyDir.OUT },
      attributes: { policy: { sel: policy(2).body.sel, index, priority: 7, dir: PolicyDir.OUT }, tmpl: [{ reqid: 2 }] },
    });
  });

  test('what is there, and what is not: EEXIST, ENOENT, ESRCH', async () => {
    await client.addPolicy(policy(1));
    expect(await failure(client.addPolicy(policy(1)))).toMatchObject({
      code: 'ERR_KERNEL',
      errno: EEXIST,
      request: 'NEWPOLICY',
    });
    expect(await failure(client.deletePolicy(policyIdOf(policy(2))))).toMatchObject({
      errno: ENOENT,
      request: 'DELPOLICY',
    });
    const nobody = { daddr: address('10.9.9.9'), spi: 0x999, proto: ESP, family: INET };
    expect(await failure(client.deleteSa(nobody))).toMatchObject({ errno: ESRCH, request: 'DELSA' });
    expect(await failure(client.setAevent(nobody, { replayThresh: 1 }))).toMatchObject({
      errno: ESRCH,
      request: 'NEWAE',
    });
    expect(await client.getSa(nobody)).toBeUndefined();
    expect(await client.getAevent(nobody, { thresholds: true })).toBeUndefined();
  });

  test('what is wrong comes back with the words of the kernel and the place', async () => {
    const inverted: Policy = { body: { ...policy(1).body, dir: 9 }, attributes: {} };
    expect(await failure(client.addPolicy(inverted))).toMatchObject({
      errno: EINVAL,
      extack: 'Invalid policy direction',
    });
    // XFRMA_REPLAY_THRESH of two bytes, right after the fixed part.
    const short = { rest: { other: [{ index: 0, type: 11, data: new Uint8Array(2) }] } };
    const body = {
      saId: { daddr: address('10.9.9.9'), spi: 1, proto: ESP, family: INET },
      saddr: address('0.0.0.0'),
      flags: 0,
      reqid: 0,
    };
    const request = { kind: 'NEWAE', flags: NlmF.REPLACE, body, attributes: {}, ...short } as Request;
    expect(await failure(client.request(request))).toMatchObject({
      errno: 34,
      extack: 'Attribute failed policy validation',
      offset: 64,
    });
  });

  test('a larval SA: reserved, read, counted, refused an update, deleted', async () => {
    const sa = await client.allocSpi(larval('10.0.0.2', 7), 0x1000, 0x1fff);
    expect(sa.body.id.spi).toBeGreaterThanOrEqual(0x1000);
    expect(sa.body.id.spi).toBeLessThanOrEqual(0x1fff);
    const id = saIdOf(sa);
    const found = await client.getSa(id);
    expect(found?.body).toMatchObject({ id: sa.body.id, saddr: address('10.0.0.1'), reqid: 7, mode: 1 });
    expect(await client.sadInfo()).toMatchObject({ count: 1, bucketsMax: 0x100000 });

    const plain = await client.getAevent(id);
    expect(plain?.body).toMatchObject({ saId: { spi: id.spi }, saddr: address('10.0.0.1'), reqid: 7 });
    expect(plain?.attributes.replayVal).toEqual({ oseq: 0, seq: 0, bitmap: 0 });
    expect(plain?.attributes.replayThresh).toBeUndefined();
    const withThresholds = await client.getAevent(id, { thresholds: true });
    expect(withThresholds?.attributes).toMatchObject({ replayThresh: 0, etimerThresh: 0 });

    const refused = await failure(client.setAevent(id, { replayVal: { oseq: 1, seq: 1, bitmap: 1 } }));
    expect(refused).toMatchObject({ errno: EINVAL, request: 'NEWAE' });
    // Kernels before 6.2 have no words for it.
    expect(['SA must be in VALID state', '']).toContain(refused.extack);

    await client.deleteSa(id);
    expect(await client.getSa(id)).toBeUndefined();
    expect(await client.sadInfo()).toMatchObject({ count: 0 });
  });

  test('an SPI is given once: a range of one is used up', async () => {
    await client.allocSpi(larval('10.0.0.2', 1), 0x2000, 0x2000);
    const refused = await failure(client.allocSpi(larval('10.0.0.2', 2), 0x2000, 0x2000));
    expect(refused).toMatchObject({ errno: ENOENT, request: 'ALLOCSPI' });
  });

  test('dumps filter by protocol and by address', async () => {
    for (const [i, daddr] of ['10.0.0.2', '10.0.1.2', '10.1.0.2'].entries()) {
      await client.allocSpi(larval(daddr, i + 1), 0x3000 + i, 0x3000 + i);
    }
    const ah = larval('10.0.0.2', 9);
    await client.allocSpi({ ...ah, body: { ...ah.body, id: { ...ah.body.id, proto: 51 } } }, 0x3009, 0x3009);
    const spis = (sas: readonly Sa[]) => sas.map(({ body }) => body.id.spi).sort();
    const within = (daddr: string, dplen: number) => ({
      addresses: { saddr: address('0.0.0.0'), daddr: address(daddr), family: INET, splen: 0, dplen },
    });
    expect(spis(await client.dumpSas())).toEqual([0x3000, 0x3001, 0x3002, 0x3009]);
    expect(spis(await client.dumpSas({ proto: ESP }))).toEqual([0x3000, 0x3001, 0x3002]);
    expect(spis(await client.dumpSas({ proto: 51 }))).toEqual([0x3009]);
    expect(spis(await client.dumpSas(within('10.0.0.0', 16)))).toEqual([0x3000, 0x3001, 0x3009]);
    expect(spis(await client.dumpSas({ proto: ESP, ...within('10.0.0.2', 32) }))).toEqual([0x3000]);
    expect(await client.dumpSas(within('192.0.2.0', 24))).toEqual([]);
    // Errors of a dump request come in its end.
    expect(await failure(client.dumpSas(within('10.0.0.0', 129)))).toMatchObject({
      code: 'ERR_KERNEL',
      request: 'GETSA',
    });

    await client.flushSas(51);
    expect(spis(await client.dumpSas())).toEqual([0x3000, 0x3001, 0x3002]);
  });

  test('dumps and requests at the same time do not mix', async () => {
    await client.batch(Array.from({ length: 2000 }, (_, n) => addRequest(n)));
    const sa = await client.allocSpi(larval('10.0.0.2', 7), 0x1000, 0x1000);
    const [first, sas, second, found] = await Promise.all([
      client.dumpPolicies(),
      client.dumpSas(),
      client.dumpPolicies(),
      client.getSa(saIdOf(sa)),
    ]);
    expect(first).toHaveLength(2000);
    expect(second).toHaveLength(2000);
    expect(sas).toHaveLength(1);
    expect(found?.body.id.spi).toBe(0x1000);
  });

  test(`${MANY} policies in one batch: every result is a success, and an event stream sees them all`, async () => {
    await using stream = await openEvents(kernel, { groups: [XfrmGroup.POLICY] });
    const events = stream[Symbol.asyncIterator]();
    const results = await client.batch(Array.from({ length: MANY }, (_, n) => addRequest(n)));
    expect(results).toHaveLength(MANY);
    expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
    const seen = (await take(events, MANY)).map(messageOf);
    const numbers = seen.map((message) => (message?.kind === 'NEWPOLICY' ? message.body.sel.daddr.w0 & 0xffffff : -1));
    expect(numbers).toEqual(Array.from({ length: MANY }, (_, n) => n));
    expect(await client.dumpPolicies()).toHaveLength(MANY);
  });

  test('an overrun reaches the reader, and the stream goes on', async () => {
    const options = { groups: [XfrmGroup.POLICY], receiveBufferBytes: TINY_BUFFER_BYTES };
    await using stream = await openEvents(kernel, options);
    const events = stream[Symbol.asyncIterator]();
    // A batch does not return to the event loop: nobody reads the events meanwhile.
    await client.batch(Array.from({ length: 64 }, (_, n) => addRequest(n)));
    const before = await take(events, 1);
    expect(before[0]?.type).toBe('overrun');
    // From here on each event is read before the next is made.
    for (let n = 0; n < 10; n++) {
      await client.deletePolicy(policyIdOf(policy(n)));
      let message = messageOf((await take(events, 1))[0]);
      while (message?.kind === 'NEWPOLICY') message = messageOf((await take(events, 1))[0]);
      expect(message).toMatchObject({ kind: 'DELPOLICY', body: { sel: policy(n).body.sel } });
    }
  });

  test('a request socket too small for its answers fails the batch; later requests work', async () => {
    await using small = await XfrmClient.open(kernel, { receiveBufferBytes: TINY_BUFFER_BYTES });
    const results = await small.batch(Array.from({ length: 64 }, (_, n) => addRequest(n)));
    expect(results.map(({ error }) => error?.code)).toEqual(new Array(64).fill('ERR_OVERRUN'));
    // They were carried out nevertheless.
    expect(await client.dumpPolicies()).toHaveLength(64);
    expect(await small.getPolicy(policyIdOf(policy(5)))).toBeDefined();
  });

  test('without CAP_NET_ADMIN every request is answered EPERM', async () => {
    const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
    const source = `
      import { linuxKernel, XfrmClient } from ${JSON.stringify(library)};
      const client = await XfrmClient.open(linuxKernel());
      const said = [];
      const attempts = [client.dumpSas(), client.flushPolicies(), client.getSa({ daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 1, proto: 50, family: 2 })];
      for (const result of await Promise.allSettled(attempts)) said.push([result.reason?.code, result.reason?.errno, result.reason?.request]);
      console.log(JSON.stringify(said));
      client.close();
    `;
    const setpriv = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
    const node = [process.execPath, '--input-type=module', '-e', source];
    const child = spawn('nsenter', [`--net=${namespace.path}`, ...setpriv, ...node], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    expect(JSON.parse(await output(child))).toEqual([
      ['ERR_KERNEL', EPERM, 'GETSA'],
      ['ERR_KERNEL', EPERM, 'FLUSHPOLICY'],
      ['ERR_KERNEL', EPERM, 'GETSA'],
    ]);
  });
});

async function output(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(child, 'close');
  return text;
}
