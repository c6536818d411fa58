import type { AppendOutcome, AppendRequest, LoggedEvent, Uuid } from '@xenolith/kernel';
import { randomFrom, uuidFrom } from '@xenolith/kernel';
import { appendOf, nextTestId, wholeLog, writeTo } from '@xenolith/testing';
import { setTimeout as pause } from 'node:timers/promises';
import type pg from 'pg';
import { describe, expect, it } from 'vitest';
import { EventStoreFault, openEventStore, openLogFeed, runSequencer } from './index.js';
import { expectSound, PATIENCE, plain, storedEventIds, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const WRITERS = 64;
const APPENDS_EACH = 40;
const SEED = 20_261;

interface Attempt {
  readonly request: AppendRequest;
  /** Undefined when the store could not tell. */
  readonly outcome: AppendOutcome | undefined;
}

const eventIds = ({ commandId, writes }: AppendRequest): readonly Uuid[] =>
  writes.flatMap(({ streamId, events }) => events.map((_, index) => uuidFrom(commandId, streamId, index)));

/** One writer: appends of one to three events to one or two streams, blindly or at the version it last saw. */
const runWriter = async (
  append: (request: AppendRequest) => Promise<AppendOutcome>,
  streams: readonly Uuid[],
  writer: number,
): Promise<readonly Attempt[]> => {
  const random = randomFrom(`${SEED}/${writer}`);
  const attempts: Attempt[] = [];
  const seen = new Map<Uuid, number>();
  for (let turn = 0; turn < APPENDS_EACH; turn += 1) {
    const targets = new Set([random.pick(streams), ...(random.chance(0.3) ? [random.pick(streams)] : [])]);
    const writes = [...targets].map((streamId) => {
      const known = seen.get(streamId);
      return writeTo(streamId, {
        expected: known !== undefined && random.chance(0.5) ? { exact: known } : 'any',
        events: Array.from({ length: 1 + random.below(3) }, (_, n) => ({
          type: 'Counted',
          schemaVersion: 1,
          data: { writer, turn, n },
        })),
        document: { writer, turn },
      });
    });
    const request = appendOf(writes);
    const outcome = await append(request).catch((fault: unknown) => {
      expect(fault).toBeInstanceOf(EventStoreFault);
      return undefined;
    });
    attempts.push({ request, outcome });
    if (outcome?.status === 'appended')
      for (const { streamId, version } of outcome.versions) seen.set(streamId, version);
    if (outcome?.status === 'conflict') seen.set(outcome.streamId, outcome.actual);
  }
  return attempts;
};

/** Ends a backend every 25 ms until told to stop: one that is in the middle of something, as an idle one would prove nothing. */
const terminateAppenders = async (admin: pg.Pool, until: AbortSignal): Promise<number> => {
  let ended = 0;
  while (!until.aborted) {
    const { rowCount } = await admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where application_name like '% append' and state = 'active' and datname = current_database()
        order by random() limit 1`,
    );
    ended += rowCount ?? 0;
    await pause(25);
  }
  return ended;
};

describe.each([
  ['few streams', 4],
  ['many streams', 2000],
])('64 writers on %s with backends terminated in the middle of appends', (_name, streamCount) => {
  it('keeps every acknowledged event once, no rejected one, in order, the same for every reader', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const nats = await testbed().connectNats();
    const sequencer = await runSequencer({ databaseUrl, nats });
    const stores = await Promise.all(['one', 'two'].map((name) => openEventStore({ databaseUrl, name, nats })));
    const feeds = await Promise.all(stores.map((store) => openLogFeed({ store, nats })));
    const seen: LoggedEvent[][] = [];
    for (const feed of feeds) {
      const events: LoggedEvent[] = [];
      seen.push(events);
      await feed.follow({
        name: 'reader',
        after: 0,
        onBatch: async (batch) => Promise.resolve(void events.push(...batch)),
      });
    }
    const streams = Array.from({ length: streamCount }, () => nextTestId());
    const writing = new AbortController();
    const terminated = terminateAppenders(admin, writing.signal);
    const attempts = (
      await Promise.all(
        Array.from({ length: WRITERS }, (_, writer) =>
          runWriter(
            (request) => stores[writer % 2]?.append(request) ?? Promise.reject(new Error('no store')),
            streams,
            writer,
          ),
        ),
      )
    ).flat();
    writing.abort();
    expect(await terminated).toBeGreaterThan(0);

    const [store] = stores;
    if (!store) throw new Error('no store');
    const log = await wholeLog(store);
    expectSound(log);
    const stored = await storedEventIds(admin);
    expect(new Set(log.map(({ eventId }) => eventId))).toEqual(stored);
    let acknowledged = 0;
    let rejected = 0;
    for (const { request, outcome } of attempts) {
      const present = eventIds(request).filter((id) => stored.has(id)).length;
      if (outcome?.status === 'appended') {
        acknowledged += 1;
        expect(present).toBe(eventIds(request).length);
      } else if (outcome) {
        rejected += 1;
        expect(present).toBe(0);
      } else expect([0, eventIds(request).length]).toContain(present);
    }
    expect(acknowledged).toBeGreaterThan(WRITERS);
    if (streamCount < WRITERS) expect(rejected).toBeGreaterThan(0);
    for (const events of seen) {
      await expect.poll(() => events.length, PATIENCE).toBe(log.length);
      expect(events).toEqual(log);
    }
    const byStream = Map.groupBy(log, (event) => event.streamId);
    await Promise.all(
      [...byStream].map(async ([streamId, logged]) => {
        expect(await store.readStream(streamId)).toEqual(logged.map(plain));
      }),
    );
    await Promise.all(feeds.map((feed) => feed.close()));
    await Promise.all(stores.map((each) => each.close()));
    await sequencer.stop();
  });
});
