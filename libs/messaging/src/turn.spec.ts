import { expect, it } from 'vitest';
import { Turn } from './turn.js';

const turnOver = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('runs what one turn of the event loop added together, in order, and later additions in the next', async () => {
  const turn = new Turn();
  const said: string[] = [];
  turn.add(() => {
    said.push('first');
    turn.add(() => said.push('third'));
  });
  await Promise.resolve();
  turn.add(() => said.push('second'));
  expect(said).toEqual([]);
  await turnOver();
  expect(said).toEqual(['first', 'second']);
  await turnOver();
  expect(said).toEqual(['first', 'second', 'third']);
});

it('runs at once what waits when there is no more time, and not again', async () => {
  const turn = new Turn();
  const said: string[] = [];
  turn.add(() => said.push('last words'));
  turn.end();
  expect(said).toEqual(['last words']);
  await turnOver();
  expect(said).toEqual(['last words']);
});
