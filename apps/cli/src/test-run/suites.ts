import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { repositoryRoot } from '../folders.js';

export interface Suite {
  readonly name: string;
  readonly description: string;
  /** A check counts as one; a Vitest project counts its tests. */
  readonly kind: 'check' | 'vitest';
  /** Run one after the other under the Node of this process; paths are seen from the repository's root. */
  readonly steps: readonly (readonly string[])[];
  /** Suites of one stage run side by side, stages one after the other. */
  readonly stage: number;
}

const inModules = (...names: string[]): string => path.join(repositoryRoot, 'node_modules', ...names);
const VITEST_PROJECT = fileURLToPath(new URL('vitest-project.js', import.meta.url));

/**
 * What `./xenolith test` runs. Static checks and unit tests share the machine; what measures time or starts servers runs alone, as a
 * starved server makes a test fail that is right.
 */
export const SUITES: readonly Suite[] = [
  {
    name: 'format',
    description: 'Prettier finds nothing to change',
    kind: 'check',
    steps: [[inModules('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level=warn', '.']],
    stage: 1,
  },
  {
    name: 'types',
    description: 'TypeScript accepts sources and tests',
    kind: 'check',
    steps: [[inModules('typescript', 'bin', 'tsc'), '-b']],
    stage: 1,
  },
  {
    name: 'lint',
    description: 'ESLint finds nothing, and no module reaches over its boundary',
    kind: 'check',
    // The boundary rule reads the graph that the first step writes; without one it would pass everything.
    steps: [
      [inModules('nx', 'dist', 'bin', 'nx.js'), 'show', 'projects'],
      [inModules('eslint', 'bin', 'eslint.js'), '.', '--max-warnings=0'],
    ],
    stage: 2,
  },
  {
    name: 'unit',
    description: 'unit tests, properties, simulation, repository rules',
    kind: 'vitest',
    steps: [[VITEST_PROJECT, 'unit']],
    stage: 2,
  },
  {
    name: 'integration',
    description: 'tests against the real Postgres and NATS',
    kind: 'vitest',
    steps: [[VITEST_PROJECT, 'integration']],
    stage: 3,
  },
  {
    name: 'e2e',
    description: 'the whole platform, through its API',
    kind: 'vitest',
    steps: [[VITEST_PROJECT, 'e2e']],
    stage: 4,
  },
];
