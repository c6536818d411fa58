import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Chronicler } from './chronicler.js';

const LOOK_MS = 500;
const STEP = 500;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A log of numbers only, and a chronicle beside it. */
const begin = (start: { readonly head: number; readonly reached: number }) => {
  const log = { ...start, over: false, steps: 0 };
  const chronicler = new Chronicler({
    head: () => log.head,
    step: () => {
      log.steps += 1;
      log.reached = Math.min(log.head, log.reached + STEP);
      return Promise.resolve({ reached: log.reached, head: log.head });
    },
    report: () => undefined,
  });
  const ended = chronicler.run(() => log.over);
  const end = async (): Promise<void> => {
    log.over = true;
    chronicler.wake();
    await ended;
  };
  /** Time passes, in which the log grows before each look. */
  const pass = async (looks: number, growth: number): Promise<void> => {
    for (let look = 0; look < looks; look += 1) {
      log.head += growth;
      await vi.advanceTimersByTimeAsync(LOOK_MS);
    }
  };
  return { log, pass, end };
};

it('follows a log that is not busy', async () => {
  const { log, pass, end } = begin({ head: 3000, reached: 0 });
  await pass(1, 0);
  expect(log.reached).toBe(3000);
  await pass(4, STEP);
  expect(log.head - log.reached).toBeLessThanOrEqual(STEP);
  await end();
});

it('lets whoever appends go first while the log is busy, falls behind by no more than its limit, and catches up afterwards', async () => {
  const { log, pass, end } = begin({ head: 0, reached: 0 });
  await pass(2, 0);
  const { steps } = log;
  await pass(20, 2000);
  expect([log.steps, log.reached]).toEqual([steps, 0]);
  await pass(20, 2000);
  expect(log.head - log.reached).toBeLessThanOrEqual(50_000 + 2000);
  expect(log.reached).toBeGreaterThan(0);
  await pass(2, 0);
  expect(log.reached).toBe(log.head);
  await end();
});
