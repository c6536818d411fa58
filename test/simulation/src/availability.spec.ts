import type { ServiceDefinition } from '@xenolith/engine';
import { describe, expect, it } from 'vitest';
import type { Mutant } from './mutants.js';
import { simulate } from './run.js';

const SEEDS = Array.from({ length: 10 }, (_, index) => index + 1);
const RUN_LIMIT_MS = 60_000;
/** In how many runs a mutant is looked for. */
const MUTANT_SEEDS = 300;
const MUTANT_LIMIT_MS = 600_000;

const cluster = { highAvailability: { hostFailures: 1 } };

const MUTANTS: readonly Mutant[] = [
  {
    name: 'assessment',
    what: 'nobody tells a cluster whether its promise holds',
    shownBy: 1,
    service: (definition): ServiceDefinition => ({
      ...definition,
      reactions: definition.reactions.filter(({ name }) => name !== 'availability-assessment'),
    }),
  },
  {
    name: 'restart_rules',
    what: 'nobody hears that a machine is to be restarted otherwise',
    shownBy: 1,
    service: (definition): ServiceDefinition => ({
      ...definition,
      indexes: definition.indexes.map((index) =>
        index.name === 'restart-rules'
          ? { name: index.name, categories: index.categories, load: () => undefined, apply: () => undefined }
          : index,
      ),
    }),
  },
];

describe('a platform in simulation whose cluster promises to survive the loss of a host', () => {
  it.each(SEEDS)(
    'keeps that and all its other promises under seed %i',
    async (seed) => {
      expect((await simulate(seed, undefined, cluster)).broken).toEqual([]);
    },
    RUN_LIMIT_MS,
  );

  it.each(MUTANTS)(
    'is found out when $what',
    async (mutant) => {
      const others = Array.from({ length: MUTANT_SEEDS }, (_, index) => index + 1);
      for (const seed of [mutant.shownBy, ...others])
        if ((await simulate(seed, mutant, cluster)).broken.length > 0) return;
      expect.fail(`no seed of ${MUTANT_SEEDS} shows that ${mutant.what}`);
    },
    MUTANT_LIMIT_MS,
  );
});
