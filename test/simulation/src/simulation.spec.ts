import { describe, expect, it } from 'vitest';
import { MUTANTS } from './mutants.js';
import { simulate } from './run.js';

const FIXED_SEEDS = Array.from({ length: 20 }, (_, index) => index + 1);
/** Drawn anew in each run of the tests; a failure prints it. */
const FRESH_SEED = Math.floor(Math.random() * 2 ** 31);
/** A run takes under a second; this is for a machine that does much else. */
const RUN_LIMIT_MS = 60_000;
/** A mutant that lives longer is one that the simulation does not see. */
const MUTANT_SEEDS = 1000;
const MUTANT_LIMIT_MS = 600_000;

/** The seed that showed the mutant last time, then all others in turn. */
const seedsFor = (known: number): readonly number[] => [
  known,
  ...Array.from({ length: MUTANT_SEEDS }, (_, index) => index + 1).filter((seed) => seed !== known),
];

describe('the platform in simulation', () => {
  it.each([...FIXED_SEEDS, FRESH_SEED])(
    'keeps its promises under seed %i',
    async (seed) => {
      const outcome = await simulate(seed);
      expect(outcome.broken, `npm run simulate -- --seeds 1 --from ${seed}`).toEqual([]);
      expect(outcome.events).toBeGreaterThan(50);
    },
    RUN_LIMIT_MS,
  );

  it(
    'writes the same log for the same seed',
    async () => {
      const [first, second, other] = [await simulate(7), await simulate(7), await simulate(8)];
      expect(second.hash).toBe(first.hash);
      expect(other.hash).not.toBe(first.hash);
    },
    RUN_LIMIT_MS,
  );

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
