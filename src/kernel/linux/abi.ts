/** Numbers of Linux's user-space ABI. The layouts are those of 64-bit machines; byte order is the machine's. */

export const AF_NETLINK = 16;
export const SOCK_RAW = 3;
export const SOCK_CLOEXEC = 0o2000000;
export const NETLINK_XFRM = 6;
export const CLONE_NEWNET = 0x40000000;

export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;

export const SOL_NETLINK = 270;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

/** struct nlmsghdr: the kernel drops anything shorter without a word (netlink_rcv_skb). */
export const NLMSG_HDRLEN = 16;

/** struct sockaddr_nl, in 32-bit words: { family 16, pad 16 }, port id, groups. */
export const SockaddrNl = { bytes: 12, words: 3, portIdWord: 1, groupsWord: 2 } as const;

/** struct iovec, in 64-bit words: base, length. */
export const Iovec = { bytes: 16, words64: 2, baseWord64: 0, lengthWord64: 1 } as const;

/**
 * struct mmsghdr: { msghdr { name, namelen, iov, iovlen, control, controllen, flags }, len }. Positions ending in 64 count 64-bit words,
 * the others 32-bit words.
 */
export const Mmsghdr = {
  bytes: 64,
  words: 16,
  words64: 8,
  nameWord64: 0,
  nameLengthWord: 2,
  iovWord64: 2,
  iovCountWord64: 3,
  flagsWord: 12,
  lengthWord: 14,
} as const;
