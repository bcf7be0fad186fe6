import { open, readFile, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Durable, Role } from '../replica/index.ts';

/**
 * Role and term of a node on disk. A term counts only once it is here: written to a new file, flushed, renamed over the old one, and
 * the directory flushed, so that a crash leaves the old state or the new one.
 */
export interface RoleStore {
  load(): Promise<(Durable & { readonly bootId: string }) | undefined>;
  save(durable: Durable): Promise<void>;
  /** Hard packet limits of key managers that ceilings hide, by SA. Of this boot alone: afterwards there are other SAs. */
  loadLimits(): Promise<(readonly [sa: string, limit: bigint])[]>;
  saveLimits(limits: readonly (readonly [sa: string, limit: bigint])[]): Promise<void>;
}

export class StateError extends Error {
  override readonly name = 'StateError';
  readonly code = 'ERR_STATE';
}

export function roleStore(directory: string, bootId: string): RoleStore {
  const file = join(directory, 'role.json');
  const limitsFile = join(directory, 'limits.json');
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
      return state;
    },
    save: ({ term, role, opening }) => replaceFile(file, { term, role, ...(opening ? { opening } : {}), bootId }),
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

function parse(text: string): (Durable & { bootId: string }) | undefined {
  try {
    const { term, role, bootId, opening } = JSON.parse(text) as Record<string, unknown>;
    if (!Number.isSafeInteger(term) || (term as number) < 0 || (term as number) > 0xffff_ffff) return undefined;
    if (role !== 'active' && role !== 'standby') return undefined;
    const saved = { term: term as number, role: role as Role, bootId: typeof bootId === 'string' ? bootId : '' };
    return opening === true ? { ...saved, opening } : saved;
  } catch {
    return undefined;
  }
}

/** Changes with every boot: after a boot the kernel has no SAs, so a node that was active is not any more. */
export async function readBootId(): Promise<string> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    (text) => text.trim(),
    () => 'unknown',
  );
}
