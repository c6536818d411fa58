import type { JsonObject, LoggedEvent, NewEvent } from '@xenolith/kernel';
import { appendOf, nextTestId, wholeLog, writeTo } from '@xenolith/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { rowsOf } from './connection.js';
import {
  activateView,
  activeViewSchema,
  dropView,
  openEventStore,
  openLogFeed,
  rebuildDocuments,
  runSequencer,
  runView,
} from './index.js';
import type { DocumentFold, EventStore, ViewDefinition } from './index.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const setUp = async () => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const feed = await openLogFeed({ store });
  cleanups.push(
    () => sequencer.stop(),
    () => store.close(),
    () => feed.close(),
  );
  return { databaseUrl, store, feed };
};

/** Counts events per category, weighted by the version. */
const counting = (version: number): ViewDefinition => ({
  name: 'counting',
  version,
  create: async (sql) => {
    await sql.query('create table counts (category text primary key, count int not null)');
  },
  apply: async (sql, events) => {
    for (const { category } of events) {
      await sql.query(
        `insert into counts as c values ($1, $2) on conflict (category) do update set count = c.count + excluded.count`,
        [category, version],
      );
    }
  },
});

const countIn = async (store: EventStore, schema: string | null): Promise<number> => {
  if (schema === null) return 0;
  const [row] = rowsOf(await store.pool.query(`select coalesce(sum(count), 0)::int as count from ${schema}.counts`));
  return Number(row?.['count']);
};

describe('views', () => {
  it('are built beside the old version, swapped when caught up, and can go back', async () => {
    const { store, feed } = await setUp();
    const fill = async (count: number): Promise<void> => {
      await Promise.all(Array.from({ length: count }, () => store.append(appendOf([writeTo(nextTestId())]))));
    };
    await fill(40);
    const first = await runView({ store, feed, view: counting(1) });
    cleanups.push(() => first.stop());
    await expect.poll(() => activeViewSchema(store, 'counting'), PATIENCE).toBe('view_counting_v1');
    await fill(20);
    const second = await runView({ store, feed, view: counting(2) });
    cleanups.push(() => second.stop());
    await expect.poll(() => activeViewSchema(store, 'counting'), PATIENCE).toBe('view_counting_v2');
    await fill(3);
    // Both go on: the replay of the new one equals what the old one saw live.
    await expect.poll(() => countIn(store, 'view_counting_v2'), PATIENCE).toBe(126);
    await expect.poll(() => countIn(store, 'view_counting_v1'), PATIENCE).toBe(63);
    await expect(dropView(store, 'counting', 2)).rejects.toThrow(/in use/);
    await activateView(store, 'counting', 1);
    expect(await activeViewSchema(store, 'counting')).toBe('view_counting_v1');
    await expect(activateView(store, 'counting', 3)).rejects.toThrow(/no version 3/);
    await second.stop();
    await dropView(store, 'counting', 2);
    await expect(activateView(store, 'counting', 2)).rejects.toThrow(/no version 2/);
  });

  it('roll a batch back with its checkpoint, and count nothing twice', async () => {
    const { store, feed } = await setUp();
    let failures = 2;
    const view = counting(1);
    const running = await runView({
      store,
      feed,
      view: {
        ...view,
        apply: async (sql, events) => {
          await view.apply(sql, events);
          failures -= 1;
          if (failures >= 0) throw new Error('after the rows, before the checkpoint');
        },
      },
    });
    cleanups.push(() => running.stop());
    for (let n = 0; n < 5; n += 1) await store.append(appendOf([writeTo(nextTestId())]));
    await expect.poll(() => countIn(store, 'view_counting_v1').catch(() => 0), PATIENCE).toBe(5);
  });
});

interface Renamed {
  readonly name: string;
  readonly times: number;
}

const renaming = (
  toResource: (state: Renamed) => JsonObject | null,
): DocumentFold<Renamed, NewEvent<string, { readonly to: string }>> => ({
  category: 'machine',
  initial: { name: '', times: 0 },
  evolve: (state, event) => ({
    name: event.data.to,
    times: state.times + 1,
  }),
  toResource,
});

const documentsOf = (events: readonly LoggedEvent[]): readonly unknown[] => events.map((event) => event.document);

