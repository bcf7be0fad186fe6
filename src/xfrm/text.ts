import { errnoName, errnoText, type JsonOptions, textLines } from '../wire/index.ts';
import { messageToJson } from './json.ts';
import type { AnyXfrmMessage } from './messages.ts';

/** A message for people: its kind on the first line, then every field by name, parts indented. */
export function formatMessage(message: AnyXfrmMessage, options: JsonOptions = {}): string {
  const { message: _, header: __, ...fields } = messageToJson(message, options);
  const { kind, flags, seq, pid } = message;
  const header = [kind, flags ? `flags 0x${flags.toString(16)}` : '', seq ? `seq ${seq}` : '', pid ? `pid ${pid}` : ''];
  const code = message.kind === 'ERROR' ? message.body.error : message.kind === 'DONE' ? message.body.status : 0;
  const reason = code < 0 ? [`  ${errnoName(code)}: ${errnoText(code)}`] : [];
  return [header.filter((part) => part !== '').join(' '), ...reason, ...textLines(fields, '  ')].join('\n');
}
