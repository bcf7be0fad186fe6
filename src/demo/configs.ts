/** Configurations of the demo's nodes: what `xfrmsync init` writes, with an emulated kernel and a gateway in user space. */
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { initCluster } from '../node/index.ts';
import { OUTER } from './connections.ts';
import { freeTcpPorts, freeUdpPorts, LOOPBACK } from './sockets.ts';
import type { Gateway } from './switch.ts';

/** How the gateways' daemons speak with their kernels. */
export type Via = 'netlink' | 'pfkey';

export type NodeName = 'a' | 'b';
export const NODES: readonly NodeName[] = ['a', 'b'];
export const gatewayOf = (node: NodeName): Gateway => (node === 'a' ? 'gwa' : 'gwb');

/** UDP ports: for ESP, and for what is inside. */
interface GatewayPorts {
  readonly outside: number;
  readonly inside: number;
}

export interface Ports {
  readonly gateways: Readonly<Record<NodeName, GatewayPorts>>;
  readonly peer: GatewayPorts;
  /** TCP, between the gateways. */
  readonly link: Readonly<Record<NodeName, number>>;
}

export interface Paths {
  readonly config: string;
  readonly control: string;
  readonly kernel: string;
}

export const pathsOf = (folder: string, name: NodeName | 'peer'): Paths => ({
  config: join(folder, name, 'xfrmsync.toml'),
  control: join(folder, name, 'control.sock'),
  kernel: join(folder, name, 'kernel.sock'),
});

export async function freePorts(): Promise<Ports> {
  const [udp, [a, b]] = await Promise.all([freeUdpPorts(6), freeTcpPorts(2)]);
  const pair = (at: number): GatewayPorts => ({ outside: udp[at] as number, inside: udp[at + 1] as number });
  return { gateways: { a: pair(0), b: pair(2) }, peer: pair(4), link: { a: a as number, b: b as number } };
}

/** Ports of the path and of the hosts, to which gateways and peer send. */
export interface Neighbours {
  readonly path: { readonly forGateways: number; readonly forPeer: number };
  readonly hosts: { readonly forGateways: number; readonly forPeer: number };
}

/**
 * Processes that share a busy machine, or have many SAs to read and write, may not hear each other for longer than `link.timeout_ms` is by
 * default. The death of a process is noticed at once all the same: its connection is closed.
 */
const LINK_TIMEOUT = { minMs: 10_000, perSaMs: 2, maxMs: 60_000 } as const;

export async function writeConfigs(
  folder: string,
  { sas, via }: { readonly sas: number; readonly via: Via },
  ports: Ports,
  { path, hosts }: Neighbours,
): Promise<void> {
  await initCluster({
    directory: folder,
    cluster: 'demo',
    nodes: NODES.map((name) => ({ name, address: LOOPBACK, port: ports.link[name] })),
    port: ports.link.a,
  });
  const { minMs, perSaMs, maxMs } = LINK_TIMEOUT;
  const timeoutMs = Math.min(maxMs, Math.max(minMs, perSaMs * sas));
  for (const node of NODES) {
    const file = pathsOf(folder, node).config;
    const text = await readFile(file, 'utf8');
    await writeFile(
      file,
      text.replace(/^\[link\]$/m, (table) => `${table}\ntimeout_ms = ${timeoutMs}`),
    );
  }
  const [a, b] = [ports.gateways.a, ports.gateways.b];
  const gateway = { via, own: OUTER.gateway, remote: OUTER.peer, at: path.forGateways, to: hosts.forGateways };
  await appendFile(pathsOf(folder, 'a').config, `\n${machine({ ...gateway, ports: a, partner: b })}`);
  await appendFile(pathsOf(folder, 'b').config, `\n${machine({ ...gateway, ports: b, partner: a })}`);
  await mkdir(join(folder, 'peer'), { mode: 0o700 });
  const peer = { own: OUTER.peer, remote: OUTER.gateway, at: path.forPeer, to: hosts.forPeer };
  await writeFile(pathsOf(folder, 'peer').config, machine({ ...peer, ports: ports.peer }), { mode: 0o600 });
}

const endpoint = (port: number): string => `"${LOOPBACK}:${port}"`;

function machine(of: {
  /** Of a node; a gateway without a partner has no daemon that could ask. */
  via?: Via;
  own: string;
  remote: string;
  at: number;
  to: number;
  ports: GatewayPorts;
  partner?: GatewayPorts;
}): string {
  const { via, own, remote, at, to, ports, partner } = of;
  return `[kernel]
type = "emulated"
socket = "kernel.sock"${via === undefined ? '' : `\nvia = "${via}"`}

[gateway]
listen = ${endpoint(ports.outside)}
addresses = ["${own}"]

[[gateway.remotes]]
address = "${remote}"
at = ${endpoint(at)}

[gateway.inside]
listen = ${endpoint(ports.inside)}
to = ${endpoint(to)}
${partner === undefined ? '' : `\n[gateway.partner]\noutside = ${endpoint(partner.outside)}\ninside = ${endpoint(partner.inside)}\n`}`;
}
