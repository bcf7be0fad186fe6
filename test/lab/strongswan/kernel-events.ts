/** What a kernel tells its key managers, as `ip xfrm monitor` shows it: software that this project did not write. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface KernelEvent {
  readonly kind: 'new' | 'updated' | 'deleted' | 'expired' | 'flushed';
  readonly of: 'sa' | 'policy';
  /** 0 for a policy. */
  readonly spi: number;
  /** Of an expiry: the SA's packets then, and whether the kernel has ended it. */
  readonly packets?: number;
  readonly hard?: boolean;
}

const HEAD = /^(Updated |Deleted |Expired |Flushed )?(?:src \S+ dst |state|policy|SA )/;

/** Whole events; the text of the last one may still be growing. */
export function parseEvents(lines: readonly string[]): KernelEvent[] {
  const blocks: string[][] = [];
  for (const line of lines) {
    if (HEAD.test(line)) blocks.push([line]);
    else blocks.at(-1)?.push(line);
  }
  return blocks.map((block) => {
    const [head = ''] = block;
    const word = head.match(HEAD)?.[1]?.trim().toLowerCase() ?? 'new';
    const text = block.join('\n');
    const spi = text.match(/^\tproto \S+ spi (0x[0-9a-f]+)/m)?.[1];
    const event = {
      kind: word as KernelEvent['kind'],
      of: spi === undefined ? 'policy' : 'sa',
      spi: Number(spi ?? 0),
    } as const;
    if (word !== 'expired') return event;
    const packets = Number(text.match(/lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)/)?.[1] ?? Number.NaN);
    return { ...event, packets, hard: /\bhard 1\b/.test(text) };
  });
}

export class KernelEvents {
  readonly #lines: string[] = [];
  readonly #child: ChildProcess;

  constructor(namespace: string) {
    const args = ['-s', '-n', namespace, 'xfrm', 'monitor', 'SA', 'expire', 'policy'];
    this.#child = spawn('ip', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', (line) => this.#lines.push(line));
  }

  /** A moment, for `since`. */
  mark(): number {
    return this.#lines.length;
  }

  since(mark: number): KernelEvent[] {
    return parseEvents(this.#lines.slice(mark));
  }

  text(mark: number): string {
    return this.#lines.slice(mark).join('\n');
  }

  close(): void {
    this.#child.kill();
  }
}
