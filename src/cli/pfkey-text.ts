import {
  AuthAlg,
  CompAlg,
  EncryptAlg,
  formatSockaddr,
  formatSpi,
  IpsecMode,
  type PfkeyExtension,
  type PfkeyMessage,
  PfkeyReplayMode,
  PfkeySaFlag,
  SaState,
  SaType,
} from '../pfkey/index.ts';
import { XFRM_INF } from '../xfrm/index.ts';
import { lifetimeText } from './lifetime-options.ts';
import { paint } from './output.ts';
import { bitsText, block, wordOf } from './text.ts';

type Sa = Pick<PfkeyMessage, 'satype' | 'extensions'>;
type Lifetime = PfkeyExtension<'lifetimeCurrent'>;

const unlimited: Lifetime = { allocations: 0, bytes: 0n, addtime: 0n, usetime: 0n };

/** An SA as PF_KEY tells of it, for people, in the form of `saText`. Keys are shown as their length unless `showKeys` is set. */
export function pfkeySaText({ satype, extensions: e }: Sa, { showKeys = false }: { showKeys?: boolean } = {}): string {
  const { sa, sa2, addressSrc, addressDst, addressProxy } = e;
  const host = (address: typeof addressSrc): string => (address ? formatSockaddr(address.sockaddr) : '?');
  const state = sa === undefined || sa.state === SaState.MATURE ? '' : `  ${wordOf(SaState, sa.state)}`;
  const heading =
    paint('strong', `${host(addressSrc)} -> ${host(addressDst)}`) +
    `  ${wordOf(SaType, satype)} ${paint('strong', formatSpi(sa?.spi ?? 0))}` +
    `${sa2 ? `  ${wordOf(IpsecMode, sa2.mode)}  reqid ${sa2.reqid}` : ''}${state}`;
  const key = (extension: PfkeyExtension<'keyAuth'> | undefined): string => {
    if (extension === undefined) return 'no key';
    return showKeys ? `key 0x${Buffer.from(extension.key).toString('hex')}` : `key ${extension.bits} bits`;
  };
  const encrypted = satype === SaType.IPCOMP ? undefined : sa?.encrypt;
  const [used, times] = lifetimesText(e);
  return block(heading, [
    ['enc', encrypted ? `${wordOf(EncryptAlg, encrypted)}, ${key(e.keyEncrypt)}` : undefined],
    ['auth', sa?.auth ? `${wordOf(AuthAlg, sa.auth)}, ${key(e.keyAuth)}` : undefined],
    ['comp', satype === SaType.IPCOMP && sa ? wordOf(CompAlg, sa.encrypt) : undefined],
    ['window', sa?.replay ? String(sa.replay) : undefined],
    ['replay', e.replayState && stateText(e.replayState)],
    ['notify', e.replayThreshold && thresholdText(e.replayThreshold)],
    ['used', used],
    ['time', times],
    ['encap', e.natTType && `type ${e.natTType.type} ${e.natTSport?.port ?? 0} -> ${e.natTDport?.port ?? 0}`],
    [
      'selector',
      addressProxy && isNarrow(addressProxy) ? `${host(addressProxy)}/${addressProxy.prefixlen}` : undefined,
    ],
    ['flags', bitsText(PfkeySaFlag, sa?.flags ?? 0)],
  ]);
}

const isNarrow = ({ prefixlen }: PfkeyExtension<'addressProxy'>): boolean => prefixlen !== 0;

/** In PF_KEY the absence of a limit is 0. */
function lifetimesText({ lifetimeCurrent, lifetimeSoft, lifetimeHard }: Sa['extensions']): (string | undefined)[] {
  if (lifetimeCurrent === undefined) return [];
  const [soft, hard] = [lifetimeSoft ?? unlimited, lifetimeHard ?? unlimited];
  const limit = (value: bigint | number): bigint => BigInt(value) || XFRM_INF;
  return lifetimeText(
    {
      bytes: lifetimeCurrent.bytes,
      packets: BigInt(lifetimeCurrent.allocations),
      addTime: lifetimeCurrent.addtime,
      useTime: lifetimeCurrent.usetime,
    },
    {
      softByteLimit: limit(soft.bytes),
      hardByteLimit: limit(hard.bytes),
      softPacketLimit: limit(soft.allocations),
      hardPacketLimit: limit(hard.allocations),
      softAddExpiresSeconds: soft.addtime,
      hardAddExpiresSeconds: hard.addtime,
      softUseExpiresSeconds: soft.usetime,
      hardUseExpiresSeconds: hard.usetime,
    },
  );
}

const stateText = ({ mode, window, oseq, seq }: PfkeyExtension<'replayState'>): string =>
  `${wordOf(PfkeyReplayMode, mode)} window ${window}, oseq ${oseq}, seq ${seq}`;

const thresholdText = ({ packets, milliseconds }: PfkeyExtension<'replayThreshold'>): string =>
  `${packets === 0 ? 'never by' : `every ${packets}`} packets, ${milliseconds === 0 ? 'no timer' : `${milliseconds} ms`}`;
