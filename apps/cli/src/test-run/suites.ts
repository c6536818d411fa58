import path from 'node:path';
import { repositoryRoot } from '../folders.js';
import { dockerLack } from './docker.js';

export interface Suite {
  readonly name: string;
  readonly description: string;
  /** A check counts as one; a Vitest project counts its tests. */
  readonly kind: 'check' | 'vitest';
  /** Commands, run one after the other in the repository's root. */
  readonly steps: readonly (readonly string[])[];
  /** Suites of one stage run side by side, stages one after the other. */
  readonly stage: number;
  /** Says what this machine lacks for a check, which then counts as skipped. Tests of a Vitest project say so themselves, each for itself. */
  readonly lack?: () => Promise<string | null>;
}

const inModules = (...names: string[]): string => path.join(repositoryRoot, 'node_modules', ...names);
const VITEST_PROJECT = path.join(repositoryRoot, 'apps', 'cli', 'dist', 'test-run', 'vitest-project.js');

/** Runs a program of Node's under the Node of this process. */
const node = (...args: string[]): readonly string[] => [process.execPath, ...args];

const inDocker = (name: string): string => path.join(repositoryRoot, 'deploy', 'docker', name);
/** What is built beside other suites gives way to them. */
const atLowPriority = (...command: string[]): readonly string[] => ['nice', '-n', '10', ...command];
/** The tests of the project `containers` look for it. */
const IMAGE_TAG = 'test';

/**
 * What `./xenolith test` runs. Static checks and unit tests share the machine; suites that start servers run one after the other, as a starved
 * server makes a test fail that is right. How many files of a suite run side by side, vitest.config.ts says.
 */
export const SUITES: readonly Suite[] = [
  {
    name: 'format',
    description: 'Prettier finds nothing to change',
    kind: 'check',
    steps: [node(inModules('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level=warn', '.')],
    stage: 1,
  },
  {
    name: 'types',
    description: 'TypeScript accepts sources and tests',
    kind: 'check',
    steps: [node(inModules('typescript', 'bin', 'tsc'), '-b')],
    stage: 1,
  },
  {
    name: 'lint',
    description: 'ESLint finds nothing, and no module reaches over its boundary',
    kind: 'check',
    // The boundary rule reads the graph that the first step writes; without one it would pass everything.
    steps: [
      node(inModules('nx', 'dist', 'bin', 'nx.js'), 'show', 'projects'),
      node(inModules('eslint', 'bin', 'eslint.js'), '.', '--max-warnings=0'),
    ],
    stage: 2,
  },
  {
    name: 'unit',
    description: 'unit tests, properties, simulation, repository rules',
    kind: 'vitest',
    steps: [node(VITEST_PROJECT, 'unit')],
    stage: 2,
  },
  {
    name: 'images',
    description: 'the image of every process is built',
    kind: 'check',
    steps: [atLowPriority(inDocker('bases/make')), atLowPriority(inDocker('build'), IMAGE_TAG)],
    stage: 2,
    lack: dockerLack,
  },
  {
    name: 'integration',
    description: 'tests against the real Postgres and NATS',
    kind: 'vitest',
    steps: [node(VITEST_PROJECT, 'integration')],
    stage: 3,
  },
  {
    name: 'e2e',
    description: 'the whole platform, through its API',
    kind: 'vitest',
    steps: [node(VITEST_PROJECT, 'e2e')],
    stage: 4,
  },
  {
    name: 'containers',
    description: 'the images, and the whole platform of them, with Testcontainers',
    kind: 'vitest',
    steps: [node(VITEST_PROJECT, 'containers')],
    stage: 5,
  },
];
