export { KernelError, type KernelErrorCode } from './errors.ts';
export type { Batch, Kernel, KernelSocket, OpenOptions, PfkeyOpenOptions, PfkeySocket } from './kernel.ts';
export { type LinuxKernel, type LinuxKernelOptions, linuxKernel } from './linux/linux.ts';
export type { LinuxKernelSocket, LinuxPfkeySocket } from './linux/socket.ts';
export { unixKernel } from './unix/unix.ts';
