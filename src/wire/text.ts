import type { Json, JsonObject } from './json.ts';

/** The fields of a message for people: every one by name, parts indented. */
export function textLines(object: JsonObject, indent: string): string[] {
  return Object.entries(object).flatMap(([name, value]) => {
    if (Array.isArray(value) && value.some((v) => typeof v === 'object' && v !== null)) {
      return value.flatMap((entry) => [`${indent}${name}`, ...textLines(entry as JsonObject, `${indent}  `)]);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return [`${indent}${name} ${inline(value)}`];
    const flat = Object.values(value).every((v) => typeof v !== 'object' || v === null || Array.isArray(v));
    const oneLine = `${indent}${name} ${Object.entries(value)
      .map(([k, v]) => `${k} ${inline(v)}`)
      .join(' ')}`;
    return flat && oneLine.length <= 160 ? [oneLine] : [`${indent}${name}`, ...textLines(value, `${indent}  `)];
  });
}

function inline(value: Json): string {
  if (value === null) return 'none';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.join(',');
  return value === '' ? '""' : String(value);
}
