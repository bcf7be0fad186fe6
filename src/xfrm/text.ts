import { errnoName, errnoText } from '../netlink/index.ts';
import { type Json, type JsonObject, type JsonOptions, messageToJson } from './json.ts';
import type { AnyXfrmMessage } from './messages.ts';

/** A message for people: its kind on the first line, then every field by name, parts indented. */
export function formatMessage(message: AnyXfrmMessage, options: JsonOptions = {}): string {
  const { message: _, header: __, ...fields } = messageToJson(message, options);
  const { kind, flags, seq, pid } = message;
  const header = [kind, flags ? `flags 0x${flags.toString(16)}` : '', seq ? `seq ${seq}` : '', pid ? `pid ${pid}` : ''];
  const code = message.kind === 'ERROR' ? message.body.error : message.kind === 'DONE' ? message.body.status : 0;
  const reason = code < 0 ? [`  ${errnoName(code)}: ${errnoText(code)}`] : [];
  return [header.filter((part) => part !== '').join(' '), ...reason, ...lines(fields, '  ')].join('\n');
}

function lines(object: JsonObject, indent: string): string[] {
  return Object.entries(object).flatMap(([name, value]) => {
    if (Array.isArray(value) && value.some((v) => typeof v === 'object' && v !== null)) {
      return value.flatMap((entry) => [`${indent}${name}`, ...lines(entry as JsonObject, `${indent}  `)]);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return [`${indent}${name} ${inline(value)}`];
    const flat = Object.values(value).every((v) => typeof v !== 'object' || v === null || Array.isArray(v));
    const oneLine = `${indent}${name} ${Object.entries(value)
      .map(([k, v]) => `${k} ${inline(v)}`)
      .join(' ')}`;
    return flat && oneLine.length <= 160 ? [oneLine] : [`${indent}${name}`, ...lines(value, `${indent}  `)];
  });
}

function inline(value: Json): string {
  if (value === null) return 'none';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.join(',');
  return value === '' ? '""' : String(value);
}
