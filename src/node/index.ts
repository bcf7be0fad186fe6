/** The daemon: configuration, life, wiring of the rooms, control socket. */
export { ConfigError, checkHooks, readConfig } from './config.ts';
export { ControlError, callControl } from './control-client.ts';
export type { ControlRequest } from './control-protocol.ts';
export { initPair } from './init.ts';
export { openLog } from './log.ts';
export { startNode } from './node.ts';
export type { Status } from './status.ts';
