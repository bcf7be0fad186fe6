import { hostLittleEndian } from '../../netlink/index.ts';
import { Errno } from './errno.ts';

/** Reading the attributes of a request as the kernel does (lib/nlattr.c, liberal), without copying them. */

const little = hostLittleEndian;
const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;
/** One more than the highest type of any release. */
const TYPES = 48;

/** NL_ATTR_TYPE_* of the scalars: how an extended acknowledgement describes what would have been taken. */
export const ScalarType = { FLAG: 1, U8: 2, U16: 3, U32: 4, U64: 5 } as const;

interface Rule {
  /** Shorter payloads are refused. */
  readonly min: number;
  readonly scalar?: number;
  /** Smallest and largest value that is taken; the whole range of the type if absent. */
  readonly range?: readonly [bigint, bigint];
}

const u8: Rule = { min: 1, scalar: ScalarType.U8 };
const u16: Rule = { min: 2, scalar: ScalarType.U16 };
const u32: Rule = { min: 4, scalar: ScalarType.U32 };
const u64: Rule = { min: 8, scalar: ScalarType.U64 };
const none: Rule = { min: 0 };
const atLeast = (min: number): Rule => ({ min });

const SCALAR_MAX: Readonly<Record<number, bigint>> = {
  [ScalarType.U8]: 0xffn,
  [ScalarType.U16]: 0xffffn,
  [ScalarType.U32]: 0xffff_ffffn,
  [ScalarType.U64]: 0xffff_ffff_ffff_ffffn,
};

/** XFRMA_* by number: the rule of the parser (xfrm_user.c:xfrma_policy). */
export const xfrmaRules: readonly Rule[] = [
  none, // UNSPEC
  atLeast(68), // ALG_AUTH
  atLeast(68), // ALG_CRYPT
  atLeast(68), // ALG_COMP
  atLeast(24), // ENCAP
  atLeast(64), // TMPL
  atLeast(224), // SA
  atLeast(168), // POLICY
  atLeast(8), // SEC_CTX
  atLeast(32), // LTIME_VAL
  atLeast(12), // REPLAY_VAL
  u32, // REPLAY_THRESH
  u32, // ETIMER_THRESH
  atLeast(16), // SRCADDR
  atLeast(16), // COADDR
  u64, // LASTUSED
  atLeast(6), // POLICY_TYPE
  atLeast(76), // MIGRATE
  atLeast(72), // ALG_AEAD
  atLeast(40), // KMADDRESS
  atLeast(72), // ALG_AUTH_TRUNC
  atLeast(8), // MARK
  u32, // TFCPAD
  atLeast(24), // REPLAY_ESN_VAL
  u32, // SA_EXTRA_FLAGS
  u8, // PROTO
  atLeast(36), // ADDRESS_FILTER
  none, // PAD
  atLeast(8), // OFFLOAD_DEV
  u32, // SET_MARK
  u32, // SET_MARK_MASK
  u32, // IF_ID
  u32, // MTIMER_THRESH
  { ...u8, range: [1n, 2n] }, // SA_DIR
  u32, // NAT_KEEPALIVE_INTERVAL
  u32, // SA_PCPU
  u32, // IPTFS_DROP_TIME
  u16, // IPTFS_REORDER_WINDOW
  { min: 0, scalar: ScalarType.FLAG }, // IPTFS_DONT_FRAG
  u32, // IPTFS_INIT_DELAY
  u32, // IPTFS_MAX_QSIZE
  u32, // IPTFS_PKT_SIZE
];
/** From this type on, lengths must be exact. */
const STRICT_FROM = 33;

/** XFRMA_SPD_* of NEWSPDINFO: an attribute is a pair of prefix lengths. */
export const spdRules: readonly Rule[] = [none, none, none, atLeast(2), atLeast(2)];

/** What an extended acknowledgement says beyond the errno. */
export interface Extack {
  message: string | undefined;
  /** Offset of the attribute concerned from the start of the request; -1: none. */
  offset: number;
  /** What the attribute would have taken. */
  expected: { readonly scalar: number; readonly min: bigint; readonly max: bigint } | undefined;
}

