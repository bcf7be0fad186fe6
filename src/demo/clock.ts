/** Milliseconds of the machine's monotonic clock: all processes of a demo tell the same time. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;
