import { afterEach, expect, it } from 'vitest';
import { systemClock } from './process.js';

const warnings: Error[] = [];
const keep = (warning: Error): number => warnings.push(warning);
afterEach(() => process.removeListener('warning', keep));

it('does what is overdue at once, which Node once warned of in the log', async () => {
  process.on('warning', keep);
  await new Promise<void>((done) => systemClock.after(-0.0005, done));
  // Warnings are told in a turn of their own.
  await new Promise((done) => setImmediate(done));
  expect(warnings).toEqual([]);
});
