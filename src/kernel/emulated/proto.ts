import { IpProto } from '../../xfrm/index.ts';

/** Protocols whose SAs are found by SPI. */
export function usesSpi(proto: number): boolean {
  return proto === IpProto.ESP || proto === IpProto.AH || proto === IpProto.COMP;
}

/** Whether a protocol is what a flush or a dump asks for: 0 is all, 255 all of IPsec (xfrm_id_proto_match). */
export function protoMatches(proto: number, wanted: number): boolean {
  return wanted === 0 || proto === wanted || (wanted === IpProto.IPSEC_ANY && usesSpi(proto));
}
