import { hostLittleEndian } from '../netlink/index.ts';
import type { ReplicaSettings } from '../replica/index.ts';
import { parseAddress } from '../xfrm/index.ts';
import type { Config } from './config-schema.ts';

/** Over PF_KEY T is set in milliseconds (pfkey-values.ts); over netlink in jiffies of the kernel. */
const hzOf = { netlink: undefined, pfkey: 1_000 } as const;

/** What the replica has to know of a configuration. */
export function replicaSettings(config: Config, version: string): ReplicaSettings {
  const { node, link, peer, replicate, takeover } = config;
  const hz = hzOf[config.kernel.via];
  const linkAddresses = [link.listen.host, ...peer.map(({ address }) => address.host)].flatMap(
    (host) => parseAddress(host) ?? [],
  );
  return {
    cluster: node.cluster,
    node: node.name,
    peers: peer.map(({ name }) => name),
    version,
    littleEndian: hostLittleEndian,
    selection: { ...replicate, ifIds: replicate.if_ids, linkAddresses },
    plan: {
      inbound: takeover.inbound,
      rateMaxPps: takeover.rate_max_pps,
      rateFloorPps: takeover.rate_floor_pps,
      mode: takeover.mode,
      quiet: takeover.quiet,
    },
    grants: { mode: takeover.mode, numbersMin: takeover.grant_min, horizonMs: takeover.grant_ms },
    exposure: config.exposure,
    sweepMs: replicate.sweep_ms,
    held: { part: replicate.mass_delete_percent / 100, ms: replicate.mass_delete_keep_ms },
    install: replicate.install,
    drainMs: takeover.drain_ms,
    drainMaxMs: takeover.drain_max_ms,
    claimAfterMs: link.timeout_ms,
    ...(hz === undefined ? {} : { hz }),
  };
}
