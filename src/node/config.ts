import { access, constants, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { type Config, type GatewayConfig, gatewaySchema, schema } from './config-schema.ts';

/** A configuration that cannot be used; `message` names file, key and remedy. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'ERR_CONFIG';
}

const CONFIG_BYTES_MAX = 1 << 20;

/** Reads and checks the configuration of a node; relative paths in it start at its folder. @throws ConfigError */
export async function readConfig(path: string): Promise<Config> {
  return parseConfig(await textOf(path, '; "xfrmsync init" writes one'), path);
}

/** The same for a gateway without a partner. @throws ConfigError */
export async function readGatewayConfig(path: string): Promise<GatewayConfig> {
  const config = checked(gatewaySchema, await textOf(path, ''), path);
  checkKernel(config, path);
  return { ...config, ...fromFolderOf(path, config) };
}

async function textOf(path: string, whereFrom: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > CONFIG_BYTES_MAX) throw new ConfigError(`${path} has ${size} bytes: that is no configuration file`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const hint = code === 'ENOENT' ? whereFrom : code === 'EACCES' ? '; run as the user that owns it' : '';
    throw new ConfigError(`cannot read the configuration ${path}: ${message}${hint}`, { cause: error });
  }
}

function checked<T extends z.ZodType>(type: T, text: string, path: string): z.output<T> {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new ConfigError(`${path}:${error.line}:${error.column}: ${error.message.split('\n')[0]}`);
  }
  const result = type.safeParse(raw, { error: wording });
  if (!result.success) {
    const issues = result.error.issues.map((issue) => issueText(issue, raw));
    throw new ConfigError(`${path}: ${issues.join('; ')}`);
  }
  return result.data;
}

export function parseConfig(text: string, path: string): Config {
  const config = checked(schema, text, path);
  checkNodes(config, path);
  if (config.link.timeout_ms < 2 * config.link.ping_ms)
    throw new ConfigError(
      `${path}: link.timeout_ms must be at least twice link.ping_ms, or a node that is there counts as gone`,
    );
  checkKernel(config, path);
  const at = (p: string): string => resolve(dirname(resolve(path)), p);
  const { claim, release } = config.hooks;
  return {
    ...config,
    ...fromFolderOf(path, config),
    node: { ...config.node, state_dir: at(config.node.state_dir), control: at(config.node.control) },
    link: { ...config.link, key: at(config.link.key), cert: at(config.link.cert) },
    hooks: { ...config.hooks, ...(claim ? { claim: at(claim) } : {}), ...(release ? { release: at(release) } : {}) },
  };
}

/** Each node once. */
function checkNodes({ node, peer }: Config, path: string): void {
  const twice = (of: readonly string[]): string | undefined => of.find((value, i) => of.indexOf(value) !== i);
  const name = twice([node.name, ...peer.map((one) => one.name)]);
  if (name !== undefined)
    throw new ConfigError(
      `${path}: two nodes are named "${name}": peer.name must differ from node.name and from each other`,
    );
  const pin = twice(peer.map((one) => one.pin));
  if (pin !== undefined)
    throw new ConfigError(`${path}: two peers have the pin ${pin}: each node has a key of its own`);
}

/** What both kinds of configuration have. */
type Machinery = Pick<Config, 'gateway' | 'log'> & {
  readonly kernel: GatewayConfig['kernel'] & Partial<Config['kernel']>;
};

/** What only the emulated kernel has. */
function checkKernel({ kernel, gateway }: Machinery, path: string): void {
  if (kernel.type === 'emulated') return;
  const wrong = [
    ...(['release', 'socket'] as const).flatMap((key) => (kernel[key] === undefined ? [] : [`kernel.${key}`])),
    ...(gateway === undefined ? [] : ['gateway']),
    ...(kernel.via === 'pfkey' ? ['kernel.via = "pfkey"'] : []),
  ];
  if (wrong.length > 0) throw new ConfigError(`${path}: ${wrong.join(', ')} needs kernel.type = "emulated"`);
}

/** The files of both kinds of configuration. */
function fromFolderOf<K extends Machinery['kernel']>(
  path: string,
  { kernel, log }: { readonly kernel: K; readonly log: Config['log'] },
): { kernel: K; log: Config['log'] } {
  const at = (p: string): string => resolve(dirname(resolve(path)), p);
  return {
    kernel: { ...kernel, ...(kernel.socket ? { socket: at(kernel.socket) } : {}) },
    log: { ...log, ...(log.file ? { file: at(log.file) } : {}) },
  };
}

/** For people who write TOML, not TypeScript. */
function wording(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') {
    const expected = TOML_TYPES[issue.expected] ?? issue.expected;
    return issue.input === undefined ? 'is missing' : `must be ${expected}`;
  }
  if (issue.input === undefined) return 'is missing';
  if (issue.code === 'invalid_value')
    return `must be ${issue.values.map((value) => `"${String(value)}"`).join(' or ')}`;
  if (issue.code === 'too_small') return `must be at least ${issue.minimum}`;
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}`;
  return undefined;
}

const TOML_TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  int: 'a whole number',
  number: 'a whole number',
  boolean: 'true or false',
  array: 'an array',
  object: 'a table',
};

function issueText(issue: z.core.$ZodIssue, raw: unknown): string {
  // `[peer]` is one that has no number.
  const isOnePeer = !Array.isArray((raw as { peer?: unknown }).peer);
  const where = issue.path.filter((_, i) => !(isOnePeer && i === 1 && issue.path[0] === 'peer')).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys
      .map((key) => `${where === '' ? '' : `${where}.`}${key} is not a key that xfrmsync knows`)
      .join('; ');
  }
  return `${where || 'the file'}: ${issue.message}`;
}

/** Programs that the configuration names must be there before they are needed. @throws ConfigError */
export async function checkHooks(config: Config): Promise<void> {
  for (const which of ['claim', 'release'] as const) {
    const path = config.hooks[which];
    if (path === undefined) continue;
    const remedy = 'make it an executable file, or remove the key';
    try {
      await access(path, constants.X_OK);
    } catch (cause) {
      throw new ConfigError(`hooks.${which}: ${path} cannot be run (${(cause as Error).message}); ${remedy}`, {
        cause,
      });
    }
    if (!(await stat(path)).isFile()) throw new ConfigError(`hooks.${which}: ${path} is no file; ${remedy}`);
  }
}
