import type { NewTimer } from '@xenolith/kernel';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { expect, it, vi } from 'vitest';
import { openEventStore, readBacklog, runSequencer } from './index.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const timer = (dueAt: number): NewTimer => ({
  op: 'set',
  id: nextTestId(),
  dueAt,
  subject: 'commands.machine',
  command: {},
});

it('tells how many events wait for a position and for how long, and which timers are late', async () => {
  const databaseUrl = await testbed().newDatabase();
  const store = await openEventStore({ databaseUrl, name: 'test' });
  try {
    expect(await readBacklog(store.pool, 0)).toEqual({
      position: 0,
      unsequenced: 0,
      unsequencedMs: 0,
      overdueTimers: 0,
      overdueMs: 0,
    });
    await store.append(
      appendOf([writeTo(nextTestId()), writeTo(nextTestId())], { timers: [timer(1_000), timer(4_000), timer(9_000)] }),
    );
    await store.append(appendOf([writeTo(nextTestId())]));

    // Nobody gives positions yet.
    const waiting = await readBacklog(store.pool, 5_000);
    expect(waiting).toMatchObject({ position: 0, unsequenced: 3, overdueTimers: 2, overdueMs: 4_000 });
    expect(waiting.unsequencedMs).toBeGreaterThan(0);
    await vi.waitFor(
      async () => expect((await readBacklog(store.pool, 0)).unsequencedMs).toBeGreaterThan(waiting.unsequencedMs),
      PATIENCE,
    );

    const sequencer = await runSequencer({ databaseUrl });
    await vi.waitFor(
      async () =>
        expect(await readBacklog(store.pool, 1_000)).toEqual({
          position: 3,
          unsequenced: 0,
          unsequencedMs: 0,
          overdueTimers: 0,
          overdueMs: 0,
        }),
      PATIENCE,
    );
    await sequencer.stop();
  } finally {
    await store.close();
  }
});
