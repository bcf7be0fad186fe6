import {
  type EmulatedKernel,
  type InboundFacts,
  newInboundFacts,
  type OutboundFacts,
  outputSa,
  Verdict,
} from 'xfrmsync/emulated';
import { numbers } from '../corpus.ts';
import type { Slice } from '../measure.ts';
import { HOST_FIRST, LOCAL, PEER, spiOf } from './emulated-world.ts';

/**
 * Packets for an emulated machine. A slice's packets are laid out before its clock starts, so that what is timed is the kernel's work, not
 * that of a sender: each for an SA at random, its numbers going up with every second pair swapped.
 */

const PACKETS = 500_000;
const SEED = 0x584652;
const BYTES = 100;
/** A group of four numbers in the order of their arrival. */
const ARRIVAL = [0, 1, 3, 2];

const random = numbers(SEED);

function timed(run: () => number, what: string): Slice {
  const start = process.hrtime.bigint();
  const accepted = run();
  const ns = Number(process.hrtime.bigint() - start);
  if (accepted !== PACKETS) throw new Error(`emulated: ${PACKETS - accepted} packets ${what} were refused`);
  return { messages: PACKETS, ns };
}

/** Slices of inbound packets. `between` runs, timed, every so often: a listener reads its events then. */
export function inbound(kernel: EmulatedKernel, sas: number, between?: () => void): () => Slice {
  const arrived = new Uint32Array(sas);
  const spis = new Uint32Array(PACKETS);
  const seqs = new Uint32Array(PACKETS);
  const facts: InboundFacts = newInboundFacts();
  facts.daddr.w0 = LOCAL;
  facts.saddr.w0 = PEER;
  facts.bytes = BYTES;
  const run = (): number => {
    let accepted = 0;
    for (let i = 0; i < PACKETS; i++) {
      facts.spi = spis[i] as number;
      facts.seq = seqs[i] as number;
      if (kernel.input(facts) === Verdict.ACCEPT) accepted++;
      if (between !== undefined && i % 1024 === 0) between();
    }
    return accepted;
  };
  return () => {
    for (let i = 0; i < PACKETS; i++) {
      const sa = random() % sas;
      const nth = arrived[sa] as number;
      arrived[sa] = nth + 1;
      spis[i] = spiOf(sa);
      seqs[i] = (nth & ~3) + (ARRIVAL[nth & 3] as number) + 1;
    }
    return timed(run, 'inbound');
  };
}

/** Slices of outbound packets whose SA is known (xfrm_output_one). */
export function outbound(kernel: EmulatedKernel, sas: number): () => Slice {
  const slots = new Uint32Array(PACKETS);
  const run = (): number => {
    let sent = 0;
    for (let i = 0; i < PACKETS; i++) if (outputSa(kernel.engine, slots[i] as number, BYTES).sent) sent++;
    return sent;
  };
  return () => {
    for (let i = 0; i < PACKETS; i++) slots[i] = random() % sas;
    return timed(run, 'outbound');
  };
}

/** Slices of outbound packets that look for their policy and their SA first, `packets` in a slice. */
export function routed(kernel: EmulatedKernel, policies: number): () => Slice {
  const daddr = new Uint8Array(16);
  const view = new DataView(daddr.buffer);
  const flow = { family: 2, saddr: new Uint8Array(16), daddr, proto: 17, sport: 4500, dport: 4500 };
  const facts: OutboundFacts = { flow, mark: 0, ifId: 0, payloadBytes: BYTES, packetBytes: BYTES };
  const hosts = new Uint32Array(PACKETS);
  const run = (): number => {
    let sent = 0;
    for (let i = 0; i < PACKETS; i++) {
      view.setUint32(0, hosts[i] as number);
      if (kernel.output(facts).seq !== 0) sent++;
    }
    return sent;
  };
  return () => {
    for (let i = 0; i < PACKETS; i++) hosts[i] = HOST_FIRST + (random() % policies);
    return timed(run, 'by policy');
  };
}
