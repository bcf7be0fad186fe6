/** The machine under the real kernel's door, for those who examine it: namespaces, raw sockets, rights. A door of its own, as few need it. */
export { syscallError } from '../errors.ts';
export * as abi from './abi.ts';
export { type LinuxSystem, openSystem, type ReceivedDatagram } from './system.ts';
