/**
 * The world of the drill: five network namespaces of one guest. The outside LAN is a bridge in `wire`, where the attacker sits and sees
 * every frame; the inside LAN is a bridge in `inside`, whose own address is a host behind the gateways.
 *
 *     peer ---- wire ---- gwa ---- inside
 *                  \----- gwb ----/            gwa ---- gwb: sync0, the replication link
 */
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { writeSysctls } from './libc.ts';

export const NAMESPACES = ['peer', 'gwa', 'gwb', 'wire', 'inside'] as const;
export type Gateway = 'gwa' | 'gwb';
export const GATEWAYS: readonly Gateway[] = ['gwa', 'gwb'];

/** What moves from gateway to gateway, and the addresses that SAs are between. hooks/addresses.sh says the same. */
export const ADDRESSES = {
  shared: { 4: '192.0.2.10', 6: '2001:db8:1::10' },
  peer: { 4: '192.0.2.2', 6: '2001:db8:1::2' },
  inside: { 4: '10.9.0.100', 6: 'fd09::100' },
  insideShared: { 4: '10.9.0.1', 6: 'fd09::1' },
} as const;

export const SYNC: Readonly<Record<Gateway, string>> = { gwa: '10.255.0.1', gwb: '10.255.0.2' };

export const MACS = {
  peer: '02:00:00:00:00:02',
  gwa: '02:00:00:00:00:0a',
  gwb: '02:00:00:00:00:0b',
} as const;

/** The peer's end of tunnel number n. */
export function tunnelAddress(n: number, family: 4 | 6): string {
  return family === 4 ? `10.77.${n}.1` : `fd77:0:${n.toString(16)}::1`;
}

const run = promisify(execFile);

