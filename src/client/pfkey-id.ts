import { type AnyPfkeyMessage, type PfkeyExtensions, SaState, SaType } from '../pfkey/index.ts';
import { AddressFamily, IpProto } from '../xfrm/index.ts';
import type { SaId } from './client.ts';

/** SAs as PF_KEY names them: by a kind, an SPI and a destination. There are no marks. */

const kinds = [
  [SaType.ESP, IpProto.ESP],
  [SaType.AH, IpProto.AH],
  [SaType.IPCOMP, IpProto.COMP],
] as const;

/** The IP protocol of a kind of SA (`SaType`); undefined: one that IPsec does not have. */
export const protoOfSatype = (satype: number): number | undefined => kinds.find(([kind]) => kind === satype)?.[1];

/** The kind of an SA; undefined: PF_KEY has none for it. */
export const satypeOfProto = (proto: number): number | undefined => kinds.find(([, of]) => of === proto)?.[0];

/** The SA that a message is about; undefined if it does not say. */
export function saIdOfPfkey({ satype, extensions }: AnyPfkeyMessage): SaId | undefined {
  const { sa, addressDst } = extensions;
  const proto = protoOfSatype(satype);
  if (proto === undefined || sa === undefined || addressDst === undefined) return undefined;
  const { address, family } = addressDst.sockaddr;
  return { daddr: address, spi: sa.spi, proto, family };
}

const FULL_PREFIX = { [AddressFamily.INET]: 32, [AddressFamily.INET6]: 128 } as const;

/** The extensions that name an SA. */
export function namingExtensions({ daddr, spi, family }: SaId): PfkeyExtensions {
  const prefixlen = FULL_PREFIX[family as keyof typeof FULL_PREFIX] ?? 0;
  return {
    sa: { spi, replay: 0, state: SaState.MATURE, auth: 0, encrypt: 0, flags: 0 },
    addressDst: { proto: 0, prefixlen, sockaddr: { family, port: 0, address: daddr } },
  };
}
