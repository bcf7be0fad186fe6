/** Two gateways on loopback, or more, with the hosts behind them. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { XfrmClient } from '../../src/client/index.ts';
import { type Gateway, type GatewayOptions, openGateway } from '../../src/gateway/index.ts';
import { EmulatedKernel } from '../../src/kernel/emulated/index.ts';
import { policy } from '../../src/simulator/sas.ts';
import { EncapType, PolicyDir, XfrmMode } from '../../src/xfrm/index.ts';
import { address, espSa, ipPacket } from '../esp/sas.ts';

export const LOCAL = '127.0.0.1';
export const SITE = { a: '10.1.0.0', b: '10.2.0.0' } as const;
export const OUTER = { a: '198.51.100.1', b: '198.51.100.2' } as const;
export type Side = 'a' | 'b';
export const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');
export const SPI = { a: 0x100, b: 0x200 } as const;
const REQID = 1;
const SITE_BITS = 16;

export interface Host {
  readonly socket: Socket;
  readonly port: number;
  /** What has come, without announcements. */
  readonly received: Buffer[];
  announcements: number;
}

export async function host(): Promise<Host> {
  const socket = createSocket('udp4').bind(0, LOCAL);
  await once(socket, 'listening');
  const received: Buffer[] = [];
  const made = { socket, port: socket.address().port, received, announcements: 0 };
  socket.on('message', (bytes) => {
    if (bytes.length === 0) made.announcements++;
    else received.push(bytes);
  });
  return made;
}

/** A kernel with an SA each way and the policies of one side. */
export async function kernelOf(side: Side): Promise<EmulatedKernel> {
  const kernel = new EmulatedKernel();
  const client = await XfrmClient.open(kernel);
  for (const from of ['a', 'b'] as const) {
    const to = other(from);
    const { body, attributes } = espSa({
      mode: XfrmMode.TUNNEL,
      spi: SPI[from],
      saddr: OUTER[from],
      daddr: OUTER[to],
      reqid: REQID,
    });
    const encap = { type: EncapType.ESPINUDP, sport: 4500, dport: 4500, oa: address('0.0.0.0') };
    await client.addSa({ body: { ...body, replayWindow: 32 }, attributes: { ...attributes, encap } });
    const dir = from === side ? PolicyDir.OUT : PolicyDir.FWD;
    await client.addPolicy(policyOf(from, to, dir));
  }
  client.close();
  return kernel;
}

function policyOf(from: Side, to: Side, dir: number): Parameters<XfrmClient['addPolicy']>[0] {
  const { body, attributes } = policy(SITE[to], { reqid: REQID, dir });
  const tmpl = (attributes.tmpl ?? []).map((each) => ({
    ...each,
    saddr: address(OUTER[from]),
    id: { ...each.id, daddr: address(OUTER[to]) },
  }));
  return { body: { ...body, sel: { ...body.sel, prefixlenD: SITE_BITS } }, attributes: { ...attributes, tmpl } };
}

/** A packet from one site to the other, with `n` as its source port. */
export const packet = (from: Side, n: number): Uint8Array =>
  ipPacket({ saddr: SITE[from].replace(/0$/, '1'), daddr: SITE[other(from)].replace(/0$/, '1'), sport: n });

export const numberOf = (bytes: Buffer): number => bytes.readUInt16BE(20);

const quiet = { onError: () => {}, onTrouble: () => {} };

export const open = (kernel: EmulatedKernel, options: GatewayOptions, events = quiet): Promise<Gateway> =>
  openGateway(kernel, options, events);