/** Many commands of iproute2 in one process: a fork costs more than the command. Stops at the first that fails, with its text. */
export function ipBatch(namespace: string | undefined, lines: readonly string[]): void {
  const where = namespace === undefined ? [] : ['-n', namespace];
  try {
    execFileSync('ip', [...where, '-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'pipe', 'pipe'] });
  } catch (error) {
    const text = String((error as { stderr?: Buffer }).stderr ?? error).replace(/0x[0-9a-f]{32,}/g, '<key>');
    const line = Number(text.match(/Command failed .*:(\d+)/)?.[1] ?? 0);
    const command = (lines[line - 1] ?? '').replace(/0x[0-9a-f]{32,}/g, '<key>');
    throw new Error(`ip in ${namespace ?? 'the guest'}: ${text.trim()}${command ? `\n  ${command}` : ''}`);
  }
}

export async function ip(namespace: string, args: readonly string[]): Promise<string> {
  // An SA is about 1.5 kB of text.
  const { stdout } = await run('ip', ['-n', namespace, ...args], { maxBuffer: 64 << 20 });
  return stdout;
}

const FAMILIES = [4, 6] as const;

const SYSCTLS_EVERYWHERE = {
  'ipv6/conf/default/accept_dad': 0,
  'ipv6/conf/all/accept_dad': 0,
  'ipv6/conf/default/router_solicitations': 0,
};

const SYSCTLS_GATEWAY = {
  'ipv4/ip_forward': 1,
  'ipv6/conf/all/forwarding': 1,
  'ipv4/conf/all/send_redirects': 0,
  'ipv4/conf/default/send_redirects': 0,
  // What claim.sh waits for is an error to an address for which the kernel has just limited the rate of redirects (ip6_forward).
  'ipv6/icmp/ratelimit': 0,
  'ipv4/icmp_ratelimit': 0,
};

const RETRANS_MS = 100;

/** Of a gateway's two LAN interfaces, once they exist. */
function interfaceSysctls(name: string): Record<string, number> {
  return {
    // What claim.sh relies on: an interface that announces its addresses when its hardware address is set.
    [`ipv4/conf/${name}/arp_notify`]: 1,
    [`ipv6/conf/${name}/ndisc_notify`]: 1,
    [`ipv4/conf/${name}/send_redirects`]: 0,
    // As well: nobody is told by a request for somebody else's address.
    [`ipv4/conf/${name}/arp_announce`]: 2,
    // What release.sh relies on: packets for the shared address wait for its next owner, this many and this long.
    [`ipv4/neigh/${name}/unres_qlen_bytes`]: 8 << 20,
    [`ipv6/neigh/${name}/unres_qlen_bytes`]: 8 << 20,
    [`ipv4/neigh/${name}/mcast_solicit`]: 15_000 / RETRANS_MS,
    [`ipv6/neigh/${name}/mcast_solicit`]: 15_000 / RETRANS_MS,
    // While it does, the next owner is asked for so often; claim.sh waits for that.
    [`ipv4/neigh/${name}/retrans_time_ms`]: RETRANS_MS,
    [`ipv6/neigh/${name}/retrans_time_ms`]: RETRANS_MS,
    // A peer whose old entry is still believed for a second would send to the old owner for that long.
    [`ipv4/neigh/${name}/locktime`]: 0,
  };
}

/** Of the machines that send to the gateways. */
function neighbourSysctls(name: string): Record<string, number> {
  return {
    [`ipv4/neigh/${name}/locktime`]: 0,
    // For so many seconds they go on with the old owner if nobody answers for it: a switchover of an emulated machine may take ten.
    [`ipv4/neigh/${name}/ucast_solicit`]: 60,
    [`ipv6/neigh/${name}/ucast_solicit`]: 60,
  };
}

/** Addresses and routes that a gateway has whatever its role. */
function gatewaySetup(gateway: Gateway): string[] {
  const host = gateway === 'gwa' ? 11 : 12;
  return [
    'link set lo up',
    `link set out0 address ${MACS[gateway]} up`,
    'link set in0 up',
    'link set sync0 up',
    `addr add 192.0.2.${host}/24 dev out0`,
    `addr add 2001:db8:1::${host}/64 dev out0 nodad`,
    `addr add 10.9.0.${host}/24 dev in0`,
    `addr add fd09::${host}/64 dev in0 nodad`,
    `addr add ${SYNC[gateway]}/30 dev sync0`,
    `route add 10.77.0.0/16 via ${ADDRESSES.peer[4]} dev out0`,
    `route add fd77::/32 via ${ADDRESSES.peer[6]} dev out0`,
    // A standby knows its next hops before it has anything for them.
    ...FAMILIES.map((family) => `neigh replace ${ADDRESSES.peer[family]} dev out0 managed`),
  ];
}

/** Everything but SAs and policies; the shared addresses are nowhere yet. `tunnels`: the tunnel numbers of each family. */
export function buildWorld(tunnels: Readonly<Record<4 | 6, readonly number[]>>): void {
  ipBatch(
    undefined,
    NAMESPACES.map((name) => `netns add ${name}`),
  );
  for (const name of NAMESPACES) writeSysctls(name, SYSCTLS_EVERYWHERE);
  for (const gateway of GATEWAYS) writeSysctls(gateway, SYSCTLS_GATEWAY);
  ipBatch(undefined, [
    'link add to-peer netns wire type veth peer name out0 netns peer',
    'link add to-gwa netns wire type veth peer name out0 netns gwa',
    'link add to-gwb netns wire type veth peer name out0 netns gwb',
    'link add to-gwa netns inside type veth peer name in0 netns gwa',
    'link add to-gwb netns inside type veth peer name in0 netns gwb',
    'link add sync0 netns gwa type veth peer name sync0 netns gwb',
  ]);
  // All frames of all machines wait in one backlog of one processor here: what waited for a switchover comes at once.
  writeFileSync('/proc/sys/net/core/netdev_max_backlog', '100000\n');
  ipBatch('wire', [
    'link add lan type bridge forward_delay 0 mcast_snooping 0',
    ...['to-peer', 'to-gwa', 'to-gwb'].map((port) => `link set ${port} master lan up`),
    'link set lan up',
  ]);
  ipBatch('inside', [
    'link set lo up',
    'link add lan type bridge forward_delay 0 mcast_snooping 0',
    ...GATEWAYS.map((gateway) => `link set to-${gateway} master lan up`),
    'link set lan up',
    `addr add ${ADDRESSES.inside[4]}/24 dev lan`,
    `addr add ${ADDRESSES.inside[6]}/64 dev lan nodad`,
    `route add 10.77.0.0/16 via ${ADDRESSES.insideShared[4]}`,
    `route add fd77::/32 via ${ADDRESSES.insideShared[6]}`,
  ]);
  ipBatch('peer', [
    'link set lo up',
    `link set out0 address ${MACS.peer} up`,
    `addr add ${ADDRESSES.peer[4]}/24 dev out0`,
    `addr add ${ADDRESSES.peer[6]}/64 dev out0 nodad`,
    `route add 10.9.0.0/24 via ${ADDRESSES.shared[4]}`,
    `route add fd09::/64 via ${ADDRESSES.shared[6]}`,
    ...tunnels[4].map((n) => `addr add ${tunnelAddress(n, 4)}/32 dev lo`),
    ...tunnels[6].map((n) => `addr add ${tunnelAddress(n, 6)}/128 dev lo nodad`),
  ]);
  for (const gateway of GATEWAYS) {
    ipBatch(gateway, gatewaySetup(gateway));
    for (const name of ['out0', 'in0']) writeSysctls(gateway, interfaceSysctls(name));
  }
  writeSysctls('peer', neighbourSysctls('out0'));
  writeSysctls('inside', neighbourSysctls('lan'));
}

/** Gives the shared addresses to a gateway as an operator would, before there is a daemon. */
export function claim(gateway: Gateway, hook: string): void {
  execFileSync('ip', ['netns', 'exec', gateway, hook], { stdio: 'inherit' });
}

/** The replication link; the daemons see nothing but silence. */
export function setSyncLink(up: boolean): void {
  ipBatch('gwa', [`link set sync0 ${up ? 'up' : 'down'}`]);
}

const OWN_INSIDE: Readonly<Record<Gateway, Readonly<Record<4 | 6, string>>>> = {
  gwa: { 4: '10.9.0.11', 6: 'fd09::11' },
  gwb: { 4: '10.9.0.12', 6: 'fd09::12' },
};

/** Routes of the inside host to these tunnels by way of one gateway, whoever has the shared address. */
export function leadTunnels(by: Gateway, tunnels: Readonly<Record<4 | 6, readonly number[]>>, there: boolean): void {
  ipBatch(
    'inside',
    FAMILIES.flatMap((family) =>
      tunnels[family].map(
        (n) =>
          `route ${there ? 'add' : 'del'} ${tunnelAddress(n, family)}/${family === 4 ? 32 : 128} via ${OWN_INSIDE[by][family]}`,
      ),
    ),
  );
}

/**
 * A gateway that the outside network hears and does not lead to: what it sends gets through, nothing comes to it. So it cannot be told that
 * another one has its addresses, and cannot accept what peers send to them.
 */
export function makeDeaf(gateway: Gateway, deaf: boolean): void {
  const word = deaf ? 'off' : 'on';
  ipBatch('wire', [
    `link set dev to-${gateway} type bridge_slave flood ${word} mcast_flood ${word} bcast_flood ${word} learning ${word} fdb_flush`,
  ]);
  // Neighbour discovery needs an answer.
  ipBatch(
    gateway,
    FAMILIES.map((family) =>
      deaf
        ? `neigh replace ${ADDRESSES.peer[family]} lladdr ${MACS.peer} dev out0 nud permanent`
        : `neigh replace ${ADDRESSES.peer[family]} dev out0 managed`,
    ),
  );
}

/** All links of a gateway down: for everyone else the machine is gone. Its kernel can still be read. */
export function cutGateway(gateway: Gateway): void {
  ipBatch(
    gateway,
    ['out0', 'in0', 'sync0'].map((name) => `link set ${name} down`),
  );
}

/** The machine after a reboot: no SAs, no policies, no shared address. */
export function rebootGateway(gateway: Gateway): void {
  ipBatch(gateway, [
    'xfrm state flush',
    'xfrm policy flush',
    ...['out0', 'in0', 'sync0'].flatMap((name) => [`link set ${name} down`, `addr flush dev ${name}`]),
  ]);
  ipBatch(gateway, gatewaySetup(gateway));
}
