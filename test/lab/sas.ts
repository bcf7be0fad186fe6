/** The SAs of the drill as data, and the commands of iproute2 that install them: software that this project did not write. */
import { randomBytes } from 'node:crypto';
import type { Family } from './libc.ts';
import { ADDRESSES, tunnelAddress } from './world.ts';

export type Mode = 'tunnel' | 'transport';
export type Cipher = 'gcm' | 'cbc-hmac';
export type Direction = 'out' | 'in';

/** Applications receive here; connections in transport mode are told apart by the port they are sent from. */
export const TRAFFIC_PORT = 7000;
export const ENCAP_PORT = 4500;
/** What the applications of a marked connection set on their outbound packets, and the bits that count. */
export const MARK = { value: 0x2a, mask: 0xff } as const;
const ESN_WINDOW = 1024;
export const LEGACY_WINDOW = 32;

export interface Case {
  mode: Mode;
  family: Family;
  cipher: Cipher;
  /** Extended sequence numbers with a window of 1024, or the classic 32 packets. */
  esn: boolean;
  encap: boolean;
  mark: boolean;
}

/** One connection: an outbound and an inbound SA, as seen from the gateways. */
export interface Connection extends Case {
  n: number;
  name: string;
  /** Limits that the run never reaches, so that they can be compared. */
  limits: boolean;
  reqid: number;
  spi: Readonly<Record<Direction, number>>;
  keys: Readonly<Record<Direction, { enc: string; auth: string }>>;
}

const PLAIN: readonly Case[] = (['tunnel', 'transport'] as const).flatMap((mode) =>
  ([4, 6] as const).flatMap((family) =>
    (['gcm', 'cbc-hmac'] as const).flatMap((cipher) =>
      [false, true].map((esn) => ({ mode, family, cipher, esn, encap: false, mark: false })),
    ),
  ),
);

const SPECIAL: readonly Case[] = [
  { mode: 'tunnel', family: 4, cipher: 'gcm', esn: false, encap: true, mark: false },
  { mode: 'tunnel', family: 6, cipher: 'cbc-hmac', esn: true, encap: true, mark: false },
  { mode: 'transport', family: 4, cipher: 'gcm', esn: true, encap: true, mark: false },
  { mode: 'transport', family: 4, cipher: 'cbc-hmac', esn: false, encap: false, mark: true },
  { mode: 'transport', family: 6, cipher: 'gcm', esn: true, encap: false, mark: true },
];

export const CASES: readonly Case[] = [...PLAIN, ...SPECIAL];

/** Fresh keys each time: a recording of one run is worth nothing in the next. */
export function makeConnections(cases: readonly Case[] = CASES): Connection[] {
  const base = 0xc0000000 + randomBytes(3).readUIntBE(0, 3) * 64;
  return cases.map((row, i) => {
    const n = i + 1;
    const key = () => ({
      enc: `0x${randomBytes(row.cipher === 'gcm' ? 20 : 16).toString('hex')}`,
      auth: `0x${randomBytes(32).toString('hex')}`,
    });
    return {
      ...row,
      n,
      name: [
        row.mode,
        `ipv${row.family}`,
        row.cipher,
        row.esn ? 'esn' : 'legacy',
        row.encap && 'udp',
        row.mark && 'mark',
      ]
        .filter(Boolean)
        .join('-'),
      limits: n % 3 === 0,
      reqid: 100 + n,
      spi: { out: (base + 2 * n) >>> 0, in: (base + 2 * n + 1) >>> 0 },
      keys: { out: key(), in: key() },
    };
  });
}

/** Source port of a transport connection's datagrams, on both sides; its selectors match it. */
export function senderPort(connection: Connection): number {
  return 7100 + connection.n;
}

export const windowOf = (row: Case) => (row.esn ? ESN_WINDOW : LEGACY_WINDOW);
export const windowName = (row: Case): string => (row.esn ? `esn ${windowOf(row)}` : String(windowOf(row)));

