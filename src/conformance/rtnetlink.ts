import { align4, NLMSG_HDRLEN, NlmF } from '../netlink/index.ts';

/**
 * As much of NETLINK_ROUTE (linux/rtnetlink.h, if_link.h, if_addr.h, veth.h) as it takes to join two namespaces. Written out by hand: in
 * VETH_INFO_PEER a structure stands before the attributes, which is the only one of its kind.
 */

const RTM_NEWLINK = 16;
const RTM_NEWADDR = 20;
const Ifla = { ADDRESS: 1, IFNAME: 3, LINKINFO: 18, NET_NS_FD: 28 } as const;
const IflaInfo = { KIND: 1, DATA: 2 } as const;
const VETH_INFO_PEER = 1;
const Ifa = { ADDRESS: 1, LOCAL: 2 } as const;
const IFA_F_NODAD = 2;
const IFF_UP = 1;
const IFF_NOARP = 0x80;

export interface LinkEnd {
  readonly name: string;
  readonly index: number;
  /** Hardware address. */
  readonly mac: Uint8Array;
}

/**
 * A pair of veth: `here`, and `there` in the namespace of that descriptor. They ask for no hardware addresses: frames go to the sender's
 * own, so both ends have the same one.
 */
export function newVeth(here: LinkEnd, there: LinkEnd, namespace: number): Uint8Array {
  const peer = Buffer.concat([
    ifinfomsg(there.index, IFF_NOARP),
    ...linkAttributes(there),
    attribute(Ifla.NET_NS_FD, word(namespace)),
  ]);
  return request(RTM_NEWLINK, NlmF.CREATE | NlmF.EXCL, [
    ifinfomsg(here.index, IFF_NOARP),
    ...linkAttributes(here),
    attribute(
      Ifla.LINKINFO,
      attribute(IflaInfo.KIND, text('veth')),
      attribute(IflaInfo.DATA, attribute(VETH_INFO_PEER, peer)),
    ),
  ]);
}

export function linkUp(index: number): Uint8Array {
  return request(RTM_NEWLINK, 0, [ifinfomsg(index, IFF_UP)]);
}

/** `address` has 4 or 16 bytes; it is there at once, without a look for duplicates. */
export function newAddress(index: number, family: number, address: Uint8Array, prefixLength: number): Uint8Array {
  const ifaddrmsg = Buffer.concat([Uint8Array.of(family, prefixLength, IFA_F_NODAD, 0), word(index)]);
  return request(RTM_NEWADDR, NlmF.CREATE | NlmF.EXCL, [
    ifaddrmsg,
    attribute(Ifa.LOCAL, address),
    attribute(Ifa.ADDRESS, address),
  ]);
}

const linkAttributes = ({ name, mac }: LinkEnd): Buffer[] => [
  attribute(Ifla.IFNAME, text(name)),
  attribute(Ifla.ADDRESS, mac),
];

/** struct ifinfomsg: family and type 0, index, and the flags that are to be set. */
const ifinfomsg = (index: number, flags: number): Buffer => Buffer.concat([word(0), words(index, flags, flags)]);

function request(type: number, flags: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = NLMSG_HDRLEN + parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([word(length), halves(type, NlmF.REQUEST | NlmF.ACK | flags), words(1, 0), ...parts]);
}

function attribute(type: number, ...parts: readonly Uint8Array[]): Buffer {
  const payload = Buffer.concat(parts);
  const padding = new Uint8Array(align4(payload.length) - payload.length);
  return Buffer.concat([halves(4 + payload.length, type), payload, padding]);
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1');
const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const word = (value: number): Uint8Array => words(value);
const halves = (...values: number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer);
