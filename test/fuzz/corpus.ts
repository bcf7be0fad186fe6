import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Every different netlink message in the vectors: requests of all kinds, sound and malformed, answers and events. */
export function recordedMessages(directory: string): Uint8Array[] {
  const seen = new Set<string>();
  for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!file.endsWith('.jsonl.gz') || file.includes('pfkey')) continue;
    for (const line of gunzipSync(readFileSync(join(directory, file)))
      .toString()
      .trim()
      .split('\n')) {
      const { steps } = JSON.parse(line) as { steps: { op: string; hex?: string | string[]; reply?: string[] }[] };
      for (const { hex = [], reply = [] } of steps) for (const message of [hex, reply].flat()) seen.add(message);
    }
  }
  return [...seen].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex'))).filter(({ length }) => length >= 16);
}
