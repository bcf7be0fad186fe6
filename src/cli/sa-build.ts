import type { Sa } from '../client/index.ts';
import {
  type Address,
  EncapType,
  ESN_BMP_LEN_MAX,
  IpProto,
  type Mark,
  SaFlag,
  type Selector,
  type XfrmAttributes,
  XfrmMode,
} from '../xfrm/index.ts';
import { isNullCipher, keyFault } from './algorithms.ts';
import { usageError } from './failure.ts';
import { limitsFrom } from './lifetime-options.ts';
import { type Host, host, keyBytes, selectorOf, u16, word } from './values.ts';

/** What `sa add` and `sa update` say about an SA. */
export interface SaWords {
  readonly src?: Host;
  readonly dst?: Host;
  readonly spi?: number;
  readonly proto?: number;
  readonly mode?: number;
  readonly reqid?: number;
  readonly aead?: string;
  /** Keys stay text until here: commander quotes the argument of an option that it cannot read. */
  readonly key?: string;
  readonly keyFile?: string;
  readonly icv?: number;
  readonly enc?: string[];
  readonly auth?: string[];
  readonly trunc?: number;
  readonly comp?: string;
  readonly replayWindow?: number;
  readonly esn?: boolean;
  readonly bitmap?: number[];
  readonly oseq?: bigint;
  readonly seq?: bigint;
  readonly encap?: NonNullable<XfrmAttributes['encap']>;
  readonly mark?: Mark;
  readonly setMark?: Mark;
  readonly ifId?: number;
  readonly sel?: Selector;
  readonly flags?: number;
  readonly extraFlags?: number;
  readonly dir?: number;
  readonly tfcPad?: number;
  readonly thresholdPackets?: number;
  readonly thresholdTimerJiffies?: number;
}

export const REPLAY_WINDOW_DEFAULT = 32;
const LEGACY_WINDOW_MAX = 32;
const WINDOW_MAX = ESN_BMP_LEN_MAX * 32;
const U32_MAX = 0xffff_ffffn;
const ICV_DEFAULT = 128;

/** The SA that the words describe. @throws CliError saying which word does not do */
export function buildSa(given: SaWords): Sa {
  // `--flags esn` says the same as --esn, and needs the same window.
  const words = ((given.flags ?? 0) & SaFlag.ESN) === 0 ? given : { ...given, esn: true };
  const { src, dst, spi } = words;
  if (!src || !dst || spi === undefined) throw usageError('--src, --dst and --spi are needed (or --from FILE)');
  if (src.family !== dst.family)
    throw usageError(`--src ${src.text} and --dst ${dst.text} are of different address families`);
  const mode = words.mode ?? XfrmMode.TRANSPORT;
  const replay = replayOf(words);
  return {
    body: {
      sel: words.sel ?? selectorOf({ family: mode === XfrmMode.TUNNEL ? 0 : src.family }),
      id: { daddr: dst.address, spi, proto: words.proto ?? IpProto.ESP },
      saddr: src.address,
      lft: limitsFrom(words as unknown as Record<string, unknown>),
      curlft: { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n },
      stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
      seq: 0,
      reqid: words.reqid ?? 0,
      family: src.family,
      mode,
      replayWindow: replay.legacyWindow,
      flags: (words.flags ?? 0) | (words.esn ? SaFlag.ESN : 0),
    },
    attributes: { ...algorithmsOf(words), ...replay.attributes, ...othersOf(words) },
  };
}

export function othersOf(words: SaWords): XfrmAttributes {
  const { encap, mark, setMark, ifId, extraFlags, dir, tfcPad, thresholdPackets, thresholdTimerJiffies } = words;
  return {
    ...(encap && { encap }),
    ...(mark && { mark }),
    ...(setMark && { setMark: setMark.value, setMarkMask: setMark.mask }),
    ...(ifId !== undefined && { ifId }),
    ...(extraFlags !== undefined && { saExtraFlags: extraFlags }),
    ...(dir !== undefined && { saDir: dir }),
    ...(tfcPad !== undefined && { tfcpad: tfcPad }),
    ...(thresholdPackets !== undefined && { replayThresh: thresholdPackets }),
    ...(thresholdTimerJiffies !== undefined && { etimerThresh: thresholdTimerJiffies }),
  };
}

