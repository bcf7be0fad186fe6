/** Bodies of SAs and policies with everything filled in that a test does not care about. */
import type { Policy, Sa } from 'xfrmsync';
import {
  type LifetimeCfg,
  parseAddress,
  type Selector,
  type UserpolicyInfo,
  type UsersaInfo,
  XFRM_INF,
} from 'xfrmsync/xfrm';

export function address(text: string): UsersaInfo['saddr'] {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  return parsed.address;
}

export const INET = 2;
export const INET6 = 10;
export const ESP = 50;
export const familyOf = (text: string): number => (text.includes(':') ? INET6 : INET);

export const noLimits: LifetimeCfg = {
  softByteLimit: XFRM_INF,
  hardByteLimit: XFRM_INF,
  softPacketLimit: XFRM_INF,
  hardPacketLimit: XFRM_INF,
  softAddExpiresSeconds: 0n,
  hardAddExpiresSeconds: 0n,
  softUseExpiresSeconds: 0n,
  hardUseExpiresSeconds: 0n,
};

const unused = { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n };

/** From `saddr` to `daddr`, both with their prefix. */
export function selector(saddr: string, daddr: string): Selector {
  const [from = '', fromBits] = saddr.split('/');
  const [to = '', toBits] = daddr.split('/');
  const family = familyOf(from);
  const whole = family === INET ? 32 : 128;
  return {
    saddr: address(from),
    daddr: address(to),
    prefixlenS: Number(fromBits ?? whole),
    prefixlenD: Number(toBits ?? whole),
    family,
    dport: 0,
    dportMask: 0,
    sport: 0,
    sportMask: 0,
    proto: 0,
    ifindex: 0,
    user: 0,
  };
}

export interface SaBasics {
  saddr: string;
  daddr: string;
  spi: number;
}

export function saBody({ saddr, daddr, spi }: SaBasics, more: Partial<UsersaInfo> = {}): Sa['body'] {
  const family = familyOf(daddr);
  return {
    sel: { ...selector(family === INET ? '0.0.0.0/0' : '::/0', family === INET ? '0.0.0.0/0' : '::/0') },
    id: { daddr: address(daddr), spi, proto: ESP },
    saddr: address(saddr),
    lft: noLimits,
    curlft: unused,
    stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
    seq: 0,
    reqid: 0,
    family,
    mode: 0,
    replayWindow: 0,
    flags: 0,
    ...more,
  };
}

export function policyBody(sel: Selector, dir: number, more: Partial<UserpolicyInfo> = {}): Policy['body'] {
  return {
    sel,
    lft: noLimits,
    curlft: unused,
    priority: 100,
    index: 0,
    dir,
    action: 0,
    flags: 0,
    share: 0,
    ...more,
  };
}
