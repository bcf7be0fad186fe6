import type { Policy } from '../client/index.ts';
import {
  formatAddress,
  formatSpi,
  PolicyAction,
  PolicyDir,
  PolicyFlag,
  PolicyType,
  Share,
  type UserTmpl,
} from '../xfrm/index.ts';
import { lifetimeText } from './lifetime-options.ts';
import { paint } from './output.ts';
import { bitsText, block, markText, modeText, protoText, selectorText, wordOf } from './text.ts';

/** A policy for people. */
export function policyText({ body, attributes }: Policy): string {
  const { mark, ifId, policyType, tmpl } = attributes;
  const [used, times] = lifetimeText(body.curlft, body.lft);
  const heading =
    `${paint('strong', selectorText(body.sel))}  ${paint('strong', wordOf(PolicyDir, body.dir))}  ` +
    `${wordOf(PolicyAction, body.action)}  priority ${body.priority}  index ${body.index}`;
  return block(heading, [
    ...(tmpl ?? []).map((one): [string, string] => ['template', templateText(one, body.sel.family)]),
    ['type', policyType && policyType.type !== PolicyType.MAIN ? wordOf(PolicyType, policyType.type) : undefined],
    ['mark', mark && markText(mark)],
    ['if_id', ifId?.toString()],
    ['flags', bitsText(PolicyFlag, body.flags)],
    ['share', body.share === Share.ANY ? undefined : wordOf(Share, body.share)],
    ['used', used],
    ['time', times],
  ]);
}

function templateText(tmpl: UserTmpl, policyFamily: number): string {
  const family = tmpl.family || policyFamily;
  const spi = tmpl.id.spi === 0 ? '' : ` ${formatSpi(tmpl.id.spi)}`;
  const wanted = [
    tmpl.optional ? 'optional' : '',
    tmpl.share === Share.ANY ? '' : `share ${wordOf(Share, tmpl.share)}`,
  ];
  const addresses = `${formatAddress(tmpl.saddr, family)} -> ${formatAddress(tmpl.id.daddr, family)}`;
  const head = `${addresses}  ${protoText(tmpl.id.proto)}${spi}  ${modeText(tmpl.mode)}  reqid ${tmpl.reqid}`;
  return [head, ...wanted.filter((part) => part !== '')].join('  ');
}