function algorithmsOf(words: SaWords): XfrmAttributes {
  const { aead, enc, auth, comp, key, keyFile, icv, trunc } = words;
  if ([aead, enc ?? auth, comp].filter((one) => one !== undefined).length > 1)
    throw usageError('--aead, --enc/--auth and --comp exclude each other');
  if (aead === undefined && (key ?? keyFile ?? icv) !== undefined)
    throw usageError(
      '--key, --key-file and --icv belong to --aead; --enc and --auth take their key as their second word',
    );
  if (auth === undefined && trunc !== undefined) throw usageError('--trunc belongs to --auth');
  if (aead !== undefined) {
    if (key !== undefined && keyFile !== undefined) throw usageError('--key and --key-file exclude each other');
    const text = key ?? (keyFile === undefined ? undefined : `@${keyFile}`);
    if (text === undefined) throw usageError('--aead needs --key or --key-file');
    const bytes = keyOf(keyFile === undefined ? '--key' : '--key-file', aead, text);
    return { algAead: { name: aead, keyLen: bytes.length * 8, icvLen: icv ?? ICV_DEFAULT, key: bytes } };
  }
  if (comp !== undefined) return { algComp: { name: comp, keyLen: 0, key: new Uint8Array() } };
  const a = auth && nameAndKey('--auth', auth);
  const e = enc && nameAndKey('--enc', enc);
  if (!a && !e) throw usageError('an algorithm is needed: --aead, --enc and --auth, or --comp');
  return {
    ...(a && (trunc === undefined ? { algAuth: a } : { algAuthTrunc: { ...a, truncLen: trunc } })),
    ...(e && { algCrypt: e }),
  };
}

function nameAndKey(
  option: string,
  [name = '', text, more]: readonly string[],
): { name: string; keyLen: number; key: Uint8Array } {
  if (more !== undefined || (text === undefined && !isNullCipher(name)))
    throw usageError(`${option} takes two words: the algorithm's name and its key`);
  const bytes = keyOf(option, name, text ?? '');
  return { name, keyLen: bytes.length * 8, key: bytes };
}

function keyOf(option: string, name: string, text: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = keyBytes(text);
  } catch (error) {
    throw usageError(`the key of ${option}: ${(error as Error).message}`);
  }
  const fault = keyFault(name, bytes.length);
  if (fault) throw usageError(`${option}: ${fault}`);
  return bytes;
}

interface Replay {
  readonly legacyWindow: number;
  readonly attributes: XfrmAttributes;
}

/** xfrm_replay_state holds a window of 32; more than that, or ESN, is xfrm_replay_state_esn (xfrm_user.c:verify_replay). */
function replayOf(words: SaWords): Replay {
  const window = words.replayWindow ?? REPLAY_WINDOW_DEFAULT;
  const oseq = words.oseq ?? 0n;
  const seq = words.seq ?? 0n;
  const { bitmap } = words;
  if (window > WINDOW_MAX)
    throw usageError(`--replay-window ${window}: the kernel keeps at most ${WINDOW_MAX} packets`);
  if (words.esn && window === 0)
    throw usageError(
      '--esn needs a window: without one the upper half of the sequence number cannot be told (--replay-window 32)',
    );
  if (!words.esn && (oseq > U32_MAX || seq > U32_MAX)) throw usageError('sequence numbers above 4294967295 need --esn');
  if (!words.esn && window <= LEGACY_WINDOW_MAX) {
    if (bitmap && bitmap.length !== 1) throw usageError(bitmapFault(bitmap.length, 1));
    const counters = words.oseq !== undefined || words.seq !== undefined || bitmap !== undefined;
    const replayVal = { oseq: Number(oseq), seq: Number(seq), bitmap: bitmap?.[0] ?? 0 };
    return { legacyWindow: window, attributes: counters ? { replayVal } : {} };
  }
  const proto = words.proto ?? IpProto.ESP;
  if (proto !== IpProto.ESP && proto !== IpProto.AH) throw usageError('--esn and windows above 32 are for ESP and AH');
  const bmpLen = Math.ceil(window / 32);
  if (bitmap && bitmap.length !== bmpLen) throw usageError(bitmapFault(bitmap.length, bmpLen));
  const replayEsnVal = {
    bmpLen,
    oseq: Number(oseq & U32_MAX),
    seq: Number(seq & U32_MAX),
    oseqHi: Number(oseq >> 32n),
    seqHi: Number(seq >> 32n),
    replayWindow: window,
    bmp: bitmap ?? new Array<number>(bmpLen).fill(0),
  };
  return { legacyWindow: 0, attributes: { replayEsnVal } };
}

export const bitmapFault = (given: number, wanted: number): string =>
  `--bitmap has ${given} words of 8 digits, this window has ${wanted}`;

const encapType = word(EncapType, 0xffff);
const unspecified: Address = { w0: 0, w1: 0, w2: 0, w3: 0 };

/** `espinudp:4500:4500[:ADDRESS]`; the address may be IPv6. */
export function encap(text: string): NonNullable<XfrmAttributes['encap']> {
  const [type = '', sport = '', dport = '', ...original] = text.split(':');
  const oa = original.length === 0 ? unspecified : host(original.join(':')).address;
  return { type: encapType(type.replaceAll('-', '_')), sport: u16(sport), dport: u16(dport), oa };
}