export const newExtack = (): Extack => ({ message: undefined, offset: -1, expected: undefined });

/** Where the payloads of a request's attributes are; reused from request to request. */
export class RequestAttributes {
  view: DataView = new DataView(new ArrayBuffer(0));
  bytes: Uint8Array = new Uint8Array(0);
  readonly #at = new Int32Array(TYPES);
  readonly #length = new Int32Array(TYPES);

  /**
   * Finds the attributes in [start, end). `origin` is where the request starts. Returns 0 or the errno; unknown types are skipped, the last
   * of several counts, what is no attribute ends the search with a warning.
   */
  parse(
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
    origin: number,
    rules: readonly Rule[],
    typeMax: number,
    extack: Extack,
  ): number {
    this.bytes = bytes;
    this.view = view;
    this.#at.fill(-1);
    let o = start;
    while (end - o >= NLA_HEADER) {
      const length = view.getUint16(o, little);
      if (length < NLA_HEADER || length > end - o) break;
      const type = view.getUint16(o + 2, little) & NLA_TYPE_MASK;
      if (type > 0 && type <= typeMax) {
        const rule = rules[type] as Rule;
        const size = length - NLA_HEADER;
        const wrong = faultOf(rule, type, size, view, o + NLA_HEADER, rules === xfrmaRules);
        if (wrong !== undefined) {
          extack.message = wrong.message;
          extack.offset = o - origin;
          extack.expected = expectedBy(rule);
          return wrong.errno;
        }
        this.#at[type] = o + NLA_HEADER;
        this.#length[type] = size;
      }
      o += (length + 3) & ~3;
    }
    if (o < end) extack.message = 'bytes leftover after parsing attributes';
    return 0;
  }

  /** For requests whose attributes nobody looks at. */
  clear(): void {
    this.#at.fill(-1);
  }

  has(type: number): boolean {
    return (this.#at[type] as number) >= 0;
  }

  /** Where the payload starts in `bytes`; -1 if the attribute is not there. */
  at(type: number): number {
    return this.#at[type] as number;
  }

  length(type: number): number {
    return this.#length[type] as number;
  }

  u32(type: number, otherwise = 0): number {
    const at = this.at(type);
    return at < 0 ? otherwise : this.view.getUint32(at, little);
  }

  u8(type: number, otherwise = 0): number {
    const at = this.at(type);
    return at < 0 ? otherwise : this.view.getUint8(at);
  }

  /** The payload, still in the request's memory. */
  payload(type: number): Uint8Array {
    const at = this.at(type);
    return this.bytes.subarray(at, at + this.length(type));
  }
}

interface Fault {
  readonly errno: number;
  readonly message: string;
}

const tooShort: Fault = { errno: Errno.ERANGE, message: 'Attribute failed policy validation' };
const wrongLength: Fault = { errno: Errno.EINVAL, message: 'invalid attribute length' };
const outOfRange: Fault = { errno: Errno.ERANGE, message: 'integer out of range' };

function faultOf(
  rule: Rule,
  type: number,
  size: number,
  view: DataView,
  at: number,
  mayBeStrict: boolean,
): Fault | undefined {
  if (mayBeStrict && type >= STRICT_FROM && size !== rule.min) return wrongLength;
  if (size < rule.min) return tooShort;
  if (rule.range === undefined) return undefined;
  const value = BigInt(rule.min === 1 ? view.getUint8(at) : view.getUint32(at, little));
  return value < rule.range[0] || value > rule.range[1] ? outOfRange : undefined;
}

function expectedBy({ scalar, range }: Rule): Extack['expected'] {
  const max = scalar === undefined ? undefined : SCALAR_MAX[scalar];
  if (scalar === undefined || max === undefined) return undefined;
  return { scalar, min: range?.[0] ?? 0n, max: range?.[1] ?? max };
}
