import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeIdentity } from '../link/index.ts';
import { ConfigError } from './config.ts';
import { PEERS_MAX } from './config-schema.ts';

export interface InitOptions {
  readonly directory: string;
  readonly cluster: string;
  /** Two nodes or more, the first one active at first. */
  readonly nodes: readonly InitNode[];
  /** TCP port of the link, where a node has none of its own. */
  readonly port: number;
}

interface InitNode {
  readonly name: string;
  readonly address: string;
  readonly port?: number;
}

/** Writes configuration, key and certificate of each node of a cluster; never over files that are there. @throws ConfigError */
export async function initCluster({ directory, cluster, nodes, port }: InitOptions): Promise<string[]> {
  if (nodes.length < 2 || nodes.length > PEERS_MAX + 1)
    throw new ConfigError(`a cluster has two nodes, and at most ${PEERS_MAX + 1}: give --node so often`);
  const double = nodes.find(({ name }, i) => nodes.findIndex((other) => other.name === name) !== i);
  if (double !== undefined) throw new ConfigError(`two nodes are called ${double.name}`);
  const folders = nodes.map((node) => join(directory, node.name));
  for (const folder of folders) {
    const taken = await access(join(folder, 'xfrmsync.toml')).then(
      () => true,
      () => false,
    );
    if (taken)
      throw new ConfigError(`${folder} already has a configuration; choose another directory or remove it first`);
  }
  const identities = await Promise.all(nodes.map((node) => makeIdentity(node.name)));
  const files: string[] = [];
  for (const [i, node] of nodes.entries()) {
    const others = nodes.flatMap((peer, at) => (at === i ? [] : [{ peer, pin: identities[at]?.pin ?? '' }]));
    const folder = folders[i] as string;
    const identity = identities[i] as (typeof identities)[number];
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const put = async (name: string, text: string, mode: number): Promise<void> => {
      const path = join(folder, name);
      await writeFile(path, text, { flag: 'wx', mode });
      files.push(path);
    };
    await put('key.pem', identity.key, 0o600);
    await put('cert.pem', identity.cert, 0o644);
    await put('xfrmsync.toml', configText({ cluster, node, others, port, active: i === 0 }), 0o600);
  }
  return files;
}

const endpoint = ({ address, port }: InitNode, fallback: number): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port ?? fallback}`;

const peerText = (peer: InitNode, pin: string, port: number, peers: number): string =>
  `${peers === 1 ? '[peer]' : '[[peer]]'}
name = "${peer.name}"
address = "${endpoint(peer, port)}"
pin = "${pin}"
`;

function configText(of: {
  cluster: string;
  node: InitNode;
  others: readonly { readonly peer: InitNode; readonly pin: string }[];
  port: number;
  active: boolean;
}): string {
  return `# xfrmsync, node ${of.node.name} of cluster ${of.cluster}. Paths start at this file's folder.

[node]
name = "${of.node.name}"
cluster = "${of.cluster}"
state_dir = "state"
control = "control.sock"
# Only for the very first start; afterwards state_dir knows.
initial_role = "${of.active ? 'active' : 'standby'}"

[link]
listen = "${endpoint(of.node, of.port)}"
key = "key.pem"
cert = "cert.pem"

${of.others.map(({ peer, pin }) => peerText(peer, pin, of.port, of.others.length)).join('\n')}
[replicate]
policies = true
# "immediate": the standby's kernel has the SAs, unable to send. "takeover": it gets them when it takes over.
install = "immediate"

[takeover]
# What an active does that has lost its standby for good or is cut off. "safe": it stops, at ceilings that the kernel keeps; no outbound
# number is used twice. "available": it goes on; something else must fence a node that is cut off (docs/safety.md).
mode = "safe"
# "strict": no packet is accepted twice. "window": nothing is lost, what was accepted unseen can be replayed.
inbound = "strict"

[hooks]
# Programs that take and give up the shared addresses.
# claim = "claim.sh"
# release = "release.sh"
`;
}
