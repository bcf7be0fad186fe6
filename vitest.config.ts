import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    // The lab boots kernels; two at a time is what a small machine carries.
    maxWorkers: 2,
  },
});
