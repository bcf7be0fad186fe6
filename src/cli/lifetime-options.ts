import type { Command } from 'commander';
import { type LifetimeCfg, type LifetimeCur, XFRM_INF } from '../xfrm/index.ts';
import { u64 } from './values.ts';

/** The eight limits of xfrm_lifetime_cfg: their option and, where 0 stands for none, their unit in time. */
const limits = [
  { field: 'softByteLimit', option: 'soft-bytes', text: 'bytes after which the key manager is told', none: XFRM_INF },
  { field: 'hardByteLimit', option: 'hard-bytes', text: 'bytes after which it ends', none: XFRM_INF },
  {
    field: 'softPacketLimit',
    option: 'soft-packets',
    text: 'packets after which the key manager is told',
    none: XFRM_INF,
  },
  { field: 'hardPacketLimit', option: 'hard-packets', text: 'packets after which it ends', none: XFRM_INF },
  {
    field: 'softAddExpiresSeconds',
    option: 'soft-add-seconds',
    text: 'the same in seconds since it was added',
    none: 0n,
  },
  {
    field: 'hardAddExpiresSeconds',
    option: 'hard-add-seconds',
    text: 'the end, in seconds since it was added',
    none: 0n,
  },
  {
    field: 'softUseExpiresSeconds',
    option: 'soft-use-seconds',
    text: 'the same in seconds since its first use',
    none: 0n,
  },
  {
    field: 'hardUseExpiresSeconds',
    option: 'hard-use-seconds',
    text: 'the end, in seconds since its first use',
    none: 0n,
  },
] as const;

export type LimitOptions = Readonly<Record<string, unknown>>;

const property = (option: string): string => option.replace(/-(.)/g, (_, c: string) => c.toUpperCase());

export function withLimitOptions(command: Command): Command {
  for (const { option, text } of limits) command.option(`--${option} <n>`, text, u64);
  return command;
}

/** `base` with the limits that were given. */
export function limitsFrom(options: LimitOptions, base?: LifetimeCfg): LifetimeCfg {
  const entries = limits.map(({ field, option, none }) => [
    field,
    (options[property(option)] as bigint | undefined) ?? base?.[field] ?? none,
  ]);
  return Object.fromEntries(entries) as LifetimeCfg;
}

/** What was used and what is left to use; for people. */
export function lifetimeText(used: LifetimeCur, limit: LifetimeCfg): string[] {
  const of = (soft: bigint, hard: bigint, none: bigint, unit = ''): string => {
    const parts = [soft === none ? '' : `soft ${soft}${unit}`, hard === none ? '' : `hard ${hard}${unit}`];
    const text = parts.filter((part) => part !== '').join(', ');
    return text === '' ? '' : ` (${text})`;
  };
  const lines = [
    `${used.bytes} bytes${of(limit.softByteLimit, limit.hardByteLimit, XFRM_INF)}, ` +
      `${used.packets} packets${of(limit.softPacketLimit, limit.hardPacketLimit, XFRM_INF)}`,
    `added ${moment(used.addTime)}${of(limit.softAddExpiresSeconds, limit.hardAddExpiresSeconds, 0n, ' s')}, ` +
      `first used ${moment(used.useTime)}${of(limit.softUseExpiresSeconds, limit.hardUseExpiresSeconds, 0n, ' s')}`,
  ];
  return lines;
}

/** The latest moment that a JavaScript Date can hold, in seconds. */
const DATE_SECONDS_MAX = 8_640_000_000_000n;

export function moment(seconds: bigint): string {
  if (seconds === 0n) return 'never';
  if (seconds > DATE_SECONDS_MAX) return `${seconds} s`;
  return new Date(Number(seconds) * 1000).toISOString().replace('.000Z', 'Z');
}
