import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Against hangs alone: none of them is reached by a machine that is only slow, or busy with other things.
    testTimeout: 180_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000, interval: 10 } },
    // The lab boots kernels; two at a time is what a small machine carries.
    maxWorkers: 2,
  },
});
