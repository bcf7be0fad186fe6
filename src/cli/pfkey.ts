import { Option } from 'commander';
import { PfkeyClient } from '../client/index.ts';
import { type PfkeyKind, type PfkeyMessage, pfkeyToJson, SaType } from '../pfkey/index.ts';
import { type Address, AddressFamily, IpProto, XfrmGroup } from '../xfrm/index.ts';
import { type KernelOptions, kernelOf } from './connect.ts';
import { doing, usageError } from './failure.ts';
import { print, printJson } from './output.ts';
import { pfkeySaText } from './pfkey-text.ts';
import type { Prefix } from './values.ts';

/** What commands do when they are told to reach the kernel by PF_KEY. */

export type Via = 'netlink' | 'pfkey';

export const viaOption = (what = 'how to reach the kernel'): Option =>
  new Option('--via <protocol>', what).choices(['netlink', 'pfkey']).default('netlink');

interface ListOptions extends KernelOptions {
  readonly proto?: number;
  readonly src?: Prefix;
  readonly dst?: Prefix;
  readonly spi?: number;
  readonly reqid?: number;
  readonly showKeys?: boolean;
}

const satypes: Readonly<Record<number, number>> = {
  [IpProto.ESP]: SaType.ESP,
  [IpProto.AH]: SaType.AH,
  [IpProto.COMP]: SaType.IPCOMP,
};

/** `sa list`, over PF_KEY. */
export async function listSasByPfkey(options: ListOptions): Promise<void> {
  const satype = options.proto === undefined ? SaType.UNSPEC : satypes[options.proto];
  if (satype === undefined) throw usageError('PF_KEY has SAs of esp, ah and comp alone: give one of them as --proto');
  await using client = await PfkeyClient.open(kernelOf(options));
  for (const sa of await doing('cannot list SAs', client.dump(satype))) {
    if (!isWanted(sa, options)) continue;
    if (options.json) await printJson(pfkeyToJson(sa, options));
    else await print(pfkeySaText(sa, options));
  }
}

function isWanted({ extensions: e }: PfkeyMessage<'DUMP'>, { src, dst, spi, reqid }: ListOptions): boolean {
  return (
    (spi ?? e.sa?.spi) === e.sa?.spi &&
    (reqid ?? e.sa2?.reqid) === e.sa2?.reqid &&
    (src === undefined || isWithin(e.addressSrc, src)) &&
    (dst === undefined || isWithin(e.addressDst, dst))
  );
}

function isWithin(extension: PfkeyMessage['extensions']['addressSrc'], { address, family, length }: Prefix): boolean {
  if (extension?.sockaddr.family !== family) return false;
  const [ours, theirs] = [bits(extension.sockaddr.address, family), bits(address, family)];
  return ours.slice(0, length) === theirs.slice(0, length);
}

function bits({ w0, w1, w2, w3 }: Address, family: number): string {
  const words = family === AddressFamily.INET ? [w0] : [w0, w1, w2, w3];
  return words.map((word) => word.toString(2).padStart(32, '0')).join('');
}

/** The netlink group whose events a message is the counterpart of; answers to other programs count as what they change. */
export function groupOf(kind: PfkeyKind | 'UNKNOWN'): number | undefined {
  if (kind === 'ACQUIRE' || kind === 'X_SPDACQUIRE') return XfrmGroup.ACQUIRE;
  if (kind === 'EXPIRE' || kind === 'X_SPDEXPIRE') return XfrmGroup.EXPIRE;
  if (kind === 'X_NAT_T_NEW_MAPPING') return XfrmGroup.MAPPING;
  if (kind === 'X_MIGRATE') return XfrmGroup.MIGRATE;
  if (kind.startsWith('X_REPLAY')) return XfrmGroup.AEVENTS;
  if (kind.startsWith('X_SPD')) return XfrmGroup.POLICY;
  return kind === 'UNKNOWN' ? undefined : XfrmGroup.SA;
}

/** Groups whose events only registered sockets get. */
const registered: readonly number[] = [XfrmGroup.ACQUIRE, XfrmGroup.EXPIRE, XfrmGroup.MAPPING, XfrmGroup.AEVENTS];

/** What to register for, to hear of these groups. One type of SA brings those of all. */
export const registrationFor = (groups: readonly number[]): number[] =>
  groups.some((group) => registered.includes(group)) ? [SaType.ESP] : [];
