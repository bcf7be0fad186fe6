import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { type Scenario, scenario } from './scenario.ts';

/**
 * Reads files of vectors: `*.jsonl` (a scenario a line) and `*.bin` (records of a length, unsigned 32 bits, little-endian, and a
 * datagram), either also gzip-compressed with `.gz` at the end of the name.
 */

type VectorErrorCode =
  /** The file or directory cannot be read, or its compression is broken. */
  | 'ERR_VECTOR_READ'
  /** The name says neither `.jsonl` nor `.bin`, or a directory has no such file. */
  | 'ERR_VECTOR_NAME'
  /** A line is no scenario, or a record is cut off. */
  | 'ERR_VECTOR_FORMAT'
  /** A line or a record is longer than any recorded one could be. */
  | 'ERR_VECTOR_SIZE';

/** A vector file that cannot be used. `line` counts from 1 (of a `.bin` file: the record). */
export class VectorError extends Error {
  override readonly name = 'VectorError';
  readonly code: VectorErrorCode;
  readonly file: string;
  readonly line: number | undefined;

  constructor(code: VectorErrorCode, file: string, line: number | undefined, reason: string, cause?: unknown) {
    super(`${file}${line === undefined ? '' : `:${line}`}: ${reason}`, cause === undefined ? undefined : { cause });
    this.code = code;
    this.file = file;
    this.line = line;
  }
}

/** The longest recorded line has 34 kB. */
const LINE_CHARS_MAX = 4 * 1024 * 1024;
/** A netlink datagram of a dump has at most 32 KiB. */
const RECORD_BYTES_MAX = 1024 * 1024;
/** Of all lines or records together, after decompression. */
const FILE_BYTES_MAX = 1024 * 1024 * 1024;

interface ScenarioLine {
  readonly file: string;
  readonly line: number;
  readonly scenario: Scenario;
}

interface DatagramRecord {
  readonly file: string;
  /** Counted from 1. */
  readonly record: number;
  readonly bytes: Uint8Array;
}

const NAME = /\.(jsonl|bin)(\.gz)?$/;

export function isStream(file: string): boolean {
  return NAME.exec(file)?.[1] === 'bin';
}

/** The vector files that a path stands for: itself, or those in a directory and the directories in it, sorted by name. */
export async function vectorFiles(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) {
      if (NAME.test(path)) return [path];
      throw new VectorError(
        'ERR_VECTOR_NAME',
        path,
        undefined,
        'the name ends neither in .jsonl nor in .bin (nor .gz)',
      );
    }
    const entries = await readdir(path, { recursive: true });
    const files = entries.filter((entry) => NAME.test(entry)).sort();
    if (files.length > 0) return files.map((entry) => join(path, entry));
  } catch (error) {
    throw error instanceof VectorError ? error : unreadable(path, undefined, error);
  }
  throw new VectorError('ERR_VECTOR_NAME', path, undefined, 'no .jsonl or .bin file in this directory');
}

const unreadable = (file: string, line: number | undefined, cause: unknown): VectorError =>
  new VectorError('ERR_VECTOR_READ', file, line, cause instanceof Error ? cause.message : String(cause), cause);

/** The file's content; errors of either stream come out of the returned one. */
function open(file: string): Readable {
  const raw = createReadStream(file);
  // The callback is there because pipeline wants one: the error is thrown where the returned stream is read.
  return file.endsWith('.gz') ? pipeline(raw, createGunzip(), () => {}) : raw;
}

/** Chunks of the file, bounded in their sum. */
async function* chunksOf(file: string): AsyncGenerator<Buffer> {
  let total = 0;
  for await (const chunk of open(file) as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > FILE_BYTES_MAX) {
      throw new VectorError('ERR_VECTOR_SIZE', file, undefined, `more than ${FILE_BYTES_MAX} bytes`);
    }
    yield chunk;
  }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const text = new TextDecoder();
  let pending = '';
  let line = 1;
  for await (const chunk of chunksOf(file)) {
    const parts = (pending + text.decode(chunk, { stream: true })).split('\n');
    pending = parts.pop() ?? '';
    for (const part of parts) {
      yield part;
      line++;
    }
    if (pending.length > LINE_CHARS_MAX) {
      throw new VectorError('ERR_VECTOR_SIZE', file, line, `more than ${LINE_CHARS_MAX} characters in a line`);
    }
  }
  pending += text.decode();
  if (pending !== '') yield pending;
}

/** @throws VectorError at the first line that is no scenario */
export async function* readScenarios(file: string): AsyncGenerator<ScenarioLine> {
  let line = 0;
  try {
    for await (const text of linesOf(file)) {
      line++;
      if (text.trim() !== '') yield { file, line, scenario: parseScenario(file, line, text) };
    }
  } catch (error) {
    throw error instanceof VectorError ? error : unreadable(file, line + 1, error);
  }
}

function parseScenario(file: string, line: number, text: string): Scenario {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VectorError('ERR_VECTOR_FORMAT', file, line, `no JSON: ${(error as Error).message}`, error);
  }
  const parsed = scenario.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.join('.') || 'scenario';
  throw new VectorError('ERR_VECTOR_FORMAT', file, line, `${path}: ${issue?.message ?? 'no scenario'}`, parsed.error);
}

const LENGTH_BYTES = 4;

/** @throws VectorError at the first record that is cut off or too long */
export async function* readRecords(file: string): AsyncGenerator<DatagramRecord> {
  let record = 1;
  let pending: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of chunksOf(file)) {
      pending = Buffer.concat([pending, chunk]);
      let at = 0;
      while (pending.length - at >= LENGTH_BYTES) {
        const length = pending.readUInt32LE(at);
        if (length > RECORD_BYTES_MAX) {
          throw new VectorError('ERR_VECTOR_SIZE', file, record, `a record of ${length} bytes`);
        }
        if (pending.length - at - LENGTH_BYTES < length) break;
        yield { file, record, bytes: pending.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length) };
        at += LENGTH_BYTES + length;
        record++;
      }
      pending = pending.subarray(at);
    }
  } catch (error) {
    throw error instanceof VectorError ? error : unreadable(file, record, error);
  }
  if (pending.length > 0) throw new VectorError('ERR_VECTOR_FORMAT', file, record, 'the last record is cut off');
}
