import { PfkeyExt, PfkeyMsg } from '../../../pfkey/index.ts';
import { filterMatches } from '../dump.ts';
import { Errno } from '../errno.ts';
import { protoMatches } from '../proto.ts';
import type { SadCursor } from '../sad.ts';
import type { SpdCursor } from '../spd.ts';
import { Filter, protoOf } from './layout.ts';
import type { PfkeyRequest } from './request.ts';
import { writePolicyMessage } from './write-policy.ts';
import { writeSaMessage } from './write-sa.ts';

/** DUMP and X_SPDDUMP: a message for each SA or policy, as far as the reader has room (af_key.c: pfkey_do_dump, dump_sa, dump_sp). */

/** Bits of an address. */
const PREFIX_MAX = 128;
const MAIN = 0;

/** What a dump has to say next: an errno ends it, 0 is the end of a dump that has said something. */
export interface PfkeyDump {
  /** Writes the next message, with this number. Undefined: it did. Else the errno with which the dump ends, 0 where all is told. */
  next(seq: number): number | undefined;
  /** Lets go of what it holds. */
  end(): void;
}

/** A dump of SAs, or the errno. */
export function dumpSas(r: PfkeyRequest): PfkeyDump | number {
  const { ns, pid } = r;
  const proto = protoOf(r.satype);
  if (proto === 0) return Errno.EINVAL;
  const filterAt = r.at(PfkeyExt.filter);
  let filter: Uint8Array | undefined;
  if (filterAt >= 0) {
    if (Math.max(r.u8(filterAt + Filter.SPLEN), r.u8(filterAt + Filter.DPLEN)) > PREFIX_MAX) return Errno.EINVAL;
    filter = r.bytes.slice(filterAt + Filter.SADDR, filterAt + Filter.DPLEN + 1);
  }
  const { sad } = ns;
  const cursor: SadCursor = { next: sad.newest() };
  sad.cursors.add(cursor);
  return {
    next(seq) {
      for (; cursor.next >= 0; cursor.next = sad.older(cursor.next)) {
        const slot = cursor.next;
        if (!protoMatches(sad.proto(slot), proto)) continue;
        if (filter !== undefined && !filterMatches(ns, slot, filter)) continue;
        if (!writeSaMessage(ns, slot, PfkeyMsg.DUMP, seq, pid)) return Errno.EINVAL;
        cursor.next = sad.older(slot);
        return undefined;
      }
      return seq === 1 ? Errno.ENOENT : 0;
    },
    end: () => void sad.cursors.delete(cursor),
  };
}

/** A dump of policies. */
export function dumpPolicies({ ns, pid }: PfkeyRequest): PfkeyDump {
  const { spd } = ns;
  const cursor: SpdCursor = { next: spd.newest };
  spd.cursors.add(cursor);
  return {
    next(seq) {
      for (let policy = cursor.next; policy !== undefined; policy = cursor.next) {
        if (policy.type === MAIN) {
          if (!writePolicyMessage(ns, policy, PfkeyMsg.X_SPDDUMP, seq, pid, { others: 0 })) return Errno.EINVAL;
          cursor.next = policy.older;
          return undefined;
        }
        cursor.next = policy.older;
      }
      return seq === 1 ? Errno.ENOENT : 0;
    },
    end: () => void spd.cursors.delete(cursor),
  };
}
