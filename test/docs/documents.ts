import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** The Markdown files of the repository, and what can be checked in them. */

export const repository = join(import.meta.dirname, '../..');

export interface Block {
  readonly language: string;
  /** Words after the language, e.g. `run`. */
  readonly words: readonly string[];
  readonly text: string;
  /** The line of its first line, counted from 1. */
  readonly line: number;
}

export interface Document {
  /** Path from the repository. */
  readonly path: string;
  /** Lines; those of code blocks are empty. */
  readonly prose: readonly string[];
  readonly blocks: readonly Block[];
}

export function documents(): Document[] {
  const at = (folder: string): string[] =>
    readdirSync(join(repository, folder), { recursive: folder !== '.', encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name));
  return ['.', 'docs', 'test/vectors', 'bench'].flatMap(at).map(readDocument);
}

export function readDocument(path: string): Document {
  return parseDocument(relative('.', path), readFileSync(join(repository, path), 'utf8'));
}

export function parseDocument(path: string, text: string): Document {
  const prose: string[] = [];
  const blocks: Block[] = [];
  let open: { language: string; words: string[]; lines: string[]; line: number } | undefined;
  text.split('\n').forEach((line, i) => {
    const fence = /^\s*```(.*)$/.exec(line);
    if (fence && open) {
      blocks.push({ language: open.language, words: open.words, text: open.lines.join('\n'), line: open.line });
      open = undefined;
    } else if (fence) {
      const [language = '', ...words] = (fence[1] as string).trim().split(/\s+/);
      open = { language, words, lines: [], line: i + 2 };
    } else {
      open?.lines.push(line);
    }
    prose.push(fence || open ? '' : line);
  });
  return { path, prose, blocks };
}

export interface LinkInDocument {
  readonly from: string;
  readonly line: number;
  readonly target: string;
}

/** Links to places in the repository; those to other hosts are left out. */
export function localLinks({ path, prose }: Document): LinkInDocument[] {
  return prose.flatMap((line, i) =>
    [...line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => ({ from: path, line: i + 1, target: target as string }))
      .filter(({ target }) => !/^[a-z]+:/.test(target)),
  );
}

/** The anchors of a document's headings, as GitHub makes them. */
export function anchors({ prose }: Document): Set<string> {
  const seen = new Map<string, number>();
  const all = new Set<string>();
  for (const line of prose) {
    const heading = /^#{1,6} +(.*?) *#*$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const base = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const n = seen.get(base) ?? 0;
    seen.set(base, n + 1);
    all.add(n === 0 ? base : `${base}-${n}`);
  }
  return all;
}

/** Command lines of xfrmsync in shell blocks and in code spans that begin with its name. */
export function commandLines({ path, prose, blocks }: Document): { readonly at: string; readonly words: string[] }[] {
  const found: { at: string; text: string }[] = [];
  blocks.forEach(({ language, text, line }) => {
    if (!['', 'sh', 'ini', 'console', 'text'].includes(language)) return;
    text.split('\n').forEach((t, i) => {
      const match = /(?:^|[\s=/|;&])xfrmsync +(?=[a-z-])([^#|;&>]*)/.exec(t);
      if (match && (language !== 'text' || /^\s*\$/.test(t)))
        found.push({ at: `${path}:${line + i}`, text: match[1] as string });
    });
  });
  prose.forEach((t, i) => {
    for (const [, text] of t.matchAll(/`xfrmsync +([^`]*)`/g))
      found.push({ at: `${path}:${i + 1}`, text: text as string });
  });
  return found.map(({ at, text }) => ({ at, words: text.trim().split(/\s+/) }));
}
