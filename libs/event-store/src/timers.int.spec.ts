import type { JsonObject, NewTimer } from '@xenolith/kernel';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { afterEach, expect, it } from 'vitest';
import { openEventStore, runTimers, SimulatedCrash } from './index.js';
import type { TimersOptions } from './timers.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const setUp = async () => {
  const databaseUrl = await testbed().newDatabase();
  const store = await openEventStore({ databaseUrl, name: 'test' });
  cleanups.push(() => store.close());
  let now = 1000;
  const sent: string[] = [];
  const start = async (more: Partial<TimersOptions> = {}) => {
    const runner = await runTimers({
      store,
      now: () => now,
      send: async (subject, command) => {
        sent.push(`${subject} ${JSON.stringify(command)}`);
        await Promise.resolve();
      },
      ...more,
    });
    cleanups.push(() => runner.stop());
    return runner;
  };
  const append = async (...timers: readonly NewTimer[]): Promise<void> => {
    await store.append(appendOf([writeTo(nextTestId())], { timers }));
  };
  const left = async (): Promise<number> => (await store.pool.query('select 1 from es.timers')).rowCount ?? 0;
  const moveTo = (time: number): void => {
    now = time;
  };
  return { store, sent, start, append, left, moveTo };
};

const set = (id: string, dueAt: number, command: JsonObject = { n: dueAt }): NewTimer => ({
  op: 'set',
  id,
  dueAt,
  subject: 'commands.machine',
  command,
});

it('sends the commands of due timers in order, once, and no others', async () => {
  const { sent, start, append, left, moveTo } = await setUp();
  const replaced = nextTestId();
  const cancelled = nextTestId();
  await append(set(replaced, 1100), set(cancelled, 1200), set(nextTestId(), 1300), set(nextTestId(), 9000));
  await append(
    set(replaced, 1400, { n: 'replaced' }),
    { op: 'cancel', id: cancelled },
    { op: 'cancel', id: nextTestId() },
  );
  await start();
  moveTo(1350);
  await expect.poll(() => sent, PATIENCE).toEqual(['commands.machine {"n":1300}']);
  moveTo(1500);
  await expect.poll(() => sent.length, PATIENCE).toBe(2);
  expect(sent[1]).toBe('commands.machine {"n":"replaced"}');
  await expect.poll(left, PATIENCE).toBe(1);
});

it('keeps the timers of a refused append out', async () => {
  const { store, left } = await setUp();
  const refused = appendOf([writeTo(nextTestId(), { expected: { exact: 4 } })], { timers: [set(nextTestId(), 1)] });
  expect((await store.append(refused)).status).toBe('conflict');
  expect(await left()).toBe(0);
});

it('sends again what could not be delivered, and lets others pass meanwhile', async () => {
  const { sent, start, append, left, moveTo } = await setUp();
  await append(set(nextTestId(), 500, { n: 'bad' }), set(nextTestId(), 600, { n: 'good' }));
  let failures = 2;
  await start({
    send: async (_subject, command) => {
      await Promise.resolve();
      if (command['n'] === 'bad' && (failures -= 1) >= 0) throw new Error('no responders');
      sent.push(JSON.stringify(command['n']));
    },
  });
  await expect.poll(() => sent, PATIENCE).toEqual(['"good"']);
  expect(await left()).toBe(1);
  moveTo(2000);
  await expect.poll(() => failures, PATIENCE).toBe(0);
  moveTo(10_000);
  await expect.poll(() => sent, PATIENCE).toEqual(['"good"', '"bad"']);
  await expect.poll(left, PATIENCE).toBe(0);
});

it('sends again after a crash between sending and removing', async () => {
  const { sent, start, append, left, moveTo } = await setUp();
  let crashes = 1;
  await start({
    failpoint: (step) => {
      if (step === 'sent' && (crashes -= 1) >= 0) throw new SimulatedCrash(step);
    },
  });
  await append(set(nextTestId(), 900));
  await expect.poll(() => sent.length, PATIENCE).toBe(1);
  moveTo(5000);
  await expect.poll(() => sent.length, PATIENCE).toBe(2);
  await expect.poll(left, PATIENCE).toBe(0);
});

it('runs in one process at a time, and in another when that one stops', async () => {
  const { sent, start, append, left, moveTo } = await setUp();
  const first = await start();
  await start();
  await append(set(nextTestId(), 900));
  await expect.poll(() => sent.length, PATIENCE).toBe(1);
  await first.stop();
  await append(set(nextTestId(), 1900));
  moveTo(2000);
  await expect.poll(() => sent.length, PATIENCE).toBe(2);
  await expect.poll(left, PATIENCE).toBe(0);
});
