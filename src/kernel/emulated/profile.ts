/**
 * What differs between one Linux kernel and another, as far as it shows on the wire: release and build options. The reference is Linux 6.1
 * for x86-64.
 */

export interface ProfileOptions {
  /** The release, such as `6.1.192` or `6.12.117+deb12-amd64`. */
  readonly release?: string;
  /** CONFIG_HZ: the unit in which XFRMA_ETIMER_THRESH is set. */
  readonly hz?: number;
  /** Whether 64-bit attributes are aligned by XFRMA_PAD (no CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS). */
  readonly pad64?: boolean;
  /** More than one CPU: work that a request leaves to a kernel thread is done a moment after it, not before it returns. */
  readonly smp?: boolean;
  /** How many CPUs there can be: XFRMA_SA_PCPU is a number below it. */
  readonly cpus?: number;
  /** Speaks the first published `xfrm_aevent_id` of 28 bytes, {sa_id, flags}. No Linux release does. */
  readonly firstAeventLayout?: boolean;
}

export interface Profile {
  readonly release: string;
  readonly hz: number;
  readonly pad64: boolean;
  readonly smp: boolean;
  readonly cpus: number;
  readonly firstAeventLayout: boolean;
  /** The highest attribute type that is known; those above it are skipped. */
  readonly attributeMax: number;
  /** Handlers explain their errors for NEWAE, EXPIRE, ALLOCSPI and others, too (6.2). */
  readonly moreStrings: boolean;
  /** XFRMA_LASTUSED is kept for every SA, not for route optimization alone (6.2). */
  readonly lastUsed: boolean;
  /** SAs have a direction (6.10). */
  readonly saDir: boolean;
  /** An end of dump with an error carries all of the extended acknowledgement, not the text alone. */
  readonly doneWithOffset: boolean;
  /** ESP in UDP in the form that came before RFC 3948 (UDP_ENCAP_ESPINUDP_NON_IKE). */
  readonly nonIkeEncap: boolean;
  /** MIGRATE looks its policy up as a packet would; before, by the selector alone. */
  readonly migrateByFlow: boolean;
  /** Of several policies of a packet with one priority the oldest counts; before, hashed ones come first. */
  readonly policyByAge: boolean;
  /** Small datagrams come from a cache of their own, which charges them more (6.3). */
  readonly smallHead: boolean;
  /** ALLOCSPI gives an SPI out once per protocol, whatever the address. */
  readonly spiOnce: boolean;
  /** ALLOCSPI of the range 0 to 0 succeeds. */
  readonly spiZero: boolean;
}

/** The release that brought a feature; `patch` for what a stable series got late. */
const since = {
  moreStrings: [6, 2],
  lastUsed: [6, 2],
  saDir: [6, 10],
  doneWithOffset: [6, 12],
  nonIkeEncapGone: [6, 12],
  migrateByFlow: [6, 12],
  policyByAge: [6, 12],
  smallHead: [6, 3],
} as const;

/** What came to mainline and to stable series at different times; the stable releases are the first that were looked at. */
const spiOnceSince = [
  [6, 1, 192],
  [6, 12, 117],
  [6, 17],
] as const;

/** Debian 12 calls all its kernels 6.1.0 and counts them behind it: from which number on it is which stable release. */
const debian12: readonly (readonly [abi: number, patch: number])[] = [[56, 192]];

function versionOf(release: string): number[] {
  const found = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  if (found === null) throw new RangeError(`${JSON.stringify(release)} is not a kernel release such as 6.12.117`);
  const version = found.slice(1).map((part) => Number(part ?? 0));
  const abi = Number(/^6\.1\.0-(\d+)-/.exec(release)?.[1] ?? 0);
  const patch = debian12.findLast(([from]) => abi >= from)?.[1];
  return patch === undefined ? version : [6, 1, patch];
}

const attributeMaxSince: readonly (readonly [release: readonly number[], highest: number])[] = [
  [[6, 14], 41],
  [[6, 13], 35],
  [[6, 12, 117], 35],
  [[6, 11], 34],
  [[6, 10], 33],
  [[0], 32],
];

/** @throws RangeError for a release or tick rate that no kernel has */
export function profile(options: ProfileOptions = {}): Profile {
  const { release = '6.1.192', hz = 250, pad64 = false, smp = true, cpus = 1, firstAeventLayout = false } = options;
  if (!Number.isInteger(hz) || hz < 1 || hz > 10_000) throw new RangeError(`hz ${hz}: a tick rate is 1 to 10000`);
  const version = versionOf(release);
  const from = (wanted: readonly number[]): boolean => {
    for (let i = 0; i < version.length; i++) {
      const step = (version[i] ?? 0) - (wanted[i] ?? 0);
      if (step !== 0) return step > 0;
    }
    return true;
  };
  const inSeries = (wanted: readonly number[]): boolean =>
    from(wanted) && wanted[0] === version[0] && wanted[1] === version[1];
  return {
    release,
    hz,
    pad64,
    smp,
    cpus,
    firstAeventLayout,
    attributeMax: attributeMaxSince.find(([wanted]) => from(wanted))?.[1] ?? 32,
    moreStrings: from(since.moreStrings),
    lastUsed: from(since.lastUsed),
    saDir: from(since.saDir),
    doneWithOffset: from(since.doneWithOffset),
    nonIkeEncap: !from(since.nonIkeEncapGone),
    migrateByFlow: from(since.migrateByFlow),
    policyByAge: from(since.policyByAge),
    smallHead: from(since.smallHead),
    spiOnce: spiOnceSince.some((wanted) => (wanted.length === 3 ? inSeries(wanted) : from(wanted))),
    spiZero: inSeries(spiOnceSince[0]),
  };
}
