/** Numbers of Linux's user-space ABI. The layouts are those of 64-bit machines; byte order is the machine's. */

export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_KEY = 15;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_CLOEXEC = 0o2000000;
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
export const PF_KEY_V2 = 2;
export const CLONE_NEWNET = 0x40000000;

export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_MARK = 36;

export const SOL_NETLINK = 270;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_DROP_MEMBERSHIP = 2;
export const NETLINK_PKTINFO = 3;
export const NETLINK_BROADCAST_ERROR = 4;
export const NETLINK_NO_ENOBUFS = 5;
export const NETLINK_LISTEN_ALL_NSID = 8;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;
export const NETLINK_GET_STRICT_CHK = 12;

export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
export const IPPROTO_UDP = 17;
export const UDP_ENCAP = 100;
export const UDP_ENCAP_ESPINUDP = 2;

export const SOL_PACKET = 263;
export const PACKET_IGNORE_OUTGOING = 23;
export const ETH_P_ALL = 3;

export const POLLIN = 1;

export const SCHED_OTHER = 0;
export const SCHED_FIFO = 1;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

/** struct nlmsghdr: the kernel drops anything shorter without a word (netlink_rcv_skb). */
export const NLMSG_HDRLEN = 16;
/** struct sadb_msg. */
export const SADB_MSG_BYTES = 16;

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
  controlWord64: 4,
  controlLengthWord64: 5,
  flagsWord: 12,
  lengthWord: 14,
} as const;

/** struct cmsghdr, in 32-bit words: length (64 bits), level, type; then the data. */
export const Cmsghdr = { levelWord: 2, typeWord: 3, dataWord: 4 } as const;

/** linux/capability.h: the header with its version and a process id (0: this thread); the data in words, two of each set. */
export const CAPABILITY_VERSION_3 = 0x20080522;
export const CAP_NET_ADMIN = 12;
export const CapabilityData = { words: 6, effectiveWord: 0 } as const;
