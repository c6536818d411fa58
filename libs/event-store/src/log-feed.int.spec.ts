import type { LoggedEvent } from '@xenolith/kernel';
import { appendOf, nextTestId, wholeLog, writeTo } from '@xenolith/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { checkpointIn, LeaseLost, openEventStore, openLogFeed, runSequencer, SimulatedCrash } from './index.js';
import type { EventStore, StoreLogFeed } from './index.js';
import type { FollowerStep, LogFeedOptions } from './log-feed.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const setUp = async () => {
  const databaseUrl = await testbed().newDatabase();
  const nats = await testbed().connectNats();
  const sequencer = await runSequencer({ databaseUrl, nats });
  const store = await openEventStore({ databaseUrl, name: 'test', nats });
  cleanups.push(
    () => sequencer.stop(),
    () => store.close(),
  );
  const fill = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 1) await store.append(appendOf([writeTo(nextTestId())]));
  };
  return { databaseUrl, nats, store, fill, admin: testbed().adminPool(databaseUrl) };
};

const openFeed = async (store: EventStore, more: Partial<LogFeedOptions> = {}): Promise<StoreLogFeed> => {
  const feed = await openLogFeed({ store, ...more });
  cleanups.push(() => feed.close());
  return feed;
};

const positionsOf = (events: readonly LoggedEvent[]): readonly number[] => events.map(({ position }) => position);

const upTo = (last: number, first = 1): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, n) => first + n);

const collector = () => {
  const seen: LoggedEvent[] = [];
  return { seen, onBatch: async (events: readonly LoggedEvent[]) => Promise.resolve(void seen.push(...events)) };
};

describe('followers', () => {
  it('see the same log, whenever they join and with or without NATS', async () => {
    const { nats, store, fill } = await setUp();
    await fill(30);
    const feeds = [await openFeed(store, { nats }), await openFeed(store)];
    const collectors = feeds.flatMap((feed) => [0, 10].map((after) => ({ feed, after, ...collector() })));
    for (const { feed, after, onBatch } of collectors) await feed.follow({ name: 'f', after, onBatch });
    await fill(30);
    const log = await wholeLog(store);
    for (const { seen, after } of collectors) {
      await expect.poll(() => seen.length, PATIENCE).toBe(60 - after);
      expect(seen).toEqual(log.slice(after));
    }
  });

  it('get a batch again when they fail on it, and nothing else meanwhile', async () => {
    const { nats, store, fill } = await setUp();
    const feed = await openFeed(store, { nats });
    const { seen, onBatch } = collector();
    const tried: number[] = [];
    let failures = 3;
    await feed.follow({
      name: 'f',
      after: 0,
      onBatch: async (events) => {
        tried.push(events[0]?.position ?? 0);
        failures -= 1;
        if (failures >= 0) throw new Error('not yet');
        await onBatch(events);
      },
    });
    await fill(5);
    await expect.poll(() => seen.length, PATIENCE).toBe(5);
    expect(positionsOf(seen)).toEqual(upTo(5));
    expect(tried.slice(0, 4)).toEqual([1, 1, 1, 1]);
  });

  it('are not called any more once stopped', async () => {
    const { nats, store, fill } = await setUp();
    const feed = await openFeed(store, { nats });
    const { seen, onBatch } = collector();
    const subscription = await feed.follow({ name: 'f', after: 0, onBatch });
    await fill(3);
    await expect.poll(() => seen.length, PATIENCE).toBe(3);
    await subscription.stop();
    await fill(3);
    await store.head();
    expect(seen).toHaveLength(3);
  });
});

