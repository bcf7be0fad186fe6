import { z } from 'zod';
import type { Inside } from '../gateway/index.ts';
import { type Endpoint, pinPattern } from '../link/index.ts';
import { IpProto, parseAddress } from '../xfrm/index.ts';

/** The configuration files, key by key. */

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

const address = z.string().refine((text) => parseAddress(text) !== undefined, 'must be an IPv4 or IPv6 address');

const kernelKeys = (type: 'linux' | 'emulated') => ({
  /** "emulated": in the daemon's own memory, empty when it starts; needs neither Linux nor root. */
  type: z.enum(['linux', 'emulated']).default(type),
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
});

/** How a node speaks with its kernel. "pfkey": with the replay notifications of 2004, which only the emulated kernel has. */
const via = z.enum(['netlink', 'pfkey']).default('netlink');

/** The user-space gateway: ESP in UDP, for the emulated kernel. */
const gateway = z.strictObject({
  listen: endpoint,
  /** Its own outer addresses, as SAs name them: at most one of each family. */
  addresses: z.array(address).min(1).max(2),
  remotes: z
    .array(z.strictObject({ address, at: endpoint }))
    .min(1)
    .max(65_536),
  /** The other gateway of a pair: gets what still arrives here after a planned release. */
  partner: z.strictObject({ outside: endpoint, inside: endpoint.optional() }).optional(),
  /** Where packets to protect come from, and those that were unprotected go: a TUN device, or UDP with a packet in each datagram. */
  inside: z
    .strictObject({
      tun: z
        .string()
        .regex(/^[A-Za-z0-9_.-]{1,15}$/, 'must be the name of a network device')
        .optional(),
      listen: endpoint.optional(),
      to: endpoint.optional(),
    })
    .transform(({ tun, listen, to }, ctx): Inside => {
      if (tun !== undefined && listen === undefined && to === undefined) return { tun };
      if (tun === undefined && listen !== undefined && to !== undefined) return { listen, to };
      ctx.addIssue({ code: 'custom', message: 'must have either tun, or listen and to' });
      return z.NEVER;
    }),
});

const log = z
  .strictObject({
    level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    /** Without it: standard error. */
    file: file.optional(),
  })
  .prefault({});

/** Other nodes of a cluster: each talks to each. */
export const PEERS_MAX = 7;

const peer = z.strictObject({
  name,
  address: endpoint,
  pin: z.string().regex(pinPattern, 'must be "sha256:" and 43 characters, as "xfrmsync init" prints it'),
});

/** Every key of the file, with its default. Unknown keys are errors. */
export const schema = z.strictObject({
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
  /** `[peer]` for the other node of a pair, `[[peer]]` for each of several. */
  peer: z.preprocess((value) => (Array.isArray(value) ? value : [value]), z.array(peer).min(1).max(PEERS_MAX)),
  replicate: z
    .strictObject({
      protocols: z.array(protocol).min(1).prefault(['esp', 'ah']),
      policies: z.boolean().default(true),
      reqids: z.array(u32).max(65_536).default([]),
      if_ids: z.array(u32).max(65_536).default([]),
      install: z.enum(['immediate', 'takeover']).default('immediate'),
      /** How often a standby writes counters that moved to its kernel. */
      apply_ms: ms(100, 10_000),
      /** The active reads the counters of every SA once in so long. 0: never. */
      sweep_ms: z.number().int().min(0).max(3_600_000).default(10_000),
      /** More than this many percent of all SAs deleted within a second are kept on standbys, for `promote --restore`. 100: never. */
      mass_delete_percent: z.number().int().min(1).max(100).default(50),
      mass_delete_keep_ms: ms(600_000, 86_400_000),
    })
    .prefault({}),
  exposure: z
    .strictObject({
      /** The active sets event thresholds from rates, and puts back what it found when it is active no more. */
      adaptive: z.boolean().default(true),
      /** The kernel holds back at most so many packets of an SA, and for at most so long. */
      packets: z.number().int().min(1).max(1_000_000).default(1_000),
      ms: z.number().int().min(200).max(60_000).default(1_000),
    })
    .prefault({}),
  takeover: z.strictObject({
    /**
     * What an active does that has lost its standby. "safe": it stops at the ceilings that the kernel keeps; no outbound number is used
     * twice, whatever happens. "available": it goes on, and an old active that is cut off must be fenced by somebody else.
     */
    mode: z.enum(['safe', 'available']),
    /** How many numbers a grant has at least, and how long it lasts at an SA's highest rate. */
    grant_min: z
      .number()
      .int()
      .min(16)
      .max(1 << 30)
      .default(1 << 18),
    grant_ms: ms(10_000),
    inbound: z.enum(['strict', 'window']).default('strict'),
    /** "closed": an SA that was silent up to the last pong is closed for what can have come since. "open": its window goes over as seen. */
    quiet: z.enum(['closed', 'open']).default('closed'),
    rate_max_pps: z.number().int().min(1).max(1_000_000_000).default(1_000_000),
    rate_floor_pps: z.number().int().min(0).max(1_000_000_000).default(10),
    drain_ms: ms(50, 10_000),
    drain_max_ms: ms(1_000, 60_000),
    handover_timeout_ms: ms(15_000),
  }),
  hooks: z
    .strictObject({
      /** Runs on the node that becomes active: take the shared addresses. */
      claim: file.optional(),
      /** Runs on the node that stops being active: give them up. */
      release: file.optional(),
      timeout_ms: ms(10_000),
    })
    .prefault({}),
  kernel: z.strictObject({ ...kernelKeys('linux'), via }).prefault({}),
  gateway: gateway.optional(),
  log,
});

/** A gateway without a partner. */
export const gatewaySchema = z.strictObject({
  kernel: z.strictObject(kernelKeys('emulated')).prefault({}),
  gateway,
  log,
});

export type Config = z.output<typeof schema>;
export type GatewayConfig = z.output<typeof gatewaySchema>;
