import { Errno } from './errno.ts';

/** net.core.xfrm_*, for each namespace (xfrm_sysctl.c). */
export interface Sysctls {
  /** Units of 100 ms. */
  aeventEtime: number;
  /** Packets. */
  aeventRseqth: number;
  /** Seconds that a larval SA lives. */
  acqExpires: number;
  larvalDrop: number;
}

export const defaultSysctls = (): Sysctls => ({ aeventEtime: 10, aeventRseqth: 2, acqExpires: 30, larvalDrop: 1 });

const table: Readonly<Record<string, { readonly key: keyof Sysctls; readonly min: number; readonly max: number }>> = {
  'net.core.xfrm_aevent_etime': { key: 'aeventEtime', min: 0, max: 0xffff_ffff },
  'net.core.xfrm_aevent_rseqth': { key: 'aeventRseqth', min: 0, max: 0xffff_ffff },
  'net.core.xfrm_acq_expires': { key: 'acqExpires', min: -0x8000_0000, max: 0x7fff_ffff },
  'net.core.xfrm_larval_drop': { key: 'larvalDrop', min: -0x8000_0000, max: 0x7fff_ffff },
};

const FOLDER = '/proc/sys/';

/** By its dotted name, or by its file. */
const lookup = (name: string): (typeof table)[string] | undefined =>
  table[name.startsWith(FOLDER) ? name.slice(FOLDER.length).replaceAll('/', '.') : name];

/** Writes what a program would write to the file of that name; 0 or the errno. */
export function writeSysctl(sysctls: Sysctls, name: string, text: string): number {
  const found = lookup(name);
  if (found === undefined) return Errno.ENOENT;
  const value = Number(text.trim());
  if (!/^-?\d+$/.test(text.trim()) || value < found.min || value > found.max) return Errno.EINVAL;
  sysctls[found.key] = value;
  return 0;
}

/** What the file of that name reads, without its newline; undefined if there is none. */
export function readSysctl(sysctls: Sysctls, name: string): string | undefined {
  const found = lookup(name);
  return found === undefined ? undefined : String(sysctls[found.key]);
}
