/** The text of `ip -s xfrm state` and of /proc/net/xfrm_stat, read into values. Pure functions. */
import { createHash } from 'node:crypto';

export interface SaText {
  src: string;
  dst: string;
  spi: number;
  reqid: number;
  /** Hash over everything that must move unchanged: addresses, SPI, reqid, mode, flags, window, mark, algorithms with keys, encapsulation. */
  identity: string;
  /** Hash over the algorithm lines alone. */
  keys: string;
  oseq: bigint;
  seq: bigint;
  lifetimeBytes: number;
  lifetimePackets: number;
  addTime: string;
  useTime: string;
  /** The configured limits, in the words of ip. */
  limits: Readonly<Record<string, string>>;
}

const hash = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 24);

function parseOne(block: string): SaText {
  const lines = block.split('\n').map((line) => line.trim());
  const head = lines[0]?.match(/^src (\S+) dst (\S+)/);
  const id = block.match(/proto esp spi (0x[0-9a-f]+)(?:\(\d+\))? reqid (\d+)/);
  if (!head || !id) throw new Error('not the text of an ESP SA of `ip -s xfrm state`');
  const algorithms = lines.filter((line) => /^(aead|auth|auth-trunc|enc|comp) /.test(line));
  const rest = lines.filter((line) =>
    /^(src|proto|replay-window \d+ seq|mark|encap|sel|if_id|tfcpad|output-mark|dir) ?/.test(line),
  );
  // iproute2 writes the legacy window for every SA; with ESN the real one stands in the context. The number of the acquire that asked
  // for the SA is no part of it.
  const esn = block.match(/replay_window (\d+), bitmap-length (\d+)/);
  const stable = rest.map((line) => line.replace(/ seq 0x[0-9a-f]+/, ''));
  const counters = block.match(
    /(?:\bseq-hi (0x[0-9a-f]+), )?\bseq (0x[0-9a-f]+), (?:oseq-hi (0x[0-9a-f]+), )?oseq (0x[0-9a-f]+)/,
  );
  if (!counters) throw new Error('no replay counters in the text of an SA');
  const [seqHi, seq, oseqHi, oseq] = counters.slice(1).map((text) => BigInt(text ?? 0)) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const limits: Record<string, string> = {};
  for (const [, words] of block.matchAll(/limit: (soft .*)/g)) {
    for (const [, kind, value, unit] of (words ?? '').matchAll(/(soft|hard) \(?([^()\s]+)\)?\((\w+)\)/g)) {
      limits[`${kind} ${unit}`] = value ?? '';
    }
  }
  for (const [, kind, soft, hard] of block.matchAll(/expire (\w+): soft (\d+)\(sec\), hard (\d+)\(sec\)/g)) {
    limits[`soft ${kind}`] = soft ?? '';
    limits[`hard ${kind}`] = hard ?? '';
  }
  const current = block.match(/lifetime current:\s+(\d+)\(bytes\), (\d+)\(packets\)\s+add (.+?) use (.+?)\s*$/m);
  if (!current) throw new Error('no lifetimes in the text of an SA: `ip -s` is needed');
  return {
    src: head[1] as string,
    dst: head[2] as string,
    spi: Number(id[1]),
    reqid: Number(id[2]),
    identity: hash([...stable, ...algorithms, `${esn?.[1]}/${esn?.[2]}`].join('\n')),
    keys: hash(algorithms.join('\n')),
    oseq: (oseqHi << 32n) | oseq,
    seq: (seqHi << 32n) | seq,
    lifetimeBytes: Number(current[1]),
    lifetimePackets: Number(current[2]),
    addTime: current[3] as string,
    useTime: current[4] as string,
    limits,
  };
}

/** SAs by SPI; two with the same SPI are an error in this lab. */
export function parseStates(text: string): Map<number, SaText> {
  const states = new Map<number, SaText>();
  for (const block of text.split(/^(?=src )/m)) {
    if (block.trim() === '') continue;
    const sa = parseOne(block);
    if (states.has(sa.spi)) throw new Error(`two SAs with SPI 0x${sa.spi.toString(16)}`);
    states.set(sa.spi, sa);
  }
  return states;
}

export type XfrmStat = Readonly<Record<string, number>>;

export function parseXfrmStat(text: string): XfrmStat {
  return Object.fromEntries([...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name, value]) => [name, Number(value)]));
}

/** Counters that moved, and by how much. */
export function statGrowth(before: XfrmStat, after: XfrmStat): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after)
      .map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
      .filter(([, growth]) => growth !== 0),
  );
}
