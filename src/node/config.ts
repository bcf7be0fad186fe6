import { access, constants, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { type Endpoint, pinPattern } from '../link/index.ts';
import { IpProto, parseAddress } from '../xfrm/index.ts';

/** A configuration that cannot be used; `message` names file, key and remedy. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'ERR_CONFIG';
}

const endpoint = z.string().transform((text, ctx): Endpoint => {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || parseAddress(host) === undefined || port < 1 || port > 65535) {
    ctx.addIssue({ code: 'custom', message: 'must be ADDRESS:PORT or [IPV6]:PORT' });
    return z.NEVER;
  }
  return { host, port };
});

const name = z.string().regex(/^[A-Za-z0-9_.-]{1,63}$/, 'must be 1 to 63 letters, digits, dots, dashes or underscores');
const file = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'must not have a NUL in it');
const ms = (fallback: number, max = 600_000): z.ZodDefault<z.ZodNumber> =>
  z.number().int().min(1).max(max).default(fallback);
const u32 = z.number().int().min(0).max(0xffff_ffff);
const protocol = z
  .enum(['esp', 'ah', 'comp'])
  .transform((text) => IpProto[text.toUpperCase() as 'ESP' | 'AH' | 'COMP']);

/** Every key of the file, with its default. Unknown keys are errors. */
const schema = z.strictObject({
  node: z.strictObject({
    name,
    cluster: name,
    state_dir: file,
    control: file,
    /** Only for the very first start; afterwards the state directory knows. */
    initial_role: z.enum(['active', 'standby']),
  }),
  link: z.strictObject({
    listen: endpoint,
    key: file,
    cert: file,
    ping_ms: ms(100, 10_000),
    /** The other node counts as gone when nothing has come from it for so long. */
    timeout_ms: ms(2_000, 60_000),
    /** Counters that move within this time go out together. */
    flush_ms: ms(5, 1_000),
  }),
  peer: z.strictObject({
    name,
    address: endpoint,
    pin: z.string().regex(pinPattern, 'must be "sha256:" and 43 characters, as "xfrmsync init" prints it'),
  }),
  replicate: z
    .strictObject({
      protocols: z.array(protocol).min(1).prefault(['esp', 'ah']),
      policies: z.boolean().default(true),
      reqids: z.array(u32).max(65_536).default([]),
      if_ids: z.array(u32).max(65_536).default([]),
      install: z.enum(['immediate', 'takeover']).default('immediate'),
      /** How often a standby writes counters that moved to its kernel. */
      apply_ms: ms(100, 10_000),
    })
    .prefault({}),
  takeover: z
    .strictObject({
      inbound: z.enum(['strict', 'window']).default('strict'),
      rate_max_pps: z.number().int().min(1).max(1_000_000_000).default(1_000_000),
      rate_floor_pps: z.number().int().min(0).max(1_000_000_000).default(10),
      drain_ms: ms(50, 10_000),
      drain_max_ms: ms(1_000, 60_000),
      handover_timeout_ms: ms(15_000),
    })
    .prefault({}),
  hooks: z
    .strictObject({
      /** Runs on the node that becomes active: take the shared addresses. */
      claim: file.optional(),
      /** Runs on the node that stops being active: give them up. */
      release: file.optional(),
      timeout_ms: ms(10_000),
    })
    .prefault({}),
  kernel: z
    .strictObject({
      /** "emulated": in the daemon's own memory, empty when it starts; needs neither Linux nor root. */
      type: z.enum(['linux', 'emulated']).default('linux'),
      /** Of the emulated kernel: which release it answers as, and where other programs reach it. */
      release: z
        .string()
        .regex(/^\d+\.\d+/, 'must be a release of Linux, such as "6.12"')
        .optional(),
      socket: file.optional(),
      receive_buffer_bytes: z
        .number()
        .int()
        .min(4096)
        .max(1 << 30)
        .default(64 << 20),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      /** Without it: standard error. */
      file: file.optional(),
    })
    .prefault({}),
});

export type Config = z.output<typeof schema>;

const CONFIG_BYTES_MAX = 1 << 20;

/** Reads and checks a configuration file; relative paths in it start at its folder. @throws ConfigError */
export async function readConfig(path: string): Promise<Config> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > CONFIG_BYTES_MAX) throw new ConfigError(`${path} has ${size} bytes: that is no configuration file`);
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const hint =
      code === 'ENOENT' ? '; "xfrmsync init" writes one' : code === 'EACCES' ? '; run as the user that owns it' : '';
    throw new ConfigError(`cannot read the configuration ${path}: ${message}${hint}`, { cause: error });
  }
  return parseConfig(text, path);
}

export function parseConfig(text: string, path: string): Config {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new ConfigError(`${path}:${error.line}:${error.column}: ${error.message.split('\n')[0]}`);
  }
  const result = schema.safeParse(raw, { error: wording });
  if (!result.success) throw new ConfigError(`${path}: ${result.error.issues.map(issueText).join('; ')}`);
  const config = result.data;
  if (config.node.name === config.peer.name) throw new ConfigError(`${path}: peer.name must differ from node.name`);
  if (config.link.timeout_ms < 2 * config.link.ping_ms)
    throw new ConfigError(
      `${path}: link.timeout_ms must be at least twice link.ping_ms, or a node that is there counts as gone`,
    );
  const { kernel } = config;
  for (const key of ['release', 'socket'] as const) {
    if (kernel.type === 'linux' && kernel[key] !== undefined)
      throw new ConfigError(`${path}: kernel.${key} is for kernel.type = "emulated" alone`);
  }
  const base = dirname(resolve(path));
  const at = (p: string): string => resolve(base, p);
  const { claim, release } = config.hooks;
  return {
    ...config,
    node: { ...config.node, state_dir: at(config.node.state_dir), control: at(config.node.control) },
    link: { ...config.link, key: at(config.link.key), cert: at(config.link.cert) },
    hooks: { ...config.hooks, ...(claim ? { claim: at(claim) } : {}), ...(release ? { release: at(release) } : {}) },
    kernel: { ...kernel, ...(kernel.socket ? { socket: at(kernel.socket) } : {}) },
    log: { ...config.log, ...(config.log.file ? { file: at(config.log.file) } : {}) },
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

function issueText(issue: z.core.$ZodIssue): string {
  const where = issue.path.join('.');
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
