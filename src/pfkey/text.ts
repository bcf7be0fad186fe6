import { errnoName, errnoText, type JsonObject, type JsonOptions, textLines } from '../wire/index.ts';
import { pfkeyToJson } from './json.ts';
import type { AnyPfkeyMessage } from './messages.ts';

/** A message for people: its kind and header on the first line, then every extension by name. */
export function formatPfkey(message: AnyPfkeyMessage, options: JsonOptions = {}): string {
  const { header, extensions, otherExtensions } = pfkeyToJson(message, options) as Record<string, JsonObject>;
  const { kind, errno, satype, seq, pid } = message;
  const head = [
    kind === 'UNKNOWN' ? `UNKNOWN ${message.type}` : kind,
    satype ? `${header?.satype}` : '',
    seq ? `seq ${seq}` : '',
    pid ? `pid ${pid}` : '',
  ];
  const reason = errno === 0 ? [] : [`  ${errnoName(errno)}: ${errnoText(errno)}`];
  const other = otherExtensions === undefined ? {} : { otherExtensions };
  return [
    head.filter((part) => part !== '').join(' '),
    ...reason,
    ...textLines({ ...extensions, ...other }, '  '),
  ].join('\n');
}
