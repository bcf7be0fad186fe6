/**
 * The client against any kernel with XFRM, real or emulated, with ESP or without: policies, larval SAs, refusals, events. Each check starts
 * with empty databases.
 */
import { ok, deepStrictEqual as same } from 'node:assert';
import {
  ClientError,
  type Kernel,
  type KernelEvent,
  openEvents,
  type Policy,
  policyIdOf,
  type Request,
  type Sa,
  saIdOf,
  XfrmClient,
} from 'xfrmsync';
import { NlmF } from 'xfrmsync/netlink';
import { type AnyXfrmMessage, PolicyDir, XfrmGroup } from 'xfrmsync/xfrm';
import { address, ESP, familyOf, INET, policyBody, saBody, selector } from './bodies.ts';

const ENOENT = 2;
const ESRCH = 3;
const EEXIST = 17;
const EINVAL = 22;
const ERANGE = 34;
/** The kernel raises it to 2304, which is three events. */
const TINY_BUFFER_BYTES = 1;
const MANY = 10_000;
/** Holds the events of MANY policies. */
const LARGE_BUFFER_BYTES = 64 << 20;

/** What `part` has, `whole` has too: objects field by field, lists entry by entry, all else the very same. */
function like(whole: unknown, part: unknown, path = 'it'): void {
  if (typeof part !== 'object' || part === null) {
    same(whole, part, `${path} is ${whole}, not ${part}`);
    return;
  }
  ok(typeof whole === 'object' && whole !== null, `${path} is ${whole}`);
  if (Array.isArray(part)) same((whole as unknown[]).length, part.length, `${path} has another length`);
  for (const [name, value] of Object.entries(part)) {
    like((whole as Record<string, unknown>)[name], value, `${path}.${name}`);
  }
}

async function refused(promise: Promise<unknown>, facts: Partial<ClientError>): Promise<ClientError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  ok(error instanceof ClientError, `not refused: ${error}`);
  like(error, facts);
  return error;
}

/** Policy number n; those with an even one have a template. */
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
  body: saBody({ saddr: familyOf(daddr) === INET ? '10.0.0.1' : 'fd09::1', daddr, spi: 0 }, { reqid, mode: 1 }),
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

const messageOf = (event: KernelEvent | undefined): AnyXfrmMessage | undefined =>
  event?.type === 'message' ? event.message : undefined;

type Check = (kernel: Kernel, client: XfrmClient) => Promise<undefined>;

