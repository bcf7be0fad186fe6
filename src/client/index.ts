/** Typed requests and an event stream over any kernel. */
export {
  type Aevent,
  type AeventValues,
  getAevent,
  newAevent,
  type Policy,
  type PolicyId,
  policyIdOf,
  type Sa,
  type SaFilter,
  type SaId,
  saIdOf,
  usersaId,
  XfrmClient,
} from './client.ts';
export { ClientError, type ClientErrorCode } from './errors.ts';
export { type EventOptions, type EventStream, type KernelEvent, openEvents } from './events.ts';
export { PfkeyClient, type PfkeyOptions, type PfkeyRequest, type PfkeySaId } from './pfkey.ts';
export { openPfkeyEvents, type PfkeyEventOptions } from './pfkey-events.ts';
export { saIdOfPfkey } from './pfkey-id.ts';
export { ReplayClient, type ReplayRequest, type ReplayResult } from './replay-client.ts';
export { ReplayCursor } from './replay-cursor.ts';
export { openReplayEvents } from './replay-events.ts';
export type { Request } from './request.ts';
export type { Result, TransportOptions } from './transport.ts';
