import { endianness } from 'node:os';

/** Netlink speaks the byte order of the host (netlink(7)). */
export const hostLittleEndian: boolean = endianness() === 'LE';
