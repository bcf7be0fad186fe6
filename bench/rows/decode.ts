import { decodeMessage, type XfrmMessage } from 'xfrmsync/xfrm';
import { type Corpus, mix, openCorpus } from '../corpus.ts';
import { interleave, type Log, SLICE_MS, type Slice } from '../measure.ts';
import { numberOf, PeerProcess } from '../peer-process.ts';
import { type Aim, compared, type Result, skipped } from '../report.ts';
import { compileLibnlPeer, type Peer, pyroutePeer, pyrouteVersion } from '../toolchain.ts';
import type { Row } from './row.ts';

const what = 'decode a NEWAE to a typed object';
const unit = 'messages/s';
const LIBNL: Aim = { name: 'decode/libnl', what, unit, peer: 'libnl-xfrm xfrmnl_ae_parse (C)', target: 2 };
const PYROUTE2: Aim = { name: 'decode/pyroute2', what, unit, peer: 'pyroute2 nlmsg class (Python)', target: 50 };

function decoded(corpus: Corpus, at: number): XfrmMessage<'NEWAE'> {
  const message = decodeMessage(corpus.bytes, at);
  if (message.kind !== 'NEWAE') throw new Error(`The corpus holds a ${message.kind} at ${at}`);
  return message;
}

function checksum(corpus: Corpus): number {
  let sum = 0;
  for (const at of corpus.offsets) {
    const { body, attributes } = decoded(corpus, at);
    const { daddr, spi, family, proto } = body.saId;
    const esn = attributes.replayEsnVal;
    const replay = esn ?? attributes.replayVal;
    const lifetime = attributes.ltimeVal;
    if (replay === undefined || lifetime === undefined) throw new Error(`No replay state or lifetime at ${at}`);
    const key = [daddr.w0, daddr.w1, daddr.w2, daddr.w3, spi, family, proto, body.flags];
    const counters = [replay.oseq, esn?.oseqHi ?? 0, replay.seq, esn?.seqHi ?? 0];
    const words = [lifetime.bytes, lifetime.packets].flatMap((n) => [Number(n & 0xffff_ffffn), Number(n >> 32n)]);
    for (const word of [...key, ...counters, ...words]) sum = mix(sum, word);
  }
  return sum;
}

/** So that no engine may leave the work out: each object is looked at, and the sum goes out of the function. */
let touched = 0;

function slice(corpus: Corpus): Slice {
  const { bytes, offsets } = corpus;
  const start = process.hrtime.bigint();
  const limit = start + BigInt(SLICE_MS) * 1_000_000n;
  let end = start;
  let messages = 0;
  while (end < limit) {
    for (let i = 0; i < offsets.length; i++) {
      const message = decodeMessage(bytes, offsets[i]);
      if (message.kind === 'NEWAE') touched = (touched + message.body.saId.spi + message.body.flags) | 0;
    }
    messages += offsets.length;
    end = process.hrtime.bigint();
  }
  return { messages, ns: Number(end - start) };
}

async function against(aim: Aim, peer: Peer, corpus: Corpus, note: string, log: Log): Promise<Result> {
  const ours = { name: 'xfrmsync', run: () => slice(corpus) };
  const used = `${corpus.offsets.length} messages of ${Math.round(corpus.bytes.length / corpus.offsets.length)} bytes on average${note}`;
  if ('missing' in peer) {
    const [rates = []] = await interleave([ours], (text) => log(`${aim.name}: ${text}`));
    return skipped(aim, peer.missing, rates, used);
  }
  await using process = new PeerProcess(aim.name, peer, [corpus.path]);
  const theirSum = numberOf(await process.ask('verify'), 'sum');
  if (theirSum !== checksum(corpus)) throw new Error(`${aim.name}: the peer reads other counters (${theirSum})`);
  const theirs = { name: aim.peer, run: () => process.slice(`run ${SLICE_MS}`) };
  const [rates = [], peerRates = []] = await interleave([ours, theirs], (text) => log(`${aim.name}: ${text}`));
  return compared(aim, rates, peerRates, `${used}; same checksum over key and counters`);
}

export const decode: Row = {
  name: 'decode',
  aims: [LIBNL, PYROUTE2],
  needsNamespace: false,
  async run(log) {
    const corpus = openCorpus();
    const pyroute2 = pyroutePeer('decode_pyroute2.py');
    const version = pyrouteVersion(pyroute2);
    return [
      await against(LIBNL, compileLibnlPeer('decode-libnl'), corpus, '', log),
      await against(PYROUTE2, pyroute2, corpus, version === '' ? '' : `; pyroute2 ${version}`, log),
    ];
  },
};
