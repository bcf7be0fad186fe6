/** ESP in user space: packets (RFC 4303), and a data plane over the emulated kernel. */
export { type EspSa, espAlgorithms } from './algorithms.ts';
export {
  EspDataPlane,
  type EspDataPlaneOptions,
  type Inbound,
  type InboundVerdict,
  type Outbound,
  type OutboundVerdict,
  type UdpEnds,
} from './data-plane.ts';
export { EspError, type EspErrorCode } from './errors.ts';
export { type EspFacts, type EspRefusal, newEspFacts, parseEsp } from './esp-packet.ts';
export type { IpRefusal } from './ip.ts';
export { type EspTransform, type EspVerdict, espTransform, newOpened, type Opened } from './transform.ts';
export { classifyUdp, NAT_T_PORT, natKeepalive, type UdpPayload } from './udp.ts';
