import { timestamp } from '@xenolith/contracts';
import { VIRTUAL_EPOCH_MS } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { CapacityIndex } from './capacity.index.js';
import { LifetimeHistory } from './lifetime-history.js';
import { GIB, requestFor, TestScheduler } from './scheduler.spec-fixture.js';

const MINUTE_MS = 60_000;
const bornNow = (nowMs: number) => ({ bornAtMs: nowMs, nowMs });
const FLAVOUR = { namespace: 'default', vcpus: 1, memoryBytes: GIB };

describe('lifetimes after a restart', () => {
  const lived = async (): Promise<TestScheduler> => {
    const scheduler = new TestScheduler();
    for (const name of ['host-0001', 'host-0002']) scheduler.putHost({ name, memoryBytes: 64 * GIB, threads: 16 });
    await scheduler.start();
    for (let number = 0; number < 12; number += 1) {
      await scheduler.settled(scheduler.place(`vm-${number}`));
      await scheduler.clock.advance(10 * MINUTE_MS);
      if (number % 4 !== 0) await scheduler.settled(scheduler.release(`vm-${number}`));
    }
    // One lives on elsewhere, and one that moved has ended since.
    await migrated(scheduler, 0);
    await migrated(scheduler, 4);
    await scheduler.clock.advance(10 * MINUTE_MS);
    await scheduler.settled(scheduler.release('vm-4-moved'));
    return scheduler;
  };

  const migrated = async (scheduler: TestScheduler, number: number): Promise<void> => {
    const { virtualMachine } = requestFor(`vm-${number}`);
    const startTime = timestamp(VIRTUAL_EPOCH_MS + number * 10 * MINUTE_MS);
    await scheduler.settled(
      scheduler.place(`vm-${number}-moved`, { virtualMachine, exceptHost: 'host-0001', startTime }),
    );
    await scheduler.settled(scheduler.release(`vm-${number}`));
  };

  const restarted = (scheduler: TestScheduler): CapacityIndex => {
    const index = new CapacityIndex('density');
    index.load(scheduler.log.documents(index.categories).documents);
    return index;
  };

  const neverRestarted = async (scheduler: TestScheduler): Promise<CapacityIndex> => {
    const index = new CapacityIndex('density');
    for (const event of await scheduler.log.connect().readLog(0, 1_000))
      if (index.categories.includes(event.category)) index.apply(event);
    return index;
  };

  it('are what they were before it', async () => {
    const scheduler = await lived();
    const index = restarted(scheduler);
    const now = scheduler.clock.now();
    const { lifetimes } = index.standing();
    const unknown = lifetimes.predicted(FLAVOUR, bornNow(now));
    await new LifetimeHistory(lifetimes, scheduler.log.connect()).read();
    const before = (await neverRestarted(scheduler)).standing().lifetimes;
    expect(lifetimes.predicted(FLAVOUR, bornNow(now))).not.toBe(unknown);
    expect(lifetimes.predicted(FLAVOUR, bornNow(now))).toBe(before.predicted(FLAVOUR, bornNow(now)));
  });

  it('are left alone by a history that is stopped', async () => {
    const scheduler = await lived();
    const { lifetimes } = restarted(scheduler).standing();
    const unknown = lifetimes.predicted(FLAVOUR, bornNow(scheduler.clock.now()));
    const history = new LifetimeHistory(lifetimes, scheduler.log.connect());
    await history.stop();
    await history.read();
    expect(lifetimes.predicted(FLAVOUR, bornNow(scheduler.clock.now()))).toBe(unknown);
  });
});
