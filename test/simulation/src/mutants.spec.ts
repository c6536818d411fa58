import { describe, expect, it } from 'vitest';
import { MUTANTS } from './mutants.js';
import { simulate } from './run.js';

/** A mutant that lives longer is one that the simulation does not see. */
const MUTANT_SEEDS = 1000;
const MUTANT_LIMIT_MS = 600_000;

/** The seed that showed the mutant last time, then all others in turn. */
const seedsFor = (known: number): readonly number[] => [
  known,
  ...Array.from({ length: MUTANT_SEEDS }, (_, index) => index + 1).filter((seed) => seed !== known),
];

describe('the simulation', () => {
  it.each(MUTANTS)(
    'notices that $what ($name)',
    async (mutant) => {
      for (const seed of seedsFor(mutant.shownBy)) {
        const outcome = await simulate(seed, mutant);
        if (outcome.broken.length > 0) return;
      }
      expect.fail(`no seed of ${MUTANT_SEEDS} shows that ${mutant.what}`);
    },
    MUTANT_LIMIT_MS,
  );
});