describe('leased followers', () => {
  it('run in one process at a time and go on at the checkpoint in another', async () => {
    const { nats, store, fill } = await setUp();
    const feeds = [await openFeed(store, { nats }), await openFeed(store, { nats })];
    const runs = feeds.map(() => collector());
    const held = [false, false];
    for (const [index, feed] of feeds.entries()) {
      await feed.followLeased({
        name: 'process',
        onBatch: async (events) => runs[index]?.onBatch(events),
        onLease: async (now) => {
          held[index] = now;
          await Promise.resolve();
        },
      });
    }
    await fill(10);
    const all = (): readonly number[] => runs.flatMap(({ seen }) => positionsOf(seen));
    await expect.poll(() => all().length, PATIENCE).toBe(10);
    expect(held.filter(Boolean)).toHaveLength(1);
    const runner = held.indexOf(true);
    await feeds[runner]?.close();
    expect(held[runner]).toBe(false);
    await fill(10);
    await expect.poll(() => all().length, PATIENCE).toBe(20);
    expect([...all()].sort((left, right) => left - right)).toEqual(upTo(20));
    expect(runs.every(({ seen }) => seen.length === 10)).toBe(true);
  });

  it('skip nothing when they crash at any step', async () => {
    const { nats, store, fill } = await setUp();
    const steps: readonly FollowerStep[] = ['lease-taken', 'before-batch', 'batch-handled', 'checkpoint-saved'];
    const due = new Set<FollowerStep>();
    const feed = await openFeed(store, {
      nats,
      failpoint: (step) => {
        if (due.delete(step)) throw new SimulatedCrash(step);
      },
    });
    const { seen, onBatch } = collector();
    await feed.followLeased({ name: 'process', onBatch });
    for (const step of steps) {
      due.add(step).add('batch-handled');
      await fill(4);
      await expect.poll(() => due.size, PATIENCE).toBe(0);
    }
    await expect.poll(() => seen.at(-1)?.position, PATIENCE).toBe(16);
    // Repeated after a crash, never skipped: each position comes first right after the one before it.
    const firsts = [...new Set(positionsOf(seen))];
    expect(firsts).toEqual(upTo(16));
    expect(seen.length).toBeGreaterThan(16);
  });

  it('save nothing once another runs, although both believe they hold the lease', async () => {
    const { store, nats, fill, admin } = await setUp();
    const [first, second] = [await openFeed(store, { nats }), await openFeed(store, { nats })];
    let release: () => void = () => undefined;
    const blocked = new Promise<void>((resolve) => (release = resolve));
    let entered = false;
    const losses: boolean[] = [];
    const saved: number[] = [];
    await fill(3);
    await first.followLeased({
      name: 'process',
      // It stands still in its handler, as a stopped process would, while its lease goes to another.
      onBatch: async (events, lease) => {
        entered = true;
        await blocked;
        await lease.checkpointIn(admin, events.at(-1)?.position ?? 0);
        saved.push(lease.epoch);
      },
      onLease: async (held) => {
        losses.push(held);
        await Promise.resolve();
      },
    });
    await expect.poll(() => entered, PATIENCE).toBe(true);
    const { seen, onBatch } = collector();
    await second.followLeased({ name: 'process', onBatch });
    await admin.query('select pg_terminate_backend($1)', [first.leaseBackendId()]);
    await expect.poll(() => seen.length, PATIENCE).toBe(3);
    await fill(2);
    await expect.poll(() => seen.length, PATIENCE).toBe(5);
    release();
    await expect.poll(() => losses, PATIENCE).toEqual([true, false]);
    expect(saved).toEqual([]);
    const checkpoint = async (): Promise<unknown> => {
      const { rows } = await admin.query(`select position from es.checkpoints where consumer = 'process'`);
      return rows;
    };
    await expect.poll(checkpoint, PATIENCE).toEqual([{ position: '5' }]);
  });

  it('keep a checkpoint with the view in one transaction', async () => {
    const { store, fill, admin } = await setUp();
    const feed = await openFeed(store);
    await admin.query('create table counted (position bigint primary key)');
    let rollBacks = 2;
    await feed.followLeased({
      name: 'counted',
      onBatch: async (events, lease) => {
        const client = await admin.connect();
        try {
          await client.query('begin');
          for (const { position } of events) await client.query('insert into counted values ($1)', [position]);
          await lease.checkpointIn(client, events.at(-1)?.position ?? 0);
          rollBacks -= 1;
          if (rollBacks >= 0) throw new Error('the transaction is rolled back');
          await client.query('commit');
        } catch (fault) {
          await client.query('rollback');
          throw fault;
        } finally {
          client.release();
        }
      },
    });
    await fill(5);
    const counted = async (): Promise<number> => (await admin.query('select 1 from counted')).rowCount ?? 0;
    await expect.poll(counted, PATIENCE).toBe(5);
  });

  it('refuse a checkpoint of an earlier epoch and one that goes back', async () => {
    const { admin } = await setUp();
    const { beginEpoch } = await import('./checkpoints.js');
    const first = await beginEpoch(admin, 'view');
    await checkpointIn(admin, 'view', first.epoch, 10);
    const second = await beginEpoch(admin, 'view');
    expect(second).toEqual({ epoch: first.epoch + 1, position: 10 });
    await expect(checkpointIn(admin, 'view', first.epoch, 11)).rejects.toThrow(LeaseLost);
    await expect(checkpointIn(admin, 'view', second.epoch, 9)).rejects.toThrow(LeaseLost);
    await checkpointIn(admin, 'view', second.epoch, 12);
  });
});