export const requestChecks: Readonly<Record<string, Check>> = {
  'policies: add, get by selector and by index, update, delete, dump': async (_, client) => {
    const plain = policy(1);
    const withTemplate = policy(2);
    await client.addPolicy(plain);
    await client.addPolicy(withTemplate);

    const found = await client.getPolicy(policyIdOf(withTemplate));
    like(found?.body, { sel: withTemplate.body.sel, dir: PolicyDir.OUT, priority: 100, action: 0 });
    const index = found?.body.index ?? 0;
    ok(index > 0);
    ok((found?.body.curlft.addTime ?? 0n) > 1_600_000_000n);
    like(found?.attributes.tmpl, [{ reqid: 2, mode: 1, id: { proto: ESP } }]);
    same((await client.getPolicy({ index, dir: PolicyDir.OUT }))?.body, found?.body);

    await client.updatePolicy(policy(2, 7));
    same((await client.getPolicy(policyIdOf(withTemplate)))?.body.priority, 7);
    await client.updatePolicy(policy(3));
    const all = await client.dumpPolicies();
    same(all.map(({ body }) => body.sel.daddr.w0 & 255).sort(), [1, 2, 3]);
    same(await client.spdInfo(), { in: 0, out: 3, fwd: 0 });

    await client.deletePolicy(policyIdOf(plain));
    same(await client.getPolicy(policyIdOf(plain)), undefined);
    await client.flushPolicies();
    same(await client.dumpPolicies(), []);
    same(await client.spdInfo(), { in: 0, out: 0, fwd: 0 });
    return undefined;
  },

  'a mark and an interface id are part of what a policy is found by': async (_, client) => {
    const mark = { value: 5, mask: 0xff };
    const marked = { ...policy(1), attributes: { mark, ifId: 9 } };
    await client.addPolicy(marked);
    same(await client.getPolicy(policyIdOf(policy(1))), undefined);
    same(await client.getPolicy(policyIdOf({ ...marked, attributes: { mark } })), undefined);
    like((await client.getPolicy(policyIdOf(marked)))?.attributes, { mark, ifId: 9 });
    const [dumped] = await client.dumpPolicies();
    await client.deletePolicy(policyIdOf(dumped as Policy));
    same(await client.dumpPolicies(), []);
    return undefined;
  },

  'policy events: what was added, updated, deleted and flushed': async (kernel, client) => {
    await using stream = await openEvents(kernel, { groups: [XfrmGroup.POLICY] });
    const events = stream[Symbol.asyncIterator]();
    await client.addPolicy(policy(2));
    await client.updatePolicy(policy(2, 7));
    const index = (await client.getPolicy(policyIdOf(policy(2))))?.body.index;
    await client.deletePolicy(policyIdOf(policy(2)));
    await client.addPolicy(policy(1));
    await client.flushPolicies();
    const { sel } = policy(2).body;
    like((await take(events, 5)).map(messageOf), [
      { kind: 'NEWPOLICY', body: { sel, priority: 100 }, attributes: { tmpl: [{ reqid: 2 }] } },
      { kind: 'UPDPOLICY', body: { priority: 7 } },
      {
        kind: 'DELPOLICY',
        // The fixed part says how it was found, XFRMA_POLICY what it was.
        body: { sel, index: 0, dir: PolicyDir.OUT },
        attributes: { policy: { sel, index, priority: 7, dir: PolicyDir.OUT }, tmpl: [{ reqid: 2 }] },
      },
      { kind: 'NEWPOLICY' },
      { kind: 'FLUSHPOLICY' },
    ]);
    return undefined;
  },

  'what is there, and what is not: EEXIST, ENOENT, ESRCH': async (_, client) => {
    await client.addPolicy(policy(1));
    const code = 'ERR_KERNEL';
    await refused(client.addPolicy(policy(1)), { code, errno: EEXIST, request: 'NEWPOLICY' });
    await refused(client.deletePolicy(policyIdOf(policy(2))), { code, errno: ENOENT, request: 'DELPOLICY' });
    const nobody = { daddr: address('10.9.9.9'), spi: 0x999, proto: ESP, family: INET };
    await refused(client.deleteSa(nobody), { code, errno: ESRCH, request: 'DELSA' });
    await refused(client.setAevent(nobody, { replayThresh: 1 }), { code, errno: ESRCH, request: 'NEWAE' });
    same(await client.getSa(nobody), undefined);
    same(await client.getAevent(nobody, { thresholds: true }), undefined);
    return undefined;
  },

  'what is wrong comes back with the words of the kernel and the place': async (_, client) => {
    const inverted: Policy = { body: { ...policy(1).body, dir: 9 }, attributes: {} };
    const { extack } = await refused(client.addPolicy(inverted), { errno: EINVAL });
    // Kernels before 6.2 have no words for it.
    ok(['Invalid policy direction', ''].includes(extack), extack);
    // XFRMA_REPLAY_THRESH of two bytes, right after the fixed part.
    const short = { rest: { other: [{ index: 0, type: 11, data: new Uint8Array(2) }] } };
    const body = {
      saId: { daddr: address('10.9.9.9'), spi: 1, proto: ESP, family: INET },
      saddr: address('0.0.0.0'),
      flags: 0,
      reqid: 0,
    };
    const request = { kind: 'NEWAE', flags: NlmF.REPLACE, body, attributes: {}, ...short } as Request;
    const words = 'Attribute failed policy validation';
    await refused(client.request(request), { errno: ERANGE, extack: words, offset: 64 });
    return undefined;
  },

  'a larval SA: reserved, read, counted, refused an update, deleted': async (_, client) => {
    const sa = await client.allocSpi(larval('10.0.0.2', 7), 0x1000, 0x1fff);
    const { spi } = sa.body.id;
    ok(spi >= 0x1000 && spi <= 0x1fff);
    const id = saIdOf(sa);
    like((await client.getSa(id))?.body, { id: sa.body.id, saddr: address('10.0.0.1'), reqid: 7, mode: 1 });
    like(await client.sadInfo(), { count: 1, bucketsMax: 0x100000 });

    const plain = await client.getAevent(id);
    like(plain?.body, { saId: { spi }, saddr: address('10.0.0.1'), reqid: 7 });
    same(plain?.attributes.replayVal, { oseq: 0, seq: 0, bitmap: 0 });
    same(plain?.attributes.replayThresh, undefined);
    const withThresholds = await client.getAevent(id, { thresholds: true });
    like(withThresholds?.attributes, { replayThresh: 0, etimerThresh: 0 });

    const set = client.setAevent(id, { replayVal: { oseq: 1, seq: 1, bitmap: 1 } });
    const { extack } = await refused(set, { errno: EINVAL, request: 'NEWAE' });
    ok(['SA must be in VALID state', ''].includes(extack), extack);

    await client.deleteSa(id);
    same(await client.getSa(id), undefined);
    like(await client.sadInfo(), { count: 0 });
    return undefined;
  },

  'an SPI is given once: a range of one is used up': async (_, client) => {
    await client.allocSpi(larval('10.0.0.2', 1), 0x2000, 0x2000);
    const again = client.allocSpi(larval('10.0.0.2', 2), 0x2000, 0x2000);
    await refused(again, { errno: ENOENT, request: 'ALLOCSPI' });
    return undefined;
  },

  'dumps filter by protocol and by address': async (_, client) => {
    for (const [i, daddr] of ['10.0.0.2', '10.0.1.2', '10.1.0.2', 'fd09::2'].entries()) {
      await client.allocSpi(larval(daddr, i + 1), 0x3000 + i, 0x3000 + i);
    }
    const ah = larval('10.0.0.2', 9);
    await client.allocSpi({ ...ah, body: { ...ah.body, id: { ...ah.body.id, proto: 51 } } }, 0x3009, 0x3009);
    const spis = (sas: readonly Sa[]) => sas.map(({ body }) => body.id.spi).sort();
    const within = (daddr: string, dplen: number) => ({
      addresses: { saddr: address('0.0.0.0'), daddr: address(daddr), family: familyOf(daddr), splen: 0, dplen },
    });
    same(spis(await client.dumpSas()), [0x3000, 0x3001, 0x3002, 0x3003, 0x3009]);
    same(spis(await client.dumpSas({ proto: ESP })), [0x3000, 0x3001, 0x3002, 0x3003]);
    same(spis(await client.dumpSas({ proto: 51 })), [0x3009]);
    same(spis(await client.dumpSas(within('10.0.0.0', 16))), [0x3000, 0x3001, 0x3009]);
    same(spis(await client.dumpSas(within('fd09::', 16))), [0x3003]);
    same(spis(await client.dumpSas({ proto: ESP, ...within('10.0.0.2', 32) })), [0x3000]);
    same(await client.dumpSas(within('192.0.2.0', 24)), []);
    // Errors of a dump request come in its end.
    await refused(client.dumpSas(within('10.0.0.0', 129)), { code: 'ERR_KERNEL', request: 'GETSA' });

    await client.flushSas(51);
    same(spis(await client.dumpSas()), [0x3000, 0x3001, 0x3002, 0x3003]);
    return undefined;
  },

  'dumps and requests at the same time do not mix': async (_, client) => {
    await client.batch(Array.from({ length: 2000 }, (_, n) => addRequest(n)));
    const sa = await client.allocSpi(larval('10.0.0.2', 7), 0x1000, 0x1000);
    const [first, sas, second, found] = await Promise.all([
      client.dumpPolicies(),
      client.dumpSas(),
      client.dumpPolicies(),
      client.getSa(saIdOf(sa)),
    ]);
    same([first.length, sas.length, second.length, found?.body.id.spi], [2000, 1, 2000, 0x1000]);
    return undefined;
  },

  [`${MANY} policies in one batch: every result is a success, and an event stream sees them all`]: async (
    kernel,
    client,
  ) => {
    const options = { groups: [XfrmGroup.POLICY], receiveBufferBytes: LARGE_BUFFER_BYTES };
    await using stream = await openEvents(kernel, options);
    const events = stream[Symbol.asyncIterator]();
    const results = await client.batch(Array.from({ length: MANY }, (_, n) => addRequest(n)));
    same(results.length, MANY);
    same(
      results.filter(({ error }) => error !== undefined),
      [],
    );
    const seen = (await take(events, MANY)).map(messageOf);
    const numbers = seen.map((message) => (message?.kind === 'NEWPOLICY' ? message.body.sel.daddr.w0 & 0xffffff : -1));
    same(
      numbers,
      Array.from({ length: MANY }, (_, n) => n),
    );
    same((await client.dumpPolicies()).length, MANY);
    return undefined;
  },

  'an overrun reaches the reader, and the stream goes on': async (kernel, client) => {
    const options = { groups: [XfrmGroup.POLICY], receiveBufferBytes: TINY_BUFFER_BYTES };
    await using stream = await openEvents(kernel, options);
    const events = stream[Symbol.asyncIterator]();
    // A batch does not return to the event loop: nobody reads the events meanwhile.
    await client.batch(Array.from({ length: 64 }, (_, n) => addRequest(n)));
    same((await take(events, 1))[0]?.type, 'overrun');
    // From here on each event is read before the next is made.
    for (let n = 0; n < 10; n++) {
      await client.deletePolicy(policyIdOf(policy(n)));
      let message = messageOf((await take(events, 1))[0]);
      while (message?.kind === 'NEWPOLICY') message = messageOf((await take(events, 1))[0]);
      like(message, { kind: 'DELPOLICY', body: { sel: policy(n).body.sel } });
    }
    return undefined;
  },

  'a request socket too small for its answers fails the batch; later requests work': async (kernel, client) => {
    await using small = await XfrmClient.open(kernel, { receiveBufferBytes: TINY_BUFFER_BYTES });
    const results = await small.batch(Array.from({ length: 64 }, (_, n) => addRequest(n)));
    same(
      results.map(({ error }) => error?.code),
      new Array(64).fill('ERR_OVERRUN'),
    );
    // They were carried out nevertheless.
    same((await client.dumpPolicies()).length, 64);
    ok(await small.getPolicy(policyIdOf(policy(5))));
    return undefined;
  },
};
