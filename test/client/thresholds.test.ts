/**
 * No GETAE for both thresholds leaves the client: on kernels with 64-bit padding its answer can be larger than what the kernel reserved, and
 * the kernel stops. What is judged is what a socket was given, byte by byte.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Request, type SaId, XfrmClient } from '../../src/client/index.ts';
import { Transport } from '../../src/client/transport.ts';
import { EncodeError } from '../../src/netlink/index.ts';
import { ack, aevent, ScriptedKernel } from './scripted-kernel.ts';

const GETAE = 0x1f;
const RTHR = 1;
const ETHR = 8;
const FLAGS_AT = 16 + 40;

/** The `flags` of every GETAE among the sent datagrams, walked as the kernel walks them. */
function getaeFlags(sent: readonly Uint8Array[]): number[] {
  const flags: number[] = [];
  for (const datagram of sent) {
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
    for (let at = 0; view.byteLength - at >= 16; ) {
      const length = view.getUint32(at, true);
      if (length < 16 || length > view.byteLength - at) break;
      if (view.getUint16(at + 4, true) === GETAE) flags.push(view.getUint32(at + FLAGS_AT, true));
      at += (length + 3) & ~3;
    }
  }
  return flags;
}

const answering = () =>
  new ScriptedKernel((request) => {
    const flags = request.kind === 'GETAE' ? request.body.flags : 0;
    return [aevent(request.seq, 1, flags), ack(request)];
  });

const word = fc.integer({ min: 0, max: 0xffffffff });
const address = fc.record({ w0: word, w1: word, w2: word, w3: word });
const mark = fc.record({ value: word, mask: word });
const saId = fc.record(
  { daddr: address, spi: word, proto: fc.constantFrom(50, 51, 108), family: fc.constantFrom(2, 10), mark },
  { requiredKeys: ['daddr', 'spi', 'proto', 'family'] },
);
const request: fc.Arbitrary<Request> = fc.record({
  kind: fc.constant('GETAE' as const),
  flags: fc.integer({ min: 0, max: 0xffff }),
  body: fc.record({ saId, saddr: address, flags: fc.oneof(fc.integer({ min: 0, max: 15 }), word), reqid: word }),
  attributes: fc.record({ mark }, { requiredKeys: [] }),
});
/** A message as decoded, whose bytes aside are written anywhere over it. */
const decorated = fc
  .tuple(request, fc.integer({ min: 0, max: 70 }), fc.uint8Array({ maxLength: 8 }))
  .map(([plain, offset, bytes]) => ({ ...plain, rest: { padding: [{ offset, bytes }] } }) as unknown as Request);
/** The same bytes under another name. */
const disguised = request.map(
  ({ body }) =>
    ({
      kind: 'UNKNOWN',
      type: GETAE,
      payload: new Uint8Array(48).fill((body as { flags: number }).flags & 0xff),
    }) as unknown as Request,
);

it('getAevent asks for the thresholds one by one, and gives both', async () => {
  const kernel = answering();
  await using client = await XfrmClient.open(kernel);
  const id: SaId = { daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 1, proto: 50, family: 2 };
  const { attributes } = (await client.getAevent(id, { thresholds: true })) ?? {};
  expect(attributes).toMatchObject({ replayThresh: 2, etimerThresh: 10 });
  expect(getaeFlags(kernel.socket.sent)).toEqual([RTHR, ETHR]);
});

it('whatever getAevent is asked', async () => {
  const options = fc.constantFrom({}, { thresholds: true }, { thresholds: false });
  await fc.assert(
    fc.asyncProperty(saId, options, async (id, thresholds) => {
      const kernel = answering();
      await using client = await XfrmClient.open(kernel);
      expect(await client.getAevent(id as SaId, thresholds)).toBeDefined();
      const flags = getaeFlags(kernel.socket.sent);
      expect(flags.length).toBeGreaterThan(0);
      expect(flags.filter((value) => (value & 9) === 9)).toEqual([]);
    }),
  );
});

it('whatever goes through request, batch and dump', async () => {
  let refused = 0;
  let sent = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(request, decorated, disguised), { maxLength: 20 }), async (requests) => {
      const kernel = answering();
      await using transport = await Transport.open(kernel, { timeoutMs: 50 });
      const results = await transport.batch(requests);
      const alone = await Promise.allSettled(requests.map((each) => transport.request(each)));
      const flags = getaeFlags(kernel.socket.sent);
      expect(flags.filter((value) => (value & 9) === 9)).toEqual([]);
      for (const [i, { error }] of results.entries()) {
        const plain = requests[i] as { kind: string; body: { flags: number }; rest?: object };
        if (plain.kind === 'GETAE' && plain.rest === undefined) {
          expect(error?.code).toBe((plain.body.flags & 9) === 9 ? 'ERR_REQUEST' : undefined);
          expect(alone[i]?.status).toBe((plain.body.flags & 9) === 9 ? 'rejected' : 'fulfilled');
        }
      }
      refused += results.filter(({ error }) => error !== undefined).length;
      sent += flags.length;
    }),
    { numRuns: 300 },
  );
  // Both kinds have been there.
  expect(refused).toBeGreaterThan(100);
  expect(sent).toBeGreaterThan(100);
});

it('the refusal says why, and what to do instead', async () => {
  const kernel = answering();
  await using transport = await Transport.open(kernel);
  const body = {
    saId: { daddr: { w0: 1, w1: 0, w2: 0, w3: 0 }, spi: 1, proto: 50, family: 2 },
    saddr: { w0: 0, w1: 0, w2: 0, w3: 0 },
    flags: RTHR | ETHR,
    reqid: 0,
  };
  const both: Request = { kind: 'GETAE', body, attributes: {} };
  await expect(transport.request(both)).rejects.toThrow(/both thresholds.*one by one/);
  await expect(transport.request(both)).rejects.toBeInstanceOf(EncodeError);
  await expect(transport.dump(both, () => undefined)).rejects.toBeInstanceOf(EncodeError);
  expect(kernel.socket.sent).toEqual([]);
});
