import { abi, type LinuxSystem, openSystem } from '../kernel/linux/index.ts';
import { type KernelFacts, linuxFacts } from './linux-facts.ts';
import { linuxTargetOn } from './linux-target.ts';
import { type RunReport, runAll, usesPfkey } from './report.ts';

/**
 * Carries out the scenarios at `path`, a file or a directory of them, on the kernel of this machine. Those that were recorded on a kernel
 * which answers otherwise (another release line, tick rate or alignment) are skipped, unless `anyKernel` is set.
 *
 * @throws VectorError for a file that cannot be used
 * @throws KernelError ERR_NOT_LINUX, ERR_UNSUPPORTED_ARCH, ERR_NO_KOFFI, ERR_NO_XFRM, ERR_PERMISSION
 */
export async function* checkLinux(
  path: string,
  { anyKernel = false }: { anyKernel?: boolean } = {},
): AsyncGenerator<RunReport> {
  const system = await openSystem();
  const running = linuxFacts(system);
  const hasPfkey = opensPfkey(system);
  yield* runAll(
    path,
    (scenario) => linuxTargetOn(system, scenario),
    (scenario) => {
      if (!hasPfkey && usesPfkey(scenario)) return 'PF_KEY sockets, which this kernel has not (modprobe af_key)';
      return anyKernel || alike(scenario, running)
        ? undefined
        : `recorded on ${text(scenario)}; this is ${text(running)}`;
    },
  );
}

function opensPfkey(system: LinuxSystem): boolean {
  const fd = system.socket(abi.AF_KEY, abi.SOCK_RAW, abi.PF_KEY_V2);
  if (fd >= 0) system.close(fd);
  return fd >= 0;
}

/** Patch levels of a release line answer alike. */
const line = (release: string): string => /^\d+\.\d+/.exec(release)?.[0] ?? release;

export function alike(a: KernelFacts, b: KernelFacts): boolean {
  return line(a.kernel) === line(b.kernel) && a.hz === b.hz && a.pad64 === b.pad64;
}

const text = ({ kernel, hz, pad64 }: KernelFacts): string => `${kernel}, hz ${hz}, pad64 ${pad64 ? 'yes' : 'no'}`;
