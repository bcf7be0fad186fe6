/**
 * xfrmsync as a library: typed requests and events over a kernel's XFRM. Messages without sockets are in `xfrmsync/xfrm`, netlink
 * without a family in `xfrmsync/netlink`.
 */
export * from './client/index.ts';
export * from './kernel/index.ts';
