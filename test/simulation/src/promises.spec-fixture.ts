import type { JsonObject } from '@xenolith/kernel';
import { expect, it } from 'vitest';
import type { Mutant } from './mutants.js';
import { simulate } from './run.js';

const RUN_LIMIT_MS = 120_000;
/** In how many runs a mutant is looked for. */
const MUTANT_SEEDS = 300;
const MUTANT_LIMIT_MS = 600_000;

const seeds = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);

/** A platform whose cluster is so keeps all its promises under so many seeds, and each mutant breaks one. */
export const keepsItsPromises = (cluster: JsonObject, runs: number, mutants: readonly Mutant[]): void => {
  it.each(seeds(runs))(
    'keeps all its promises under seed %i',
    async (seed) => {
      expect((await simulate(seed, undefined, cluster)).broken).toEqual([]);
    },
    RUN_LIMIT_MS,
  );

  it.each(mutants)(
    'is found out when $what',
    async (mutant) => {
      for (const seed of [mutant.shownBy, ...seeds(MUTANT_SEEDS)])
        if ((await simulate(seed, mutant, cluster)).broken.length > 0) return;
      expect.fail(`no seed of ${MUTANT_SEEDS} shows that ${mutant.what}`);
    },
    MUTANT_LIMIT_MS,
  );
};
