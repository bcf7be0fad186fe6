/** The emulated kernel: what Linux does behind the same door, in TypeScript. A door of its own, as few need it. */
export { type Clock, systemClock, VirtualClock } from './clock.ts';
export {
  EmulatedKernel,
  EmulatedNamespace,
  type EmulatedOpenOptions,
  type EmulatedOptions,
} from './emulated.ts';
export { type InboundFacts, newInboundFacts, Verdict } from './input.ts';
export type { XfrmStat } from './namespace.ts';
export { type OutboundFacts, type OutboundResult, outputSa } from './output.ts';
export { inboundPolicyAllows } from './policy-check.ts';
export type { Flow } from './selector.ts';
export type { EmulatedSocket } from './socket.ts';
export { type SaKey, type SaUsage, saUsage } from './usage.ts';
