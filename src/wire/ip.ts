/** Numbers of linux/in.h and linux/socket.h. */

export const AddressFamily = { UNSPEC: 0, INET: 2, INET6: 10 } as const;

/** IPsec protocols of an SA, and the transport protocols that selectors usually name. */
export const IpProto = {
  ANY: 0,
  ICMP: 1,
  IPIP: 4,
  TCP: 6,
  UDP: 17,
  IPV6: 41,
  ROUTING: 43,
  GRE: 47,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  DSTOPTS: 60,
  COMP: 108,
  SCTP: 132,
  IPSEC_ANY: 255,
} as const;
