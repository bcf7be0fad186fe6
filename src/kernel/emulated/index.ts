/** The emulated kernel: what Linux does behind the same door, in TypeScript. A door of its own, as few need it. */
export { type Clock, systemClock, VirtualClock } from './clock.ts';
export { flowIsOfSa, inferSeqHi, isWorthVerifying, readSa, type StoredSa, watchSas } from './data-plane.ts';
export {
  EmulatedKernel,
  EmulatedNamespace,
  type EmulatedOpenOptions,
  type EmulatedOptions,
  type EmulatedPfkeyOptions,
} from './emulated.ts';
export type { FaultScope } from './faults.ts';
export { findInbound, type InboundFacts, newInboundFacts, Verdict } from './input.ts';
export type { SocketSnapshot } from './listener.ts';
export type { XfrmStat } from './namespace.ts';
export { type OutboundFacts, type OutboundResult, outputSa } from './output.ts';
export type { EmulatedPfkeySocket } from './pfkey/socket.ts';
export type { PfkeySocketSnapshot } from './pfkey/sockets.ts';
export { inboundPolicyAllows } from './policy-check.ts';
export { NO_SLOT } from './sad.ts';
export type { Flow } from './selector.ts';
export type { CounterSnapshot, NamespaceSnapshot, PolicySnapshot, SaSnapshot, SnapshotOptions } from './snapshot.ts';
export type { EmulatedSocket } from './socket.ts';
export { type SaKey, type SaUsage, saUsage } from './usage.ts';
export { carry, type Passage, type UdpPacket, udpPacket } from './wire.ts';
