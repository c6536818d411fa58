import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type { EventLog, LoggedEvent } from '@xenolith/kernel';
import { appendOf, nextTestId, wholeLog, writeTo } from '@xenolith/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { FEED_STREAM } from '@xenolith/contracts';
import { MESSAGE_BYTES, MESSAGE_EVENTS, readPlace, unpackEvents } from './feed-message.js';
import { openEventStore, openLogFeed, runSequencer, SimulatedCrash } from './index.js';
import type { RelayStep } from './relay.js';
import { expectSound, PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

/** Undone after each test in reverse order, so that nothing works on the shared NATS meanwhile. */
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const setUp = async (failpoint?: (step: string) => void) => {
  const databaseUrl = await testbed().newDatabase();
  const nats = await testbed().connectNats();
  const sequencer = await runSequencer({ databaseUrl, nats, ...(failpoint ? { failpoint } : {}) });
  const store = await openEventStore({ databaseUrl, name: 'test', nats });
  cleanups.push(
    () => sequencer.stop(),
    () => store.close(),
  );
  const fill = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 1) await store.append(appendOf([writeTo(nextTestId(), { document: { n } })]));
  };
  const relayed = async (): Promise<void> => {
    const head = await store.head();
    await expect.poll(() => sequencer.state().relayed, PATIENCE).toBe(head);
  };
  return { databaseUrl, nats, sequencer, store, fill, relayed };
};

interface ReadFeed {
  readonly events: readonly LoggedEvent[];
  readonly messages: readonly {
    readonly first: number;
    readonly last: number;
    readonly bytes: number;
    readonly events: number;
  }[];
}

const readFeed = async (nats: NatsConnection): Promise<ReadFeed> => {
  const manager = await jetstreamManager(nats);
  const { state } = await manager.streams.info(FEED_STREAM);
  const events: LoggedEvent[] = [];
  const messages: ReadFeed['messages'][number][] = [];
  if (state.messages === 0) return { events, messages };
  const consumer = await jetstream(nats).consumers.get(FEED_STREAM, { deliver_policy: DeliverPolicy.All });
  for await (const message of await consumer.consume()) {
    const place = readPlace(message.headers);
    if (!place) throw new Error('a message of the feed has no place');
    const unpacked = unpackEvents(message.data);
    events.push(...unpacked);
    messages.push({ first: place.first, last: place.last, bytes: message.data.length, events: unpacked.length });
    if (message.seq === state.last_seq) break;
  }
  return { events, messages };
};

const expectFeedEqualsLog = async (nats: NatsConnection, log: EventLog): Promise<void> => {
  const events = await wholeLog(log);
  expectSound(events);
  expect((await readFeed(nats)).events).toEqual(events);
};

