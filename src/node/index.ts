/** The daemon: configuration, life, wiring of the rooms, control socket. */
export type { DryRun } from '../replica/index.ts';
export { ConfigError, checkHooks, readConfig, readGatewayConfig } from './config.ts';
export { callControl } from './control-client.ts';
export type { ControlRequest } from './control-protocol.ts';
export type { Status } from './status.ts';

// What only a node needs, or the making of keys, is loaded when it is called: the commands that talk to a daemon do without.

type InitPair = typeof import('./init.ts').initCluster;
export const initCluster: InitPair = async (options) => (await import('./init.ts')).initCluster(options);

type StartNode = typeof import('./node.ts').startNode;
export const startNode: StartNode = async (...of) => (await import('./node.ts')).startNode(...of);

type OpenMachine = typeof import('./machine.ts').openMachine;
export const openMachine: OpenMachine = async (...of) => (await import('./machine.ts')).openMachine(...of);

type OpenLog = typeof import('./log.ts').openLog;
export const openLog = async (...of: Parameters<OpenLog>): Promise<ReturnType<OpenLog>> =>
  (await import('./log.ts')).openLog(...of);

type StatusOf = typeof import('./status.ts').statusOf;
export const loadStatusOf = async (): Promise<StatusOf> => (await import('./status.ts')).statusOf;
