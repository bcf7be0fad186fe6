import { align4, hostLittleEndian } from '../../../netlink/index.ts';
import { encodedAttribute } from '../encoded.ts';
import type { Namespace } from '../namespace.ts';
import { usesSpi } from '../proto.ts';
import { Row } from '../row.ts';
import { A } from './sa-check.ts';

const little = hostLittleEndian;

/** Encoded attributes without those of `types`. */
export function without(attributes: Uint8Array, types: readonly number[]): Uint8Array {
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.byteLength);
  const kept: Uint8Array[] = [];
  for (let o = 0; o + 4 <= attributes.length; ) {
    const next = o + align4(view.getUint16(o, little));
    if (!types.includes(view.getUint16(o + 2, little))) kept.push(attributes.subarray(o, next));
    o = next;
  }
  return Uint8Array.from(Buffer.concat(kept));
}

const SET_MARKS = [A.SET_MARK, A.SET_MARK_MASK];

/**
 * What UPDSA of a valid SA changes, and nothing else: limits, encapsulation, care-of address, set-mark; the selector of SAs without
 * SPI (xfrm_state.c:xfrm_state_update). Its if_id: `mergeIfId`. False: encapsulations do not go together.
 */
export function mergeUpdate(ns: Namespace, old: number, update: number): boolean {
  const { sad } = ns;
  const from = sad.attributes(update);
  const to = sad.attributes(old);
  const encap = encodedAttribute(from.body, A.ENCAP);
  const oldEncap = encodedAttribute(to.body, A.ENCAP);
  const typeOf = (bytes: Uint8Array, at: number): number => (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  if (encap >= 0 !== oldEncap >= 0) return false;
  if (encap >= 0 && typeOf(from.body, encap) !== typeOf(to.body, oldEncap)) return false;
  if (encap >= 0) to.body.set(from.body.subarray(encap, encap + 24), oldEncap);

  const coaddr = encodedAttribute(from.head, A.COADDR);
  const oldCoaddr = encodedAttribute(to.head, A.COADDR);
  if (coaddr >= 0 && oldCoaddr >= 0) to.head.set(from.head.subarray(coaddr, coaddr + 16), oldCoaddr);

  const [row, oldRow] = [sad.row(update), sad.row(old)];
  if (!usesSpi(sad.proto(old))) sad.setSelector(old, sad.selector(update));
  sad.words.copyWithin(oldRow + Row.LFT, row + Row.LFT, row + Row.CURLFT);

  const setMark = encodedAttribute(from.body, A.SET_MARK);
  let { body } = to;
  // SET_MARK and its mask are the last of the body.
  if (setMark >= 0) body = Uint8Array.from(Buffer.concat([without(body, SET_MARKS), from.body.subarray(setMark - 4)]));
  sad.setAttributes(old, { head: to.head, body, tail: to.tail });
  sad.changed(old);
  return true;
}

/** The if_id changes last, and to none it does not: the EXPIRE of a soft limit that the update lowers still shows the one before. */
export function mergeIfId({ sad }: Namespace, old: number, update: number): void {
  const ifId = sad.words[sad.row(update) + Row.IF_ID] as number;
  if (ifId === 0) return;
  sad.words[sad.row(old) + Row.IF_ID] = ifId;
  sad.changed(old);
}
