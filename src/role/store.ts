import { open, readFile, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Durable, Role } from '../replica/index.ts';

/**
 * Role and term of a node on disk. A term counts only once it is here: written to a new file, flushed, renamed over the old one, and
 * the directory flushed, so that a crash leaves the old state or the new one.
 */
export interface RoleStore {
  /** `life` counts how often this has been called, if `save` has been after that. */
  load(): Promise<(Durable & { readonly bootId: string; readonly life: number }) | undefined>;
  save(durable: Durable): Promise<void>;
  /** Hard packet limits of key managers that ceilings hide, by SA. Of this boot alone: afterwards there are other SAs. */
  loadLimits(): Promise<(readonly [sa: string, limit: bigint])[]>;
  saveLimits(limits: readonly (readonly [sa: string, limit: bigint])[]): Promise<void>;
}

/** Above it the numbers of grants would not be exact any more (2^53). */
const LIVES_MAX = 2 ** 20;

export class StateError extends Error {
  override readonly name = 'StateError';
  readonly code = 'ERR_STATE';
}

export function roleStore(directory: string, bootId: string): RoleStore {
  const file = join(directory, 'role.json');
  const limitsFile = join(directory, 'limits.json');
  let life = 1;
  return {
    async load() {
      let text: string;
      try {
        text = await readFile(file, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw new StateError(`cannot read ${file}: ${(error as Error).message}`, { cause: error });
      }
      const state = parse(text);
      if (state === undefined) {
        throw new StateError(
          `${file} is damaged. Look up the highest term with "xfrmsync status" on the other node, write {"term":N,"role":"standby"} into the file, and start again`,
        );
      }
      life = state.life + 1;
      return { ...state, life };
    },
    save: ({ term, role, promised, opening }) =>
      replaceFile(file, {
        term,
        role,
        life,
        bootId,
        ...(promised ? { promised } : {}),
        ...(opening ? { opening } : {}),
      }),
    async loadLimits() {
      const text = await readFile(limitsFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '{}';
        throw new StateError(`cannot read ${limitsFile}: ${error.message}`, { cause: error });
      });
      const limits = parseLimits(text, bootId);
      if (limits === undefined) throw new StateError(`${limitsFile} is damaged: remove it, and start again`);
      return limits;
    },
    saveLimits: (limits) => replaceFile(limitsFile, { bootId, limits: limits.map(([sa, limit]) => [sa, `${limit}`]) }),
  };
}

/** Written to a new file, flushed, renamed over the old one: a crash leaves one or the other. @throws StateError */
async function replaceFile(file: string, content: object): Promise<void> {
  // One name: what a crash leaves behind is written over, not collected.
  const temporary = join(dirname(file), `.${basename(file)}.new`);
  try {
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(content)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    const folder = await open(dirname(file), 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw new StateError(`cannot write ${file}: ${(error as Error).message}`, { cause: error });
  }
}

function parseLimits(text: string, bootId: string): [string, bigint][] | undefined {
  try {
    const { bootId: then, limits = [] } = JSON.parse(text) as { bootId?: unknown; limits?: unknown };
    if (then !== bootId) return [];
    return (limits as [unknown, unknown][]).map(([sa, limit]) => [String(sa), BigInt(String(limit))]);
  } catch {
    return undefined;
  }
}

function parse(text: string): (Durable & { bootId: string; life: number }) | undefined {
  try {
    const { term, role, bootId, life = 0, promised = 0, opening } = JSON.parse(text) as Record<string, unknown>;
    if (!isTerm(term) || !isTerm(promised)) return undefined;
    if (role !== 'active' && role !== 'standby') return undefined;
    if (!Number.isSafeInteger(life) || (life as number) < 0 || (life as number) > LIVES_MAX) return undefined;
    return {
      term,
      role: role as Role,
      life: life as number,
      bootId: typeof bootId === 'string' ? bootId : '',
      ...(promised > 0 ? { promised } : {}),
      ...(opening === true ? { opening } : {}),
    };
  } catch {
    return undefined;
  }
}

const isTerm = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff;

/** Changes with every boot: after a boot the kernel has no SAs, so a node that was active is not any more. */
export async function readBootId(): Promise<string> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    (text) => text.trim(),
    () => 'unknown',
  );
}
