import swc from 'unplugin-swc';
import { defineConfig } from 'vitest/config';

// Nest reads constructor types at run time, so decorators need metadata that only swc emits here.
const decorators = swc.vite({
  module: { type: 'es6' },
  jsc: {
    target: 'es2024',
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true },
    keepClassNames: true,
  },
});

/** Vitest itself would leave one core to its own process, which does next to nothing while tests run. */
const EACH_CORE = '100%';

const shared = {
  plugins: [decorators],
  oxc: false as const,
  // Workspaces are read from their sources, so that no test needs a build.
  resolve: { conditions: ['@xenolith/source'] },
  ssr: { resolve: { conditions: ['@xenolith/source', 'node'] } },
};

export default defineConfig({
  test: {
    projects: [
      {
        ...shared,
        test: {
          name: 'unit',
          include: [
            '{libs,apps,bench}/**/src/**/*.spec.ts',
            'test/simulation/src/**/*.spec.ts',
            'test/repository/**/*.spec.ts',
          ],
          exclude: ['**/*.int.spec.ts', '**/node_modules/**', '**/dist/**'],
          testTimeout: 60_000,
          maxWorkers: EACH_CORE,
        },
      },
      {
        ...shared,
        test: {
          name: 'integration',
          include: ['{libs,apps}/**/src/**/*.int.spec.ts', 'test/{repository,chart,simulation}/src/**/*.int.spec.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: EACH_CORE,
        },
      },
      {
        ...shared,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.spec.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // A platform of these tests leaves a third of two cores idle, and stands a neighbour.
          maxWorkers: 2,
        },
      },
      {
        ...shared,
        test: {
          name: 'containers',
          include: ['test/containers/src/**/*.spec.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          maxWorkers: 2,
          // Its reaper would have to be pulled; what these tests start ends with them by other means (libs/testing).
          env: { TESTCONTAINERS_RYUK_DISABLED: 'true' },
        },
      },
    ],
  },
});
