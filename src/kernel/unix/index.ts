/** How a netlink socket goes over a stream: for who offers a kernel on a Unix socket. A door of its own. */
export { type Fault, FrameReader, FrameType, frame, words } from './frames.ts';