function ends(connection: Connection, direction: Direction): { src: string; dst: string } {
  const gateway = ADDRESSES.shared[connection.family];
  const peer = ADDRESSES.peer[connection.family];
  return direction === 'out' ? { src: gateway, dst: peer } : { src: peer, dst: gateway };
}

function algorithms(connection: Connection, direction: Direction): string {
  const { enc, auth } = connection.keys[direction];
  if (connection.cipher === 'gcm') return `aead rfc4106(gcm(aes)) ${enc} 128`;
  return `auth-trunc hmac(sha256) ${auth} 128 enc cbc(aes) ${enc}`;
}

function stateLine(connection: Connection, direction: Direction, marked: boolean): string {
  const { src, dst } = ends(connection, direction);
  const zero = connection.family === 4 ? '0.0.0.0' : '::';
  const words = [
    `xfrm state add src ${src} dst ${dst} proto esp spi 0x${connection.spi[direction].toString(16)}`,
    `reqid ${connection.reqid} mode ${connection.mode}`,
  ];
  // Outbound the mark selects the SA; inbound it says that unmarked packets are meant, with the same mask.
  if (marked) words.push(`mark ${direction === 'out' ? MARK.value : 0} mask ${MARK.mask}`);
  words.push(`replay-window ${windowOf(connection)}`, algorithms(connection, direction));
  if (connection.esn) words.push('flag esn');
  if (connection.encap) words.push(`encap espinudp ${ENCAP_PORT} ${ENCAP_PORT} ${zero}`);
  if (connection.limits) {
    words.push(
      'limit byte-soft 4000000000 limit byte-hard 5000000000 limit packet-soft 40000000 limit packet-hard 50000000',
    );
    words.push('limit time-soft 28800 limit time-hard 36000');
  }
  return words.join(' ');
}

function selector(connection: Connection, direction: Direction): string {
  if (connection.mode === 'transport') {
    const { src, dst } = ends(connection, direction);
    return `src ${src} dst ${dst} proto udp sport ${senderPort(connection)} dport ${TRAFFIC_PORT}`;
  }
  const inside = ADDRESSES.inside[connection.family];
  const remote = tunnelAddress(connection.n, connection.family);
  return direction === 'out' ? `src ${inside} dst ${remote}` : `src ${remote} dst ${inside}`;
}

function policyLine(connection: Connection, direction: Direction, dir: 'in' | 'out' | 'fwd', marked: boolean): string {
  const { src, dst } = ends(connection, direction);
  const mark = marked && dir === 'out' ? `mark ${MARK.value} mask ${MARK.mask} ` : '';
  return (
    `xfrm policy add ${selector(connection, direction)} dir ${dir} ${mark}priority 2000 ` +
    `tmpl src ${src} dst ${dst} proto esp reqid ${connection.reqid} mode ${connection.mode}`
  );
}

/** SAs of the gateway that is active first, or of the other end, which is an ordinary host: it knows no marks. */
export function stateLines(connections: readonly Connection[], host: 'gwa' | 'peer'): string[] {
  return connections.flatMap((connection) =>
    (['out', 'in'] as const).map((direction) => stateLine(connection, direction, host === 'gwa' && connection.mark)),
  );
}

/** Policies, the same way. What is outbound for a gateway is inbound for the peer. */
export function policyLines(connections: readonly Connection[], host: 'gwa' | 'peer'): string[] {
  return connections.flatMap((connection) =>
    host === 'peer'
      ? [policyLine(connection, 'in', 'out', false), policyLine(connection, 'out', 'in', false)]
      : [
          policyLine(connection, 'out', 'out', connection.mark),
          policyLine(connection, 'in', 'in', connection.mark),
          ...(connection.mode === 'tunnel' ? [policyLine(connection, 'in', 'fwd', false)] : []),
        ],
  );
}
