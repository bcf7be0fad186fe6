/** Two namespaces of the kernel that this runs on, as root of a guest; needs ESP and veth. The witness is iproute2. */
import { ok } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { linuxKernel } from 'xfrmsync';
import { send, socketAddress, udpSocket, writeSysctls } from '../lab/libc.ts';
import { readIpText } from './ip-text.ts';
import { ADDRESSES, ENCAP_PORT, type Machine, PAYLOAD_BYTES, PORTS, SIDES, TICK_MS } from './machine.ts';

const sh = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' });

export function labMachine(): Machine {
  for (const side of SIDES) sh('ip', 'netns', 'add', side);
  sh('ip', 'link', 'add', 'v0', 'netns', 'a', 'type', 'veth', 'peer', 'name', 'v0', 'netns', 'b');
  for (const side of SIDES) {
    const [four, six] = ADDRESSES[side];
    sh('ip', '-n', side, 'address', 'add', `${four}/24`, 'dev', 'v0');
    sh('ip', '-n', side, 'address', 'add', `${six}/64`, 'dev', 'v0', 'nodad');
    sh('ip', '-n', side, 'link', 'set', 'v0', 'up');
  }
  const sender = udpSocket('a', 4, ADDRESSES.a[0], PORTS.a) ?? -1;
  const receiver = udpSocket('b', 4, '', PORTS.b);
  const encapsulation = udpSocket('b', 4, '', ENCAP_PORT, { encapsulation: true });
  ok(sender >= 0 && receiver !== undefined && encapsulation !== undefined);
  const payload = Buffer.alloc(PAYLOAD_BYTES);
  const to = socketAddress(4, ADDRESSES.b[0], PORTS.b);
  return {
    kernel: (side) => linuxKernel({ namespace: `/run/netns/${side}` }),
    send(count) {
      let taken = 0;
      for (let i = 0; i < count; i++) taken += send(sender, payload, payload.length, to) >= 0 ? 1 : 0;
      return taken;
    },
    tick: () => new Promise((resolve) => setTimeout(resolve, TICK_MS)),
    setSysctl: (side, name, value) => writeSysctls(side, { [name.replace(/^net\./, '').replaceAll('.', '/')]: value }),
    witness: (side) =>
      new Map(readIpText(sh('ip', '-n', side, '-s', 'xfrm', 'state')).map((fields) => [fields.spi ?? '', fields])),
  };
}
