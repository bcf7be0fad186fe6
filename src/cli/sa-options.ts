import { type Command, InvalidArgumentError } from 'commander';
import { SaDir, SaExtraFlag, SaFlag, XfrmMode } from '../xfrm/index.ts';
import { withLimitOptions } from './lifetime-options.ts';
import { encap, REPLAY_WINDOW_DEFAULT } from './sa-build.ts';
import { bits, hexBytes, host, mark, proto, selector, u32, u64, word } from './values.ts';

/** The options that name one SA. */
export function withSaId(command: Command): Command {
  return command
    .requiredOption('--dst <address>', 'destination address', host)
    .requiredOption('--spi <n>', 'security parameters index, decimal or 0x...', u32)
    .option('--proto <proto>', 'esp, ah or comp', proto, 50)
    .option('--mark <v/m>', 'mark, for an SA that has one', mark);
}

export function withSaWords(command: Command): Command {
  command
    .option('--src <address>', 'source address', host)
    .option('--dst <address>', 'destination address', host)
    .option('--spi <n>', 'security parameters index, decimal or 0x...', u32)
    .option('--proto <proto>', 'esp, ah or comp (default: esp)', proto)
    .option('--mode <mode>', 'transport, tunnel or beet (default: transport)', word(XfrmMode, 0xff))
    .option('--reqid <n>', 'ties the SA to the templates of policies', u32)
    .option('--aead <name>', "combined mode, such as 'rfc4106(gcm(aes))'")
    .option('--key <hex|@file>', 'key of --aead, with its salt')
    .option('--key-file <file>', 'the same from a file of hexadecimal digits')
    .option('--icv <bits>', 'length of the integrity check value of --aead (default: 128)', u32)
    .option('--enc <name-and-key...>', "cipher and its key: 'cbc(aes)' HEX|@FILE")
    .option('--auth <name-and-key...>', "integrity algorithm and its key: 'hmac(sha256)' HEX|@FILE")
    .option('--trunc <bits>', 'length that --auth is cut to; hmac(sha256) wants 128 (RFC 4868)', u32)
    .option('--comp <name>', 'compression algorithm, such as deflate')
    .option('--replay-window <n>', `packets, 0 to 4096; 0: no check (default: ${REPLAY_WINDOW_DEFAULT})`, u32)
    .option('--esn', 'extended sequence numbers')
    .option('--oseq <n>', 'last outbound sequence number that was used', u64)
    .option('--seq <n>', 'highest inbound sequence number that was accepted', u64)
    .option('--bitmap <hex>', 'replay bitmap, 8 digits a word', bitmap)
    .option('--encap <type:sport:dport[:oa]>', 'espinudp:4500:4500', encap)
    .option('--mark <v/m>', 'mark that traffic must have', mark)
    .option('--set-mark <v/m>', 'mark that packets get', mark)
    .option('--if-id <n>', 'interface id', u32)
    .option('--sel <SRC,DST[,proto[,sport[,dport]]]>', 'selector', selector)
    .option('--flags <names>', Object.keys(SaFlag).join(',').toLowerCase(), bits(SaFlag))
    .option('--extra-flags <names>', Object.keys(SaExtraFlag).join(',').toLowerCase(), bits(SaExtraFlag))
    .option('--dir <in|out>', 'direction (Linux 6.10)', word(SaDir, 0xff))
    .option('--tfc-pad <n>', 'traffic flow confidentiality padding, bytes', u32)
    .option('--threshold-packets <n>', 'packets between two aevents', u32)
    .option('--threshold-timer-jiffies <n>', 'time between two aevents, in jiffies of this kernel', u32);
  return withLimitOptions(command);
}

/** Words of eight digits, the first word first. */
export function bitmap(text: string): number[] {
  const bytes = hexBytes(text);
  if (bytes.length === 0 || bytes.length % 4 !== 0)
    throw new InvalidArgumentError('Give whole words of 8 hexadecimal digits.');
  const buffer = Buffer.from(bytes);
  return Array.from({ length: bytes.length / 4 }, (_, i) => buffer.readUInt32BE(4 * i));
}