describe('documents', () => {
  it('are rebuilt in a new shape, past ones included, while the old is read', async () => {
    const { store } = await setUp();
    const rename = (to: string): NewEvent => ({ type: 'MachineRenamed', schemaVersion: 1, data: { to } });
    const streams = Array.from({ length: 5 }, () => nextTestId());
    for (const stream of streams) {
      await store.append(appendOf([writeTo(stream, { events: [rename('a'), rename('b')], document: { name: 'b' } })]));
      await store.append(appendOf([writeTo(stream, { events: [rename('c')], document: { name: 'c' } })]));
    }
    const gone = streams[0] ?? '';
    await store.append(appendOf([writeTo(gone, { events: [rename('')], ends: true })]));
    const before = documentsOf(await wholeLog(store));
    const fold = renaming(({ name, times }) => (name === '' ? null : { name, times }));
    expect(await rebuildDocuments({ store, fold, shape: 2 })).toEqual({ written: 11 });
    const after = documentsOf(await wholeLog(store));
    expect(before.slice(0, 3)).toEqual([undefined, { name: 'b' }, { name: 'c' }]);
    expect(after.slice(0, 3)).toEqual([undefined, { name: 'b', times: 2 }, { name: 'c', times: 3 }]);
    expect(after.at(-1)).toBeNull();
    const listed = await store.documents(['machine']);
    expect(listed.documents).toHaveLength(4);
    expect(listed.documents.every(({ document, version }) => document['times'] === 3 && version === 3)).toBe(true);
    expect(await rebuildDocuments({ store, fold, shape: 2 })).toEqual({ written: 0 });
    expect(documentsOf(await wholeLog(store))).toEqual(after);
  });

  it('of the past stay as they were shown when they are rebuilt in a new shape', async () => {
    const { databaseUrl, store } = await setUp();
    const rename = (to: string): NewEvent => ({ type: 'MachineRenamed', schemaVersion: 1, data: { to } });
    const stream = nextTestId();
    const metadata = { name: 'web' };
    const fold = renaming(({ name, times }) => ({ metadata, name, times }));
    const write = async (log: EventStore, to: string, document: JsonObject): Promise<number> => {
      await log.append(appendOf([writeTo(stream, { events: [rename(to)], document })]));
      return log.head();
    };
    const one = await write(store, 'a', { metadata, name: 'a' });
    const two = await write(store, 'b', { metadata, name: 'b' });
    await store.append(appendOf([writeTo(nextTestId(), { category: 'disk' })]));
    const turn = await store.head();
    const shownAt = async (position: number): Promise<unknown> => {
      const [found] = await store.past.documentsAt({ category: 'machine', position, limit: 5 });
      const place = { category: 'machine', position, namespace: '', name: 'web' };
      expect(await store.past.documentAt(place)).toEqual(found);
      return found?.document;
    };
    const changes = async (): Promise<readonly unknown[]> =>
      (await store.documentChanges({ category: 'machine', after: 0, upTo: turn })).map(({ document }) => document);
    const before = [await shownAt(one), await shownAt(two), await changes()];
    await rebuildDocuments({ store, fold, shape: 2 });
    expect([await shownAt(one), await shownAt(two), await changes()]).toEqual(before);
    expect((await store.documents(['machine'])).documents[0]?.document).toEqual({ metadata, name: 'b', times: 2 });
    expect(await shownAt(turn)).toEqual({ metadata, name: 'b', times: 2 });
    const newer = await openEventStore({ databaseUrl, name: 'newer', documentShapes: { machine: 2 } });
    cleanups.push(() => newer.close());
    const three = await write(newer, 'c', { metadata, name: 'c', times: 3 });
    expect([await shownAt(two), await shownAt(turn), await shownAt(three)]).toEqual([
      { metadata, name: 'b' },
      { metadata, name: 'b', times: 2 },
      { metadata, name: 'c', times: 3 },
    ]);
    expect(await rebuildDocuments({ store, fold, shape: 2 })).toEqual({
      written: 0,
    });
    expect(await shownAt(two)).toEqual({ metadata, name: 'b' });
  });

  it('appear for streams that showed none before', async () => {
    const { databaseUrl, store } = await setUp();
    const stream = nextTestId();
    const events = [{ type: 'MachineRenamed', schemaVersion: 1, data: { to: 'x' } }];
    await store.append(appendOf([writeTo(stream, { events })]));
    // Only what has a position is listed.
    await store.head();
    expect((await store.documents()).documents).toEqual([]);
    await rebuildDocuments({ store, fold: renaming(({ name }) => ({ name })), shape: 2 });
    expect((await store.documents()).documents).toMatchObject([
      { streamId: stream, version: 1, document: { name: 'x' } },
    ]);
    const newer = await openEventStore({ databaseUrl, name: 'newer', documentShapes: { machine: 2 } });
    cleanups.push(() => newer.close());
    await newer.append(appendOf([writeTo(stream, { events, document: { name: 'y' } })]));
    await store.head();
    expect((await store.documents()).documents).toMatchObject([
      { streamId: stream, version: 2, document: { name: 'y' } },
    ]);
  });
});
