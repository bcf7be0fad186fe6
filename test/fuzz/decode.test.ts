import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { hostLittleEndian } from 'xfrmsync/netlink';
import { recordedMessages } from './corpus.ts';
import { checkDecode } from './decode.ts';
import { mutated } from './mutate.ts';
import { randomOf } from './random.ts';

/** The short form of `npm run fuzz`; a new seed each time, told when something fails. */

const TIME_MS = 3000;

describe('whatever the bytes are', () => {
  it('spoiled messages are decoded losslessly or refused with a DecodeError', () => {
    const corpus = recordedMessages(join(import.meta.dirname, '../vectors'));
    const seed = Date.now() >>> 0;
    const end = Date.now() + TIME_MS;
    for (let i = 0; Date.now() < end; i++) {
      const bytes = mutated(corpus, randomOf(seed, i));
      try {
        checkDecode(bytes);
      } catch (cause) {
        throw new Error(`seed ${seed}, input ${i}: ${Buffer.from(bytes).toString('hex')}: ${String(cause)}`, { cause });
      }
    }
  });

  it('so are random ones', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        checkDecode(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  it('and random ones behind a sound header', () => {
    const attribute = fc
      .record({
        type: fc.nat(50),
        flags: fc.constantFrom(0, 0, 0, 0x4000, 0x8000),
        data: fc.uint8Array({ maxLength: 90 }),
      })
      .map(({ type, flags, data }) => {
        const bytes = Buffer.alloc((4 + data.length + 3) & ~3);
        const write = hostLittleEndian ? bytes.writeUInt16LE.bind(bytes) : bytes.writeUInt16BE.bind(bytes);
        write(4 + data.length, 0);
        write(type | flags, 2);
        bytes.set(data, 4);
        return bytes;
      });
    const message = fc.record({
      type: fc.oneof(fc.integer({ min: 0x10, max: 0x29 }), fc.constantFrom(2, 3)),
      flags: fc.nat(0xffff),
      body: fc.constantFrom(0, 1, 4, 20, 24, 28, 48, 60, 64, 168, 176, 224, 232, 280),
      attributes: fc.array(attribute, { maxLength: 6 }),
    });
    fc.assert(
      fc.property(message, ({ type, flags, body, attributes }) => {
        const bytes = Uint8Array.from(Buffer.concat([Buffer.alloc(16 + ((body + 3) & ~3)), ...attributes]));
        const view = new DataView(bytes.buffer);
        view.setUint32(0, bytes.length, hostLittleEndian);
        view.setUint16(4, type, hostLittleEndian);
        view.setUint16(6, flags, hostLittleEndian);
        checkDecode(bytes);
      }),
      { numRuns: 3000 },
    );
  });
});
