import type { ReplicaSettings } from '../replica/index.ts';
import { address } from './sas.ts';

/** What is the same for all nodes of a virtual cluster, and what tells one from the others. */
export function membership(
  node: string,
  all: readonly { readonly name: string }[],
): Pick<ReplicaSettings, 'cluster' | 'node' | 'peers' | 'version' | 'littleEndian' | 'selection' | 'held'> {
  return {
    cluster: 'c',
    node,
    peers: all.flatMap(({ name }) => (name === node ? [] : [name])),
    version: '0',
    littleEndian: true,
    selection: {
      protocols: [50, 51],
      reqids: [],
      ifIds: [],
      linkAddresses: [
        { address: address('192.0.2.1'), family: 2 },
        { address: address('192.0.2.2'), family: 2 },
      ],
      policies: true,
    },
    held: { part: 0.5, ms: 600_000 },
  };
}
