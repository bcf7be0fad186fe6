/** The machine under the real kernel's door: namespaces, raw sockets, rights, TUN devices. A door of its own, as few need it. */
export { syscallError } from '../errors.ts';
export * as abi from './abi.ts';
export { type LinuxSystem, openSystem, type ProcessorHold } from './system.ts';
export { openTun } from './tun.ts';
