/** The CHILD_SAs that two charons negotiate, as data, and the configuration of both for them. */
import type { Connection } from '../sas.ts';
import { ADDRESSES } from '../world.ts';

export interface Child {
  /** Also the number of the tunnel: 10.77.n.0/24 lies behind the peer. */
  readonly n: number;
  readonly name: string;
  readonly reqid: number;
  readonly proposal: string;
  readonly window: number;
  readonly esn: boolean;
  /** Limits in packets of the active's charon, on the gateways alone. */
  readonly rekeyPackets?: number;
  readonly lifePackets?: number;
  /** Mark and mask, interface id: as swanctl takes them. They keep packets of this world out, so nothing is sent on them. */
  readonly mark?: string;
  readonly ifId?: number;
  /** Not selected by `replicate.reqids`: the daemons have to leave it alone. */
  readonly foreign?: boolean;
}

export const REKEY_PACKETS = 1000;
export const LIFE_PACKETS = 20_000;
export const LIFE_TIME = { rekey: 3600, life: 7200 } as const;

/** The peer asks whether the gateway is alive when it has heard nothing for so long, neither IKE nor ESP. Longer than any outage of the lab. */
export const PEER_DPD_S = 20;
/** And gives up when nothing was answered: after 1 s, 1.8 s more, and 3.2 s more. strongSwan's own values make that 165 s. */
export const PEER_RETRANSMISSION = ['retransmit_timeout = 1.0', 'retransmit_tries = 2'];

export const CHILDREN: readonly Child[] = [
  {
    n: 1,
    name: 'limited',
    reqid: 101,
    proposal: 'aes128gcm16-noesn',
    window: 32,
    esn: false,
    rekeyPackets: REKEY_PACKETS,
    lifePackets: LIFE_PACKETS,
  },
  { n: 2, name: 'esn', reqid: 102, proposal: 'aes256gcm16-esn', window: 256, esn: true },
  { n: 3, name: 'marked', reqid: 103, proposal: 'aes128gcm16-noesn', window: 32, esn: false, mark: '0x2a/0xff' },
  { n: 4, name: 'iface', reqid: 104, proposal: 'aes128gcm16-esn', window: 64, esn: true, ifId: 7 },
  { n: 5, name: 'foreign', reqid: 200, proposal: 'aes128gcm16-noesn', window: 32, esn: false, foreign: true },
];

export const REPLICATED = CHILDREN.filter(({ foreign }) => !foreign);
/** Those that the applications use. */
export const BUSY = CHILDREN.filter(({ mark, ifId }) => mark === undefined && ifId === undefined);

/** How the applications and the attacker of the lab know it; SPIs are those of the SAs that charon has agreed on. */
export function connectionOf(child: Child, spi: Connection['spi']): Connection {
  const none = { enc: '', auth: '' };
  return {
    n: child.n,
    name: child.name,
    mode: 'tunnel',
    family: 4,
    cipher: 'gcm',
    esn: child.esn,
    encap: false,
    mark: false,
    limits: false,
    reqid: child.reqid,
    spi,
    keys: { out: none, in: none },
  };
}

export interface Choices {
  readonly startAction?: 'none' | 'trap';
  /** Other soft limits in seconds, by child. */
  readonly rekeyS?: Readonly<Record<string, number>>;
}

const INSIDE = '10.9.0.0/24';
const behindPeer = ({ n }: Child) => `10.77.${n}.0/24`;

function childLines(child: Child, isGateway: boolean, { startAction = 'none', rekeyS = {} }: Choices): string[] {
  const [local, remote] = isGateway ? [INSIDE, behindPeer(child)] : [behindPeer(child), INSIDE];
  return [
    `local_ts = ${local}`,
    `remote_ts = ${remote}`,
    `esp_proposals = ${child.proposal}`,
    `reqid = ${child.reqid}`,
    `replay_window = ${child.window}`,
    `start_action = ${startAction}`,
    ...(isGateway
      ? [`rekey_time = ${rekeyS[child.name] ?? LIFE_TIME.rekey}s`, `life_time = ${LIFE_TIME.life}s`]
      : ['rekey_time = 0']),
    'rand_time = 0',
    ...(isGateway && child.rekeyPackets !== undefined
      ? [`rekey_packets = ${child.rekeyPackets}`, 'rand_packets = 0']
      : []),
    ...(isGateway && child.lifePackets !== undefined ? [`life_packets = ${child.lifePackets}`] : []),
    ...(isGateway && child.mark !== undefined ? [`mark_in = ${child.mark}`, `mark_out = ${child.mark}`] : []),
    ...(isGateway && child.ifId !== undefined ? [`if_id_in = ${child.ifId}`, `if_id_out = ${child.ifId}`] : []),
  ];
}

/** swanctl.conf of the gateways, which is the same on both, or of the peer. */
export function swanctlText(host: 'gateway' | 'peer', secret: string, choices: Choices = {}): string {
  const isGateway = host === 'gateway';
  const [local, remote] = isGateway
    ? [ADDRESSES.shared[4], ADDRESSES.peer[4]]
    : [ADDRESSES.peer[4], ADDRESSES.shared[4]];
  const children = CHILDREN.flatMap((child) => [
    `      ${child.name} {`,
    ...childLines(child, isGateway, choices).map((line) => `        ${line}`),
    '      }',
  ]);
  return `connections {
  lab {
    version = 2
    local_addrs = ${local}
    remote_addrs = ${remote}
    proposals = aes128-sha256-modp2048
    mobike = no
    rekey_time = 0
    dpd_delay = ${isGateway ? 0 : PEER_DPD_S}s
    local {
      auth = psk
      id = ${host}
    }
    remote {
      auth = psk
      id = ${isGateway ? 'peer' : 'gateway'}
    }
    children {
${children.join('\n')}
    }
  }
}
secrets {
  ike {
    secret = ${secret}
  }
}
`;
}