describe('feed', () => {
  it('equals the log, in batches that keep their limits and say where they stand', async () => {
    const { nats, store, relayed } = await setUp();
    const text = 'x'.repeat(2000);
    await Promise.all(
      Array.from({ length: 700 }, (_, n) =>
        store.append(
          appendOf([
            writeTo(nextTestId(), {
              events: [{ type: 'Filled', schemaVersion: 1, data: { text: n % 2 ? text : '' } }],
            }),
          ]),
        ),
      ),
    );
    await relayed();
    await expectFeedEqualsLog(nats, store);
    const { messages } = await readFeed(nats);
    for (const message of messages) {
      expect(message.last - message.first + 1).toBe(message.events);
      expect(message.events).toBeLessThanOrEqual(MESSAGE_EVENTS);
      expect(message.bytes).toBeLessThanOrEqual(MESSAGE_BYTES + 2);
    }
  });

  it('leaves out the content of an event that NATS does not take; followers get it from Postgres', async () => {
    const { nats, store, fill, relayed } = await setUp();
    const feed = await openLogFeed({ store, nats });
    cleanups.push(() => feed.close());
    const seen: LoggedEvent[] = [];
    await feed.follow({ name: 'f', after: 0, onBatch: async (events) => Promise.resolve(void seen.push(...events)) });
    await fill(2);
    await store.append(appendOf([writeTo(nextTestId(), { document: { blob: 'y'.repeat(1_200_000) } })]));
    await fill(2);
    await relayed();
    await expect.poll(() => seen.length, PATIENCE).toBe(5);
    expect(seen).toEqual(await wholeLog(store));
    expect((await readFeed(nats)).messages.find(({ first }) => first === 3)).toEqual({
      first: 3,
      last: 3,
      bytes: 0,
      events: 0,
    });
  });

  it('is made anew when it was dropped', async () => {
    const { nats, store, fill, relayed } = await setUp();
    await fill(5);
    await relayed();
    const manager = await jetstreamManager(nats);
    await manager.streams.delete(FEED_STREAM);
    await fill(5);
    await expect.poll(async () => (await readFeed(nats).catch(() => undefined))?.events.length, PATIENCE).toBe(10);
    await expectFeedEqualsLog(nats, store);
  });

  it('is made anew without any new event', async () => {
    const { nats, store, fill, relayed } = await setUp();
    await fill(3);
    await relayed();
    const manager = await jetstreamManager(nats);
    await manager.streams.delete(FEED_STREAM);
    await expect.poll(async () => (await readFeed(nats).catch(() => undefined))?.events.length, PATIENCE).toBe(3);
    await expectFeedEqualsLog(nats, store);
  });

  it('replaces what another log left in JetStream', async () => {
    const first = await setUp();
    await first.fill(8);
    await first.relayed();
    for (const cleanup of cleanups.splice(0)) await cleanup();
    const second = await setUp();
    await second.fill(3);
    await second.relayed();
    await expect.poll(async () => (await readFeed(second.nats)).events.length, PATIENCE).toBe(3);
    await expectFeedEqualsLog(second.nats, second.store);
  });

  it('loses and repeats nothing when the relay crashes at any step', async () => {
    const steps: readonly RelayStep[] = ['healed', 'before-publish', 'published'];
    const due = new Set<string>();
    const { nats, store, fill, relayed } = await setUp((step) => {
      if (due.delete(step)) throw new SimulatedCrash(step);
    });
    for (const step of steps) {
      due.add(step).add('published');
      await fill(3);
      await expect.poll(() => due.size, PATIENCE).toBe(0);
      await fill(3);
    }
    await relayed();
    await expectFeedEqualsLog(nats, store);
  });

  it('stays whole with two relays at work', async () => {
    const { databaseUrl, nats, store, fill, relayed } = await setUp();
    await fill(3);
    await relayed();
    // A holder that lost its lock without knowing goes on publishing: the expected last sequence stops it.
    const { Relay } = await import('./relay.js');
    const zombie = new Relay({ nats, pool: testbed().adminPool(databaseUrl), report: () => undefined });
    await zombie.run();
    for (let round = 0; round < 10; round += 1) await Promise.all([fill(3), zombie.run()]);
    await relayed();
    await expectFeedEqualsLog(nats, store);
  });
});

describe('without NATS', () => {
  it('followers go on by polling, and by the feed again when NATS is back', async () => {
    const { nats, sequencer, store, fill, relayed } = await setUp();
    const feed = await openLogFeed({ store, nats });
    cleanups.push(() => feed.close());
    const seen: LoggedEvent[] = [];
    await feed.follow({ name: 'f', after: 0, onBatch: async (events) => Promise.resolve(void seen.push(...events)) });
    await fill(3);
    await relayed();
    await testbed().natsServer.kill();
    await fill(5);
    await expect.poll(() => seen.length, PATIENCE).toBe(8);
    await testbed().natsServer.restart();
    await fill(5);
    await expect.poll(() => seen.length, PATIENCE).toBe(13);
    await expect.poll(() => sequencer.state().relayed, PATIENCE).toBe(13);
    expect(seen).toEqual(await wholeLog(store));
    await expectFeedEqualsLog(nats, store);
  });
});
