import {
  EmulatedKernel,
  type EmulatedOptions,
  type EmulatedSocket,
  newInboundFacts,
  outputSa,
  VirtualClock,
} from '../../../src/kernel/emulated/index.ts';
import { forEachMessage, NlmF } from '../../../src/netlink/index.ts';
import {
  type AnyXfrmMessage,
  decodeMessage,
  encodeMessage,
  XFRM_INF,
  type XfrmMessage,
} from '../../../src/xfrm/index.ts';

/** A small world for tests: one emulated machine on a clock that is moved by hand. */

const zero = { w0: 0, w1: 0, w2: 0, w3: 0 };
const PEER = { ...zero, w0: 0x0a09_0002 };
const LOCAL = { ...zero, w0: 0x0a09_0001 };
const BYTES = 16;
export const SPI = 0x200;

export interface World {
  readonly clock: VirtualClock;
  readonly kernel: EmulatedKernel;
  readonly requests: EmulatedSocket;
}

export function world(options: EmulatedOptions = {}): World {
  const clock = new VirtualClock();
  const kernel = new EmulatedKernel({ clock, later: () => {}, ...options });
  return { clock, kernel, requests: kernel.openNow() };
}

export function newSa(attributes: XfrmMessage<'NEWSA'>['attributes'] = {}, spi = SPI): XfrmMessage<'NEWSA'> {
  return {
    kind: 'NEWSA',
    flags: NlmF.REQUEST | NlmF.ACK,
    seq: 1,
    pid: 0,
    body: {
      sel: {
        daddr: zero,
        saddr: zero,
        dport: 0,
        dportMask: 0,
        sport: 0,
        sportMask: 0,
        family: 2,
        prefixlenD: 0,
        prefixlenS: 0,
        proto: 0,
        ifindex: 0,
        user: 0,
      },
      id: { daddr: LOCAL, spi, proto: 50 },
      saddr: PEER,
      lft: {
        softByteLimit: XFRM_INF,
        hardByteLimit: XFRM_INF,
        softPacketLimit: XFRM_INF,
        hardPacketLimit: XFRM_INF,
        softAddExpiresSeconds: 0n,
        hardAddExpiresSeconds: 0n,
        softUseExpiresSeconds: 0n,
        hardUseExpiresSeconds: 0n,
      },
      curlft: { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n },
      stats: { replayWindow: 0, replay: 0, integrityFailed: 0 },
      seq: 0,
      reqid: 7,
      family: 2,
      mode: 0,
      replayWindow: 32,
      flags: 0,
    },
    attributes: {
      algAead: { name: 'rfc4106(gcm(aes))', keyLen: 160, icvLen: 128, key: new Uint8Array(20).fill(7) },
      ...attributes,
    },
  };
}

/** A policy for everything outbound, with these limits in time and so many templates. */
export function newPolicy(
  lft: Partial<XfrmMessage<'NEWPOLICY'>['body']['lft']> = {},
  templates = 0,
): XfrmMessage<'NEWPOLICY'> {
  const { body } = newSa();
  const tmpl = Array.from({ length: templates }, (_, i) => ({
    id: { daddr: LOCAL, spi: i, proto: 50 },
    family: 2,
    saddr: PEER,
    reqid: i,
    mode: 1,
    share: 0,
    optional: 0,
    aalgos: 0xffff_ffff,
    ealgos: 0xffff_ffff,
    calgos: 0xffff_ffff,
  }));
  const { sel, curlft } = body;
  const rest = { priority: 0, index: 0, dir: 1, action: 0, flags: 0, share: 0 };
  return {
    kind: 'NEWPOLICY',
    flags: NlmF.REQUEST | NlmF.ACK,
    seq: 3,
    pid: 0,
    body: { sel, lft: { ...body.lft, ...lft }, curlft, ...rest },
    attributes: templates === 0 ? {} : { tmpl },
  };
}

export function aevent(
  kind: 'NEWAE' | 'GETAE',
  attributes: XfrmMessage<'NEWAE'>['attributes'] = {},
  flags = 0,
): AnyXfrmMessage {
  return {
    kind,
    flags: NlmF.REQUEST | (kind === 'NEWAE' ? NlmF.ROOT | NlmF.ACK : 0),
    seq: 2,
    pid: 0,
    body: { saId: { daddr: LOCAL, spi: SPI, family: 2, proto: 50 }, saddr: PEER, flags, reqid: 7 },
    attributes,
  } as AnyXfrmMessage;
}

/** All that waits at a socket, decoded. */
export function received(socket: EmulatedSocket): AnyXfrmMessage[] {
  const { batch } = socket.read();
  const messages: AnyXfrmMessage[] = [];
  for (let i = 0; i < batch.count; i++) {
    const at = batch.offsets[i] as number;
    const datagram = batch.buffer.slice(at, at + (batch.lengths[i] as number));
    forEachMessage(datagram, (start) => messages.push(decodeMessage(datagram, start)));
  }
  return messages;
}

/** Sends a request and returns what came back. */
export function ask({ requests }: World, message: AnyXfrmMessage): AnyXfrmMessage[] {
  requests.send(encodeMessage(message));
  return received(requests);
}

/** `flags` of each NEWAE that waits. */
export function kinds(socket: EmulatedSocket): number[] {
  return received(socket).map((message) => (message as XfrmMessage<'NEWAE'>).body?.flags ?? -1);
}

/** One inbound packet on the SA; its verdict. */
export function packetIn({ kernel }: World, seq: number): number {
  const facts = newInboundFacts();
  Object.assign(facts.daddr, LOCAL);
  Object.assign(facts.saddr, PEER);
  facts.spi = SPI;
  facts.seq = seq;
  facts.bytes = BYTES;
  return kernel.input(facts);
}

/** One outbound packet on the only SA. */
export function packetOut({ kernel }: World): boolean {
  return outputSa(kernel.engine, kernel.engine.sad.newest(), BYTES).sent;
}
