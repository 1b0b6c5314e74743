import { defineConfig } from 'vitest/config';

// Threads that wait for work sleep: two files at a time share the cores, and each would burn the other's time.
process.env.OMP_WAIT_POLICY ??= 'passive';

// The tests that run are the built ones: what is tested is what is shipped, worker threads included.
export default defineConfig({
  test: {
    include: ['packages/*/dist/**/*.test.js', 'examples/dist/*.test.js', 'test/dist/**/*.test.js'],
    exclude: ['**/node_modules/**'],
    reporters: ['default', './scripts/count-reporter.js'],
    maxWorkers: 2,
    testTimeout: 60_000,
  },
});
