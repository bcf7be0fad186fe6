import { decodeMessage, SaDir, type XfrmMessage, XfrmMsg } from '../../xfrm/index.ts';
import { check, encapType, type InboundFacts } from './input.ts';
import type { Namespace } from './namespace.ts';
import { Check, esnInferHi, ReplayMode } from './replay.ts';
import { SaState } from './row.ts';
import { type Flow, halfAt, Sel, selectorMatches } from './selector.ts';
import { writeSa } from './write-sa.ts';

/** What a data plane that has ciphers asks of the engine, beside what becomes of a packet. */

/** An SA as GETSA would show it, keys included. */
export type StoredSa = Pick<XfrmMessage<'NEWSA'>, 'body' | 'attributes'>;

export function readSa(ns: Namespace, slot: number): StoredSa {
  const { writer } = ns.host;
  writer.reset();
  writeSa(ns, slot, XfrmMsg.NEWSA, 0, 0, 0);
  const message = decodeMessage(writer.bytes.slice(0, writer.at)) as XfrmMessage<'NEWSA'>;
  // There are keys in it.
  writer.bytes.fill(0, 0, writer.at);
  return message;
}

/** Calls `changed` with the slot of each SA that is updated or goes away, until what it returns is called. */
export function watchSas(ns: Namespace, changed: (slot: number) => void): () => void {
  ns.sad.watchers.add(changed);
  return () => void ns.sad.watchers.delete(changed);
}

/**
 * Whether an inbound packet comes as far as verification: the same questions that `input` asks before it, without their consequences
 * (xfrm_input.c:xfrm_input). Its signature is of no meaning otherwise.
 */
export function isWorthVerifying(ns: Namespace, slot: number, facts: InboundFacts): boolean {
  const { sad } = ns;
  if (sad.state(slot) !== SaState.VALID || sad.dir(slot) === SaDir.OUT) return false;
  return encapType(ns, slot) === facts.encapType && check(ns, slot, facts.seq) === Check.ACCEPT;
}

/** The upper half that an inbound number has by the SA's window; 0 without ESN (xfrm_replay.c:xfrm_replay_seqhi). */
export function inferSeqHi(ns: Namespace, slot: number, seq: number): number {
  const { sad } = ns;
  if (sad.replayMode(slot) !== ReplayMode.ESN) return 0;
  return esnInferHi(sad.replayWords(slot), sad.replayAt(slot), seq);
}

/** Whether the selector of an SA takes in what is to go or came through it; one of no family takes in all (RFC 4301 section 5.2; xfrm_policy.c:__xfrm_policy_check). */
export function flowIsOfSa({ sad }: Namespace, slot: number, flow: Flow): boolean {
  const { bytes } = sad.arena;
  const at = sad.selectorAt(slot);
  const family = halfAt(bytes, at + Sel.FAMILY);
  return family === 0 || (family === flow.family && selectorMatches(bytes, at, flow));
}
