import { release } from 'node:os';
import { KernelError } from '../kernel/index.ts';
import { abi, type LinuxSystem } from '../kernel/linux/index.ts';
import { NlmF } from '../netlink/index.ts';
import { AddressFamily, AeFlag, IpProto, parseAddress, usersaInfo, XFRM_INF } from '../xfrm/index.ts';
import { ask } from './linux-sa.ts';
import { netlinkAddress } from './linux-sockets.ts';
import { LinuxWorld } from './linux-world.ts';
import type { Scenario } from './scenario.ts';

/** What a kernel's answers depend on, as scenarios say it. */
export type KernelFacts = Pick<Scenario, 'kernel' | 'hz' | 'pad64'>;

/** Set as ticks and read back as tenths of a second, so the quotient tells how many ticks a second has. */
const THRESHOLD_TICKS = 100_000_000;
const SPI = 0x100;
const KEY_BITS = 160;

/**
 * Asks the running kernel, with an SA in a namespace of its own.
 * @throws KernelError also ERR_NO_XFRM if it has no ESP
 */
export function linuxFacts(system: LinuxSystem): KernelFacts {
  const world = new LinuxWorld(system, 'single');
  try {
    const fd = world.keepSocket('a', 'Cannot open a socket for XFRM requests', {
      family: abi.AF_NETLINK,
      type: abi.SOCK_RAW,
      protocol: abi.NETLINK_XFRM,
      address: netlinkAddress(0, 0),
    });
    addSa(system, fd);
    const reply = ask(system, fd, {
      kind: 'GETAE',
      flags: NlmF.REQUEST,
      seq: 2,
      pid: 0,
      body: { saId: identity(), saddr: address('192.0.2.1'), flags: AeFlag.ETHR, reqid: 0 },
      attributes: {},
    });
    if (reply.kind !== 'NEWAE') throw new Error(`The kernel answers GETAE with ${reply.kind}`);
    const { etimerThresh = 0, pad } = reply.attributes;
    return { kernel: release(), hz: Math.round((10 * THRESHOLD_TICKS) / etimerThresh), pad64: pad !== undefined };
  } finally {
    world.close();
  }
}

function addSa(system: LinuxSystem, fd: number): void {
  const body = usersaInfo.zero();
  body.family = AddressFamily.INET;
  body.id = { daddr: identity().daddr, spi: SPI, proto: IpProto.ESP };
  body.saddr = address('192.0.2.1');
  for (const limit of ['softByteLimit', 'hardByteLimit', 'softPacketLimit', 'hardPacketLimit'] as const) {
    body.lft[limit] = XFRM_INF;
  }
  const reply = ask(system, fd, {
    kind: 'NEWSA',
    flags: NlmF.REQUEST | NlmF.ACK,
    seq: 1,
    pid: 0,
    body,
    attributes: {
      algCrypt: { name: 'ecb(cipher_null)', keyLen: 0, key: new Uint8Array(0) },
      algAuthTrunc: { name: 'hmac(sha1)', keyLen: KEY_BITS, truncLen: 96, key: new Uint8Array(KEY_BITS / 8) },
      etimerThresh: THRESHOLD_TICKS,
    },
  });
  const errno = reply.kind === 'ERROR' ? -reply.body.error : 0;
  if (errno === 0) return;
  throw new KernelError(
    'ERR_NO_XFRM',
    `This kernel makes no SA of type ESP (errno ${errno}): load it on the host with: modprobe -a esp4 esp6 ah4 ah6 crypto_null hmac sha1_generic sha256_generic authenc authencesn`,
    { errno },
  );
}

const identity = () => ({
  daddr: address('192.0.2.2'),
  spi: SPI,
  family: AddressFamily.INET,
  proto: IpProto.ESP,
});

const address = (text: string) => parseAddress(text)?.address ?? usersaInfo.zero().saddr;
