import { z } from 'zod';

/** One request a connection, one JSON line each way, over a Unix socket that only its owner can open. */

export const CONTROL_LINE_MAX = 64 * 1024;

export const controlRequest = z.discriminatedUnion('command', [
  z.strictObject({ command: z.literal('status'), sas: z.boolean().default(false) }),
  z.strictObject({
    command: z.literal('promote'),
    force: z.boolean().default(false),
    restore: z.boolean().default(false),
  }),
  z.strictObject({ command: z.literal('dryRun'), force: z.boolean().default(false) }),
  z.strictObject({ command: z.literal('switchover'), to: z.string().max(63).optional() }),
  z.strictObject({ command: z.literal('demote'), force: z.boolean().default(false) }),
  z.strictObject({ command: z.literal('resync') }),
  z.strictObject({ command: z.literal('dismiss') }),
]);

export type ControlRequest = z.input<typeof controlRequest>;
export type ControlAnswer =
  | { readonly ok: true; readonly result: object }
  | { readonly ok: false; readonly reason: string };
