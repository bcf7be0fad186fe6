import type { Policy, Sa } from '../../client/index.ts';
import { type AddressWithFamily, sameAddress } from '../../xfrm/index.ts';

/** Which SAs and policies are replicated. Everything else is never touched, on any node. */
export interface Selection {
  /** IPsec protocols. */
  readonly protocols: readonly number[];
  /** Only these request ids; empty: all. */
  readonly reqids: readonly number[];
  /** Only these interface ids; empty: all. */
  readonly ifIds: readonly number[];
  /** SAs between these hosts protect the link between the nodes themselves and stay where they are. */
  readonly linkAddresses: readonly AddressWithFamily[];
  readonly policies: boolean;
}

export function selectsSa(selection: Selection, { body, attributes }: Sa): boolean {
  const { protocols, reqids, ifIds, linkAddresses } = selection;
  const isLink = (address: Sa['body']['saddr']): boolean =>
    linkAddresses.some((a) => a.family === body.family && sameAddress(a.address, address, body.family));
  return (
    body.id.spi !== 0 && // a larval SA that has no number yet
    protocols.includes(body.id.proto) &&
    (reqids.length === 0 || reqids.includes(body.reqid)) &&
    (ifIds.length === 0 || ifIds.includes(attributes.ifId ?? 0)) &&
    !(isLink(body.saddr) || isLink(body.id.daddr)) &&
    hasKeys(attributes)
  );
}

/** A larval SA has none. */
function hasKeys({ algAead, algAuth, algAuthTrunc, algCrypt }: Sa['attributes']): boolean {
  return (algAead ?? algAuth ?? algAuthTrunc ?? algCrypt) !== undefined;
}

export function selectsPolicy(selection: Selection, { attributes }: Policy): boolean {
  const { reqids, ifIds, linkAddresses, policies } = selection;
  const templates = attributes.tmpl ?? [];
  const isLink = templates.some((t) =>
    [t.saddr, t.id.daddr].some((a) =>
      linkAddresses.some((l) => l.family === t.family && sameAddress(l.address, a, t.family)),
    ),
  );
  return (
    policies &&
    templates.length > 0 &&
    !isLink &&
    (reqids.length === 0 || templates.some(({ reqid }) => reqids.includes(reqid))) &&
    (ifIds.length === 0 || ifIds.includes(attributes.ifId ?? 0))
  );
}
