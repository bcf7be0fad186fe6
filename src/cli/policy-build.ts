import { InvalidArgumentError } from 'commander';
import type { Policy, PolicyId } from '../client/index.ts';
import {
  AddressFamily,
  IpProto,
  type Mark,
  PolicyAction,
  PolicyType,
  Share,
  type UserTmpl,
  XfrmMode,
} from '../xfrm/index.ts';
import { usageError } from './failure.ts';
import { limitsFrom } from './lifetime-options.ts';
import { host, type Prefix, proto, selectorOf, u32, word } from './values.ts';

/** What names a policy: direction and selector, or direction and index. */
export interface PolicyIdWords {
  readonly dir?: number;
  readonly src?: Prefix;
  readonly dst?: Prefix;
  readonly proto?: number;
  readonly sport?: number;
  readonly dport?: number;
  readonly index?: number;
  readonly type?: number;
  readonly mark?: Mark;
  readonly ifId?: number;
}

export interface PolicyWords extends PolicyIdWords {
  readonly priority?: number;
  readonly action?: number;
  readonly flags?: number;
  readonly tmpl?: UserTmpl[];
}

/** Templates of one policy (XFRM_MAX_DEPTH). */
const TEMPLATES_MAX = 6;
const ALL_ALGORITHMS = 0xffff_ffff;

export function buildPolicy(words: PolicyWords): Policy {
  const { dir, tmpl = [], type, mark, ifId } = words;
  if (dir === undefined || !words.src || !words.dst)
    throw usageError('--dir, --src and --dst are needed (or --from FILE)');
  if (tmpl.length > TEMPLATES_MAX) throw usageError(`at most ${TEMPLATES_MAX} templates are possible`);
  const sel = selectorOf(words);
  return {
    body: {
      sel,
      lft: limitsFrom(words as unknown as Record<string, unknown>),
      curlft: { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n },
      priority: words.priority ?? 0,
      index: words.index ?? 0,
      dir,
      action: words.action ?? PolicyAction.ALLOW,
      flags: words.flags ?? 0,
      share: Share.ANY,
    },
    attributes: {
      ...(tmpl.length > 0 && { tmpl: tmpl.map((one) => ({ ...one, family: one.family || sel.family })) }),
      ...(type !== undefined && { policyType: { type, reserved1: 0, reserved2: 0 } }),
      ...(mark && { mark }),
      ...(ifId !== undefined && { ifId }),
    },
  };
}

/** The kernel stores `value & mask` and compares literally (xfrm_policy.c): the request must carry the masked value. */
export function policyIdFrom(words: PolicyIdWords): PolicyId {
  const { dir, src, dst, index, type, mark, ifId } = words;
  if (dir === undefined) throw usageError('--dir is needed');
  if (index === undefined && (!src || !dst)) throw usageError('--index, or --src and --dst, are needed');
  if (index === 0) throw usageError('--index 0 names no policy');
  return {
    dir,
    ...(index === undefined ? { sel: selectorOf(words) } : { index }),
    ...(type !== undefined && { type }),
    ...(mark && { mark: { value: (mark.value & mark.mask) >>> 0, mask: mark.mask } }),
    ...(ifId !== undefined && { ifId }),
  };
}

const mode = word(XfrmMode, 0xff);
const share = word(Share, 0xff);

/** `src=A,dst=B,proto=esp,mode=tunnel,reqid=N[,spi=][,share=][,optional]` */
export function template(text: string): UserTmpl {
  const parts = new Map<string, string>();
  for (const part of text.split(',')) {
    const [name = '', value = '', more] = part.trim().split('=');
    if (
      !templateWords.includes(name) ||
      more !== undefined ||
      parts.has(name) ||
      (name === 'optional') !== (value === '')
    )
      throw new InvalidArgumentError(`'${part.trim()}' is not one of ${templateWords.join(', ')}.`);
    parts.set(name, value);
  }
  const read = <T>(name: string, reader: (text: string) => T): T | undefined => {
    const value = parts.get(name);
    return value === undefined ? undefined : reader(value);
  };
  const src = read('src', host);
  const dst = read('dst', host);
  if (src && dst && src.family !== dst.family)
    throw new InvalidArgumentError('src and dst are of different address families.');
  const any = { w0: 0, w1: 0, w2: 0, w3: 0 };
  return {
    id: { daddr: dst?.address ?? any, spi: read('spi', u32) ?? 0, proto: read('proto', proto) ?? IpProto.ESP },
    family: src?.family ?? dst?.family ?? AddressFamily.UNSPEC,
    saddr: src?.address ?? any,
    reqid: read('reqid', u32) ?? 0,
    mode: read('mode', mode) ?? XfrmMode.TRANSPORT,
    share: read('share', share) ?? Share.ANY,
    optional: parts.has('optional') ? 1 : 0,
    aalgos: ALL_ALGORITHMS,
    ealgos: ALL_ALGORITHMS,
    calgos: ALL_ALGORITHMS,
  };
}

const templateWords = ['src', 'dst', 'proto', 'mode', 'reqid', 'spi', 'share', 'optional'];

export const policyType = word({ main: PolicyType.MAIN, sub: PolicyType.SUB }, 0xff);
