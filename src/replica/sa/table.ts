import type { SaId } from '../../client/index.ts';
import { AddressFamily, type AeventCursor, sameAddress } from '../../xfrm/index.ts';
import type { Counters } from './counters.ts';
import type { SaRecord } from './record.ts';

/** Counters that moved, SA by SA: `AeventCursor`, or whatever reads what a kernel says in other words. Fields are of the SA that `next` found. */
export type Aevents = Pick<
  AeventCursor,
  | 'next'
  | 'flags'
  | 'spi'
  | 'proto'
  | 'family'
  | 'daddr0'
  | 'daddr1'
  | 'daddr2'
  | 'daddr3'
  | 'markValue'
  | 'markMask'
  | 'bitmap'
  | Exclude<keyof Counters, 'bitmap'>
>;

/** An SA's identity as text, for sets. */
export function saKey({ daddr, spi, proto, family, mark }: SaId): string {
  return JSON.stringify([spi, proto, family, daddr, mark?.value ?? 0, mark?.mask ?? 0]);
}

/** SAs by what the kernel looks them up by. Lookups make no strings: an event costs a map access and a few comparisons. */
export class SaTable {
  readonly #records = new Set<SaRecord>();
  readonly #bySpi = new Map<number, SaRecord>();
  readonly #byHandle = new Map<number, SaRecord>();

  get size(): number {
    return this.#records.size;
  }

  [Symbol.iterator](): SetIterator<SaRecord> {
    return this.#records.values();
  }

  has(record: SaRecord): boolean {
    return this.#records.has(record);
  }

  byHandle(handle: number): SaRecord | undefined {
    return this.#byHandle.get(handle);
  }

  /** From now on `handle` means this record, whatever it meant before. */
  rename(record: SaRecord, handle: number): void {
    if (this.#byHandle.get(record.handle) === record) this.#byHandle.delete(record.handle);
    record.handle = handle;
    this.#byHandle.set(handle, record);
  }

  /** Handles given so far mean nothing any more: another node, or another life of it, gives them out anew. */
  forgetHandles(): void {
    this.#byHandle.clear();
  }

  find(id: SaId): SaRecord | undefined {
    const mark = id.mark?.value ?? 0;
    const mask = id.mark?.mask ?? 0;
    for (let r = this.#bySpi.get(id.spi); r !== undefined; r = r.next) {
      if (sameId(r.id, id.proto, id.family, mark, mask) && sameAddress(r.id.daddr, id.daddr, id.family)) return r;
    }
    return undefined;
  }

  findAevent(cursor: Aevents): SaRecord | undefined {
    for (let r = this.#bySpi.get(cursor.spi); r !== undefined; r = r.next) {
      const { daddr } = r.id;
      if (
        sameId(r.id, cursor.proto, cursor.family, cursor.markValue, cursor.markMask) &&
        daddr.w0 === cursor.daddr0 &&
        (cursor.family === AddressFamily.INET ||
          (daddr.w1 === cursor.daddr1 && daddr.w2 === cursor.daddr2 && daddr.w3 === cursor.daddr3))
      ) {
        return r;
      }
    }
    return undefined;
  }

  add(record: SaRecord): void {
    this.#records.add(record);
    record.next = this.#bySpi.get(record.id.spi);
    this.#bySpi.set(record.id.spi, record);
    this.#byHandle.set(record.handle, record);
  }

  remove(record: SaRecord): void {
    if (!this.#records.delete(record)) return;
    if (this.#byHandle.get(record.handle) === record) this.#byHandle.delete(record.handle);
    const { spi } = record.id;
    const first = this.#bySpi.get(spi);
    if (first === record) {
      if (record.next === undefined) this.#bySpi.delete(spi);
      else this.#bySpi.set(spi, record.next);
      return;
    }
    for (let r = first; r !== undefined; r = r.next) if (r.next === record) r.next = record.next;
  }
}

function sameId(id: SaId, proto: number, family: number, mark: number, mask: number): boolean {
  return id.proto === proto && id.family === family && (id.mark?.value ?? 0) === mark && (id.mark?.mask ?? 0) === mask;
}
