/** An SA as `ip -s xfrm state` tells it, and the same words made from a decoded one: whoever errs, they differ. Pure functions. */
import type { Sa } from 'xfrmsync';
import { formatAddress, SaFlag, XFRM_INF, XfrmMode } from 'xfrmsync/xfrm';

export type Fields = Readonly<Record<string, string>>;

/** The words of iproute2 for SA flags. */
const flagWords = {
  noecn: SaFlag.NOECN,
  'decap-dscp': SaFlag.DECAP_DSCP,
  nopmtudisc: SaFlag.NOPMTUDISC,
  wildrecv: SaFlag.WILDRECV,
  icmp: SaFlag.ICMP,
  'af-unspec': SaFlag.AF_UNSPEC,
  align4: SaFlag.ALIGN4,
  esn: SaFlag.ESN,
} as const;

const patterns: Readonly<Record<string, RegExp>> = {
  src: /^src (\S+) dst/,
  dst: /^src \S+ dst (\S+)/,
  spi: /\bspi 0x([0-9a-f]{8})/,
  reqid: /\breqid (\d+)/,
  mode: /\bmode (\w+)/,
  window: /\breplay-window (\d+) seq/,
  mark: /^\s+mark (\S+)/m,
  ifId: /^\s+if_id (\S+)/m,
  aead: /^\s+aead (.*?)\s*$/m,
  authTrunc: /^\s+auth-trunc (.*?)\s*$/m,
  enc: /^\s+enc (.*?)\s*$/m,
  encap: /^\s+encap type (.*?)\s*$/m,
  legacy: /anti-replay context: (.*?)\s*$/m,
  esn: /anti-replay esn context:\s+(.*?)\s*$/m,
  esnWindow: /^\s+replay_window (\d+), bitmap-length \d+/m,
  esnWords: /^\s+replay_window \d+, bitmap-length (\d+)/m,
  bitmap: /bitmap-length \d+\s+((?:[0-9a-f]{8}\s)+)/,
  selector: /^\s+sel (src \S+ dst \S+)/m,
  bytes: /limit: (soft \S+\(bytes\), hard \S+\(bytes\))/,
  packets: /limit: (soft \S+\(packets\), hard \S+\(packets\))/,
  sinceAdd: /expire add: (.*?)\s*$/m,
  sinceUse: /expire use: (.*?)\s*$/m,
  current: /lifetime current:\s+(\d+\(bytes\), \d+\(packets\))/,
  added: /^\s+add (.+?) use/m,
  used: /^\s+add .+? use (.+?)\s*$/m,
  stats: /stats:\s+(replay-window \d+ replay \d+ failed \d+)/,
};

/** Every SA of the text. */
export function readIpText(text: string): Fields[] {
  return text
    .split(/^(?=src )/m)
    .filter((block) => block.trim() !== '')
    .map((block) => {
      const fields: Record<string, string> = {};
      for (const [name, pattern] of Object.entries(patterns)) {
        const found = pattern.exec(block)?.[1];
        if (found !== undefined) fields[name] = found.trim().replace(/\s+/g, ' ');
      }
      // iproute2 writes what follows the flags right behind the last of them.
      const flags = /\bflag (.*?)\s*\(0x/.exec(block)?.[1] ?? '';
      const words = Object.keys(flagWords).filter((word) => flags.split(/[ ]|extra_flag/).includes(word));
      return { ...fields, flags: words.join(' ') };
    });
}

const hex = (value: number, digits = 0): string => value.toString(16).padStart(digits, '0');
const hex0x = (value: number): string => `0x${hex(value)}`;
const key = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`;
const limit = (value: bigint): string => (value === XFRM_INF ? '(INF)' : String(value));

function time(seconds: bigint): string {
  if (seconds === 0n) return '-';
  const date = new Date(Number(seconds) * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The fields that `readIpText` finds for this SA. */
export function fieldsOf({ body, attributes }: Sa): Fields {
  const { family, lft, curlft, stats, sel } = body;
  const { algAead, algAuthTrunc, algCrypt, encap, mark, ifId, replayVal, replayEsnVal } = attributes;
  const mode =
    Object.entries(XfrmMode)
      .find(([, value]) => value === body.mode)?.[0]
      .toLowerCase() ?? '';
  const ipv4 = sel.family === 2;
  const fields: Record<string, string | undefined> = {
    src: formatAddress(body.saddr, family),
    dst: formatAddress(body.id.daddr, family),
    spi: hex(body.id.spi, 8),
    reqid: String(body.reqid),
    mode,
    window: String(body.replayWindow),
    flags: Object.entries(flagWords)
      .filter(([, bit]) => (body.flags & bit) !== 0)
      .map(([word]) => word)
      .join(' '),
    mark: mark && `${hex0x(mark.value)}/${hex0x(mark.mask)}`,
    ifId: ifId === undefined ? undefined : hex0x(ifId),
    aead: algAead && `${algAead.name} ${key(algAead.key)} (${algAead.keyLen} bits) ${algAead.icvLen}`,
    authTrunc:
      algAuthTrunc &&
      `${algAuthTrunc.name} ${key(algAuthTrunc.key)} (${algAuthTrunc.keyLen} bits) ${algAuthTrunc.truncLen}`,
    enc:
      algCrypt &&
      (algCrypt.keyLen === 0 ? algCrypt.name : `${algCrypt.name} ${key(algCrypt.key)} (${algCrypt.keyLen} bits)`),
    encap: encap && `espinudp sport ${encap.sport} dport ${encap.dport} addr ${formatAddress(encap.oa, family)}`,
    selector: `src ${formatAddress(sel.saddr, ipv4 ? 2 : 10)}/${sel.prefixlenS} dst ${formatAddress(sel.daddr, ipv4 ? 2 : 10)}/${sel.prefixlenD}`,
    bytes: `soft ${limit(lft.softByteLimit)}(bytes), hard ${limit(lft.hardByteLimit)}(bytes)`,
    packets: `soft ${limit(lft.softPacketLimit)}(packets), hard ${limit(lft.hardPacketLimit)}(packets)`,
    sinceAdd: `soft ${lft.softAddExpiresSeconds}(sec), hard ${lft.hardAddExpiresSeconds}(sec)`,
    sinceUse: `soft ${lft.softUseExpiresSeconds}(sec), hard ${lft.hardUseExpiresSeconds}(sec)`,
    current: `${curlft.bytes}(bytes), ${curlft.packets}(packets)`,
    added: time(curlft.addTime),
    used: time(curlft.useTime),
    stats: `replay-window ${stats.replayWindow} replay ${stats.replay} failed ${stats.integrityFailed}`,
  };
  if (replayEsnVal) {
    const { seq, oseq, seqHi, oseqHi, replayWindow, bmpLen, bmp } = replayEsnVal;
    fields.esn = `seq-hi ${hex0x(seqHi)}, seq ${hex0x(seq)}, oseq-hi ${hex0x(oseqHi)}, oseq ${hex0x(oseq)}`;
    fields.esnWindow = String(replayWindow);
    fields.esnWords = String(bmpLen);
    // iproute2 writes the last word first.
    fields.bitmap = bmp
      .map((word) => hex(word, 8))
      .toReversed()
      .join(' ');
  } else if (replayVal) {
    const { seq, oseq, bitmap } = replayVal;
    fields.legacy = `seq ${hex0x(seq)}, oseq ${hex0x(oseq)}, bitmap 0x${hex(bitmap, 8)}`;
  }
  return Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
