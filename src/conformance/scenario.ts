import { z } from 'zod';

/**
 * One recorded scenario: what was asked of a kernel, and what it did. The format is described in test/vectors/README.md. Fields that are
 * absent in an answer mean: empty, or no error.
 */

const hex = z.string().regex(/^([0-9a-f]{2})*$/, 'not lower-case hexadecimal bytes');
const u32 = z.int().min(0).max(0xffff_ffff);
const errno = z.int().min(0).max(4095);
const name = z.string().min(1).max(255);
const range = z.tuple([z.int().min(0), z.int().min(0)]);
/** For each message the byte ranges that do not count. */
const volatile = z.array(z.array(range));
const overrun = z.array(z.int());
const t = z.number();
const counters = z.record(z.string(), z.int());

const socket = z.strictObject({
  op: z.literal('socket'),
  t,
  sock: name,
  ns: name.optional(),
  proto: z.enum(['xfrm', 'pfkey']).optional(),
  portid: z.union([u32, z.enum(['auto', 'none'])]).optional(),
  groups: u32.optional(),
  opts: z.record(z.string(), z.int()).optional(),
  cap_net_admin: z.boolean().optional(),
  lazy: z.boolean().optional(),
  errno: errno.optional(),
  portid_auto: u32.optional(),
});

const setopt = z.strictObject({
  op: z.literal('setopt'),
  t,
  sock: name,
  name,
  value: z.int(),
  cap_net_admin: z.boolean().optional(),
  errno: errno.optional(),
});

const membership = {
  t,
  sock: name,
  group: z.int(),
  cap_net_admin: z.boolean().optional(),
  errno: errno.optional(),
};
const join = z.strictObject({ op: z.literal('join'), ...membership });
const leave = z.strictObject({ op: z.literal('leave'), ...membership });
const close = z.strictObject({ op: z.literal('close'), t, sock: name });

const send = z.strictObject({
  op: z.literal('send'),
  t,
  sock: name,
  hex,
  cap_net_admin: z.boolean().optional(),
  unaddressed: z.boolean().optional(),
  mask: z.array(range).optional(),
  errno: errno.optional(),
  reply: z.array(hex).optional(),
  volatile: volatile.optional(),
  datagrams: z.array(z.int().min(0)).optional(),
  overruns: z.array(overrun).optional(),
});

const events = z.strictObject({
  op: z.literal('events'),
  t,
  sock: name,
  count: z.int().min(0).optional(),
  timeout_ms: z.number().min(0).optional(),
  hex: z.array(hex).optional(),
  volatile: volatile.optional(),
  groups: z.array(u32).optional(),
  overruns: z.array(overrun).optional(),
  at: z.array(z.number()).optional(),
});

const sa = z.strictObject({
  daddr: name,
  spi: u32,
  proto: z.int().min(0).max(255),
  family: z.union([z.literal(2), z.literal(10)]),
  mark: z.tuple([u32, u32]).optional(),
});

const packetOut = z.strictObject({
  op: z.literal('packet'),
  dir: z.literal('out'),
  t,
  sa,
  ns: name.optional(),
  src: name,
  dst: name,
  dport: z.int().min(0).max(65535),
  mark: u32.optional(),
  payload: z.int().min(0).max(65535),
  count: z.int().min(0).max(65536).optional(),
  seq: z.array(u32).optional(),
  ip_len: z.array(z.int().min(0)).optional(),
  errnos: z.array(errno).optional(),
  acct: z.strictObject({ bytes: z.int(), packets: z.int() }).optional(),
  xfrm_stat: counters.optional(),
});

const packetIn = z.strictObject({
  op: z.literal('packet'),
  dir: z.literal('in'),
  t,
  sa,
  ns: name.optional(),
  packets: z.array(z.strictObject({ hex, seq: u32, seq_hi: u32.optional(), bad_icv: z.boolean().optional() })),
  verdicts: z
    .array(
      z.strictObject({
        verdict: z.enum(['accept', 'late', 'replay', 'integrity', 'drop']),
        bytes: z.int().optional(),
        xfrm_stat: counters.optional(),
      }),
    )
    .optional(),
  xfrm_stat: counters.optional(),
});

const sysctl = z.strictObject({
  op: z.literal('sysctl'),
  t,
  ns: name.optional(),
  name,
  value: z.union([z.number(), z.string()]),
  errno: errno.optional(),
});

const sysctlRead = z.strictObject({
  op: z.literal('sysctl_read'),
  t,
  ns: name.optional(),
  name,
  errno: errno.optional(),
  value: z.string().optional(),
});

const udpEncap = z.strictObject({
  op: z.literal('udp_encap'),
  t,
  ns: name.optional(),
  port: z.int().min(1).max(65535),
});

const sleep = z.strictObject({ op: z.literal('sleep'), t, ms: z.number().min(0).max(600_000) });

const step = z.discriminatedUnion('op', [
  socket,
  setopt,
  join,
  leave,
  close,
  send,
  events,
  z.discriminatedUnion('dir', [packetOut, packetIn]),
  sysctl,
  sysctlRead,
  udpEncap,
  sleep,
]);

/** More steps than any recorded scenario has; a bound on what a file can make a runner do. */
const STEPS_MAX = 10_000;

export const scenario = z.strictObject({
  name,
  category: name,
  note: z.string(),
  /** The kernel's release, e.g. `6.1.176`. */
  kernel: name.regex(/^\d+\.\d+/, 'not a kernel release'),
  hz: z.int().min(1).max(10_000),
  pad64: z.boolean(),
  topology: z.enum(['single', 'pair']),
  steps: z.array(step).max(STEPS_MAX),
});

export type Scenario = z.infer<typeof scenario>;
export type Step = Scenario['steps'][number];
