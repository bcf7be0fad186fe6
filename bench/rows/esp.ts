import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { type EspSa, espTransform, newEspFacts, newOpened, parseEsp } from 'xfrmsync/esp';
import { IpProto, parseAddress, usersaInfo, XfrmMode } from 'xfrmsync/xfrm';
import { interleave, type Log, SLICE_MS, type Slice } from '../measure.ts';
import { type Aim, compared, type Result, skipped } from '../report.ts';
import type { Row } from './row.ts';

const SIZES = [64, 512, 1400] as const;
const DIRECTIONS = ['seal', 'open'] as const;
type Direction = (typeof DIRECTIONS)[number];

const CIPHER = 'aes-128-gcm';
/** `openssl speed` knows whole seconds alone, so there are fewer rounds than in other rows. */
const OPENSSL_SECONDS = 1;
const ROUNDS = 3;
const BUFFER_BYTES = 2048;
/** Calls between two looks at the clock. */
const BATCH = 256;

const peer = `openssl speed -evp ${CIPHER} -aead: the cipher alone`;

const aimOf = (direction: Direction, bytes: number): Aim => ({
  name: `esp/${direction}-${bytes}`,
  what: `${direction} inner packets of ${bytes} bytes, tunnel mode, ${CIPHER.toUpperCase()} with an ICV of 16 bytes`,
  unit: 'packets/s',
  peer,
  // One pass of Node.js into its crypto library costs more than these ciphers do: a floor, to show it when ours gets slower.
  target: 0.05,
});

const cases = DIRECTIONS.flatMap((direction) =>
  SIZES.map((bytes) => ({ direction, bytes, aim: aimOf(direction, bytes) })),
);

function tunnel(): EspSa {
  const body = usersaInfo.zero();
  body.family = 2;
  body.mode = XfrmMode.TUNNEL;
  const address = (text: string): EspSa['body']['saddr'] => parseAddress(text)?.address ?? body.saddr;
  body.id = { daddr: address('192.0.2.2'), spi: 0x100, proto: IpProto.ESP };
  body.saddr = address('192.0.2.1');
  const key = Uint8Array.from({ length: 20 }, (_, i) => i + 1);
  return { body, attributes: { algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key } } };
}

function innerPacket(bytes: number): Uint8Array {
  const packet = Buffer.alloc(bytes, 0x5a);
  packet.writeUInt32BE(0x45000000 | bytes, 0);
  packet.writeUInt32BE(0, 4);
  packet.writeUInt32BE(0x40110000, 8);
  packet.writeUInt32BE(0x0a010001, 12);
  packet.writeUInt32BE(0x0a020001, 16);
  return packet;
}

function timed(once: () => void): Slice {
  const start = process.hrtime.bigint();
  const limit = start + BigInt(SLICE_MS) * 1_000_000n;
  let end = start;
  let messages = 0;
  while (end < limit) {
    for (let i = 0; i < BATCH; i++) once();
    messages += BATCH;
    end = process.hrtime.bigint();
  }
  return { messages, ns: Number(end - start) };
}

/** Our side of a case. What opening brings is compared with what was sealed, once. */
function oursOf(direction: Direction, bytes: number): () => Slice {
  const transform = espTransform(tunnel());
  const packet = innerPacket(bytes);
  const outer = new Uint8Array(BUFFER_BYTES);
  const inner = new Uint8Array(BUFFER_BYTES);
  const facts = newEspFacts();
  const opened = newOpened();
  let seq = 1;
  const length = transform.seal(packet, seq, 0, outer);
  const open = (): void => {
    if (parseEsp(outer, 0, length, facts) === undefined) transform.open(outer, 0, facts, 0, inner, opened);
  };
  open();
  if (Buffer.compare(inner.subarray(0, opened.length), packet) !== 0) throw new Error('esp: not what was sealed');
  if (direction === 'open') return () => timed(open);
  return () => timed(() => void transform.seal(packet, ++seq, 0, outer));
}

const run = promisify(execFile);

/** `openssl speed` says bytes per second. */
async function opensslSlice(direction: Direction, bytes: number): Promise<Slice> {
  const args = ['speed', '-elapsed', '-mr', '-seconds', String(OPENSSL_SECONDS), '-bytes', String(bytes)];
  const decrypt = direction === 'open' ? ['-decrypt'] : [];
  const { stdout } = await run('openssl', [...args, '-evp', CIPHER, '-aead', ...decrypt]);
  const rate = Number(/^\+F:\d+:[^:]+:([0-9.]+)/m.exec(stdout)?.[1]);
  if (!(rate > 0)) throw new Error(`esp: openssl speed answered ${JSON.stringify(stdout.slice(0, 200))}`);
  return { messages: rate / bytes, ns: 1e9 };
}

const gigabits = (packets: number, bytes: number): string => ((packets * bytes * 8) / 1e9).toPrecision(3);

async function measure({ direction, bytes, aim }: (typeof cases)[number], missing: string, log: Log): Promise<Result> {
  const ours = { name: 'xfrmsync', run: oursOf(direction, bytes) };
  const tell = (text: string): void => log(`${aim.name}: ${text}`);
  if (missing !== '') {
    const [rates = []] = await interleave([ours], tell);
    return skipped(aim, missing, rates);
  }
  const theirs = { name: peer, run: () => opensslSlice(direction, bytes) };
  const [rates = [], peerRates = []] = await interleave([ours, theirs], tell, ROUNDS);
  const result = compared(aim, rates, peerRates, '');
  const [a, b] = [result.value ?? 0, result.peerValue ?? 0].map((rate) => gigabits(rate, bytes));
  return { ...result, used: `${a} Gbit/s of inner packets, the cipher alone ${b} Gbit/s` };
}

export const esp: Row = {
  name: 'esp',
  aims: cases.map(({ aim }) => aim),
  needsNamespace: false,
  async run(log) {
    const found = spawnSync('openssl', ['version'], { encoding: 'utf8' });
    const missing = found.error === undefined && found.status === 0 ? '' : 'no openssl program on this machine';
    const results: Result[] = [];
    for (const each of cases) results.push(await measure(each, missing, log));
    return results;
  },
};
