/** The user-space gateway: an emulated kernel, ESP, and UDP ports or a TUN device around them. */
export { type Gateway, type GatewayCounts, type GatewayOptions, openGateway } from './gateway.ts';
export type { Inside } from './inside.ts';
