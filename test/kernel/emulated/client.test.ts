import { describe, expect, it } from 'vitest';
import { openEvents, saIdOf, XfrmClient } from '../../../src/client/index.ts';
import { EmulatedKernel, outputSa } from '../../../src/kernel/emulated/index.ts';
import { XfrmGroup } from '../../../src/xfrm/index.ts';
import { newSa } from './world.ts';

/** The client knows nothing of which kernel it talks to: the same calls as on Linux, on the emulation and the real event loop. */
describe('the client on the emulated kernel', () => {
  it('adds, reads, changes and dumps SAs', async () => {
    const kernel = new EmulatedKernel();
    await using client = await XfrmClient.open(kernel);
    const sas = Array.from({ length: 300 }, (_, i) => newSa({}, i + 1));
    for (const { body, attributes } of sas) await client.addSa({ body, attributes });
    const dumped = await client.dumpSas();
    expect(dumped.map(({ body }) => body.id.spi)).toEqual(sas.map(({ body }) => body.id.spi).reverse());
    const [first] = sas;
    if (first === undefined) throw new Error('no SA');
    const id = saIdOf(first);
    await expect(client.addSa(first)).rejects.toMatchObject({ errno: 17 });
    await client.setAevent(id, { replayVal: { oseq: 5, seq: 0, bitmap: 0 } });
    expect((await client.getAevent(id))?.attributes.replayVal).toEqual({ oseq: 5, seq: 0, bitmap: 0 });
    await client.deleteSa(id);
    expect((await client.sadInfo()).count).toBe(sas.length - 1);
  });

  it('sees the events of packets', async () => {
    const kernel = new EmulatedKernel();
    await using client = await XfrmClient.open(kernel);
    const { body, attributes } = newSa({ replayThresh: 2, etimerThresh: 0 });
    await client.addSa({ body, attributes });
    await using events = await openEvents(kernel, { groups: [XfrmGroup.AEVENTS] });
    const first = events[Symbol.asyncIterator]().next();
    for (let i = 0; i < 2; i++) outputSa(kernel.engine, kernel.engine.sad.newest(), 64);
    const { value } = await first;
    expect(value).toMatchObject({
      type: 'message',
      message: { kind: 'NEWAE', attributes: { replayVal: { oseq: 2 } } },
    });
  });
});
