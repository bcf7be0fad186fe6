/** ESP in Ethernet frames: what an eavesdropper reads without a key. Pure functions. */

export interface EspFrame {
  /** ESP inside UDP, RFC 3948. */
  encapsulated: boolean;
  source: string;
  destination: string;
  spi: number;
  /** As on the wire: with ESN these are the low 32 bits. */
  seq: number;
}

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV6_BYTES = 40;
const UDP_BYTES = 8;
const PROTO_UDP = 17;
const PROTO_ESP = 50;
const NAT_T_PORT = 4500;

/** The ESP header of a frame, or undefined for all other frames. */
export function parseEsp(frame: Buffer): EspFrame | undefined {
  if (frame.length < ETHERNET_BYTES + 20) return undefined;
  const type = frame.readUInt16BE(12);
  if (type === ETHERTYPE_IPV4) {
    const at = ETHERNET_BYTES;
    const header = ((frame[at] ?? 0) & 0x0f) * 4;
    return espAt(
      frame,
      at + header,
      frame[at + 9] ?? 0,
      frame.subarray(at + 12, at + 16),
      frame.subarray(at + 16, at + 20),
    );
  }
  if (type === ETHERTYPE_IPV6 && frame.length >= ETHERNET_BYTES + IPV6_BYTES) {
    const at = ETHERNET_BYTES;
    return espAt(
      frame,
      at + IPV6_BYTES,
      frame[at + 6] ?? 0,
      frame.subarray(at + 8, at + 24),
      frame.subarray(at + 24, at + 40),
    );
  }
  return undefined;
}

function espAt(frame: Buffer, at: number, protocol: number, source: Buffer, destination: Buffer): EspFrame | undefined {
  let esp = at;
  if (protocol === PROTO_UDP) {
    if (frame.length < at + UDP_BYTES + 8) return undefined;
    if (frame.readUInt16BE(at) !== NAT_T_PORT && frame.readUInt16BE(at + 2) !== NAT_T_PORT) return undefined;
    esp = at + UDP_BYTES;
  } else if (protocol !== PROTO_ESP) return undefined;
  if (frame.length < esp + 8) return undefined;
  const spi = frame.readUInt32BE(esp);
  // RFC 3948: after four zero bytes comes IKE, not ESP.
  if (spi === 0) return undefined;
  return {
    encapsulated: protocol === PROTO_UDP,
    source: source.toString('hex'),
    destination: destination.toString('hex'),
    spi,
    seq: frame.readUInt32BE(esp + 4),
  };
}

/** The frame with another destination at its head, as a copy: the recording stays as it was. */
export function readdressed(frame: Buffer, mac: string): Buffer {
  const copy = Buffer.from(frame);
  Buffer.from(mac.replaceAll(':', ''), 'hex').copy(copy, 0);
  return copy;
}
