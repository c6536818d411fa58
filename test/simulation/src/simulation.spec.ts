import { describe, expect, it } from 'vitest';
import { simulate } from './run.js';

const FIXED_SEEDS = Array.from({ length: 20 }, (_, index) => index + 1);
/** Drawn anew in each run of the tests; a failure prints it. */
const FRESH_SEED = Math.floor(Math.random() * 2 ** 31);
/** A run takes under a second; this is for a machine that does much else. */
const RUN_LIMIT_MS = 60_000;
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
});
