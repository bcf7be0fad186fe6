import type { Sa } from '../client/index.ts';
import {
  EncapType,
  formatAddress,
  formatSpi,
  IpProto,
  OffloadFlag,
  SaDir,
  SaExtraFlag,
  SaFlag,
  type XfrmAttributes,
} from '../xfrm/index.ts';
import { lifetimeText } from './lifetime-options.ts';
import { paint } from './output.ts';
import { bitsText, block, markText, modeText, protoText, selectorText, wide, wordOf } from './text.ts';

/** An SA for people. Keys are shown as their length unless `showKeys` is set. */
export function saText({ body, attributes }: Sa, options: { showKeys?: boolean } = {}): string {
  const { id, saddr, family, sel, stats } = body;
  const a = attributes;
  const heading =
    paint('strong', `${formatAddress(saddr, family)} -> ${formatAddress(id.daddr, family)}`) +
    `  ${protoText(id.proto)} ${paint('strong', formatSpi(id.spi))}  ${modeText(body.mode)}  reqid ${body.reqid}` +
    `${body.seq === 0 ? '' : `  acquire ${body.seq}`}${isKernelMade(body) ? '  of the kernel' : isLarval({ body, attributes }) ? '  larval' : ''}`;
  const refused = [
    stats.replayWindow === 0 ? '' : `${stats.replayWindow} outside the window`,
    stats.replay === 0 ? '' : `${stats.replay} replayed`,
    stats.integrityFailed === 0 ? '' : `${stats.integrityFailed} with a wrong signature`,
  ].filter((part) => part !== '');
  const [used, times] = lifetimeText(body.curlft, body.lft);
  return block(heading, [
    ...algorithmRows(a, options.showKeys === true),
    ['replay', replayText(body.replayWindow, body.flags, a)],
    ['refused', refused.length === 0 ? undefined : paint('alarm', refused.join(', '))],
    ['used', used],
    ['time', times],
    ['encap', encapText(a, family)],
    ['mark', a.mark && markText(a.mark)],
    [
      'set mark',
      a.setMark === undefined ? undefined : markText({ value: a.setMark, mask: a.setMarkMask ?? 0xffff_ffff }),
    ],
    ['if_id', a.ifId?.toString()],
    ['direction', a.saDir === undefined ? undefined : wordOf(SaDir, a.saDir)],
    ['cpu', a.saPcpu?.toString()],
    ['tfc pad', a.tfcpad?.toString()],
    ['care-of', a.coaddr && formatAddress(a.coaddr, family)],
    ['offload', a.offloadDev && `ifindex ${a.offloadDev.ifindex} ${bitsText(OffloadFlag, a.offloadDev.flags)}`.trim()],
    ['selector', isAnySelector(sel) ? undefined : selectorText(sel, family)],
    ['flags', bitsText(SaFlag, body.flags)],
    ['extra', bitsText(SaExtraFlag, a.saExtraFlags ?? 0)],
  ]);
}

const keyed: readonly number[] = [IpProto.ESP, IpProto.AH, IpProto.COMP];

/** The kernel makes this one itself, beside a compression SA in tunnel mode (ipcomp4.c:ipcomp_tunnel_create). */
export const isKernelMade = ({ id }: Sa['body']): boolean => id.proto === IpProto.IPIP || id.proto === IpProto.IPV6;

/** An SPI that was reserved but has no keys yet (ALLOCSPI, ACQUIRE). */
export function isLarval({ body, attributes: a }: Sa): boolean {
  return keyed.includes(body.id.proto) && !(a.algAead || a.algAuth || a.algAuthTrunc || a.algCrypt || a.algComp);
}

const isAnySelector = (sel: Sa['body']['sel']): boolean =>
  (sel.prefixlenS | sel.prefixlenD | sel.proto | sel.sportMask | sel.dportMask | sel.ifindex) === 0;

function algorithmRows(a: XfrmAttributes, showKeys: boolean): [string, string | undefined][] {
  const keyText = (keyLen: number, key: Uint8Array): string =>
    showKeys && key.length > 0
      ? `key 0x${Buffer.from(key).toString('hex')}`
      : keyLen === 0
        ? 'no key'
        : `key ${keyLen} bits`;
  const auth = a.algAuthTrunc ?? a.algAuth;
  const trunc = a.algAuthTrunc?.truncLen;
  return [
    ['aead', a.algAead && `${a.algAead.name}, ${keyText(a.algAead.keyLen, a.algAead.key)}, icv ${a.algAead.icvLen}`],
    ['enc', a.algCrypt && `${a.algCrypt.name}, ${keyText(a.algCrypt.keyLen, a.algCrypt.key)}`],
    ['auth', auth && `${auth.name}, ${keyText(auth.keyLen, auth.key)}${trunc ? `, icv ${trunc}` : ''}`],
    ['comp', a.algComp?.name],
  ];
}

/** Kind of window, its size, last outbound and highest inbound sequence number. */
export function replayText(legacyWindow: number | undefined, flags: number, a: XfrmAttributes): string | undefined {
  const esn = a.replayEsnVal;
  if (esn) {
    const isEsn = (flags & SaFlag.ESN) !== 0 || esn.oseqHi !== 0 || esn.seqHi !== 0;
    const bitmap = esn.bmp.map((word) => word.toString(16).padStart(8, '0')).join(' ');
    return (
      `${isEsn ? 'ESN' : 'bitmap'} window ${esn.replayWindow}, oseq ${wide(esn.oseqHi, esn.oseq)}, ` +
      `seq ${wide(esn.seqHi, esn.seq)}${/[1-9a-f]/.test(bitmap) ? `, bitmap ${bitmap}` : ''}`
    );
  }
  const legacy = a.replayVal;
  if (!legacy) return undefined;
  const { oseq, seq, bitmap } = legacy;
  const window = legacyWindow === undefined ? '' : legacyWindow === 0 ? 'no window, ' : `window ${legacyWindow}, `;
  return `${window}oseq ${oseq}, seq ${seq}${bitmap === 0 ? '' : `, bitmap ${bitmap.toString(16).padStart(8, '0')}`}`;
}

function encapText(a: XfrmAttributes, family: number): string | undefined {
  if (!a.encap) return undefined;
  const { type, sport, dport, oa } = a.encap;
  const original = (oa.w0 | oa.w1 | oa.w2 | oa.w3) === 0 ? '' : `, original address ${formatAddress(oa, family)}`;
  return `${wordOf(EncapType, type)} ${sport} -> ${dport}${original}`;
}
