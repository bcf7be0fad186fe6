import type { LinuxSystem } from '../kernel/linux/index.ts';
import { NlmF } from '../netlink/index.ts';
import { type AnyXfrmMessage, decodeMessage, encodeMessage, parseAddress } from '../xfrm/index.ts';
import { checked } from './linux-sockets.ts';
import type { PacketInStep } from './target.ts';

/** Requests of the runner itself, beside those of the scenario. */

export interface LinuxSaUsage {
  readonly bytes: number;
  readonly packets: number;
  readonly late: number;
  readonly replay: number;
  readonly integrity: number;
}

/** One request, and its one answer. @throws KernelError */
export function ask(system: LinuxSystem, fd: number, request: AnyXfrmMessage): AnyXfrmMessage {
  const what = `Cannot ask the kernel (${request.kind})`;
  checked('sendto', what, system.send(fd, encodeMessage(request), null));
  const reply = system.receive(fd);
  if (typeof reply !== 'number') return decodeMessage(reply.bytes);
  checked('recvmmsg', what, reply);
  throw new Error(`${what}: no answer`);
}

/** How much an SA has been used, and what it has refused; undefined if there is none of that identity. */
export function linuxSaUsage(system: LinuxSystem, fd: number, sa: PacketInStep['sa']): LinuxSaUsage | undefined {
  const address = parseAddress(sa.daddr)?.address;
  if (address === undefined) throw new Error(`The scenario has an address that is none: ${sa.daddr}`);
  const [value, mask] = sa.mark ?? [0, 0];
  const reply = ask(system, fd, {
    kind: 'GETSA',
    flags: NlmF.REQUEST,
    seq: 1,
    pid: 0,
    body: { daddr: address, spi: sa.spi, family: sa.family, proto: sa.proto },
    attributes: sa.mark === undefined ? {} : { mark: { value, mask } },
  });
  if (reply.kind !== 'NEWSA') return undefined;
  const { curlft, stats } = reply.body;
  return {
    bytes: Number(curlft.bytes),
    packets: Number(curlft.packets),
    late: stats.replayWindow,
    replay: stats.replay,
    integrity: stats.integrityFailed,
  };
}
