import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import type { JsonObject } from '@xenolith/kernel';
import pg from 'pg';
import { expect, it } from 'vitest';
import { openEventStore, runSequencer } from './index.js';
import { useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

interface Names {
  readonly namespace: string;
  readonly name: string;
}

/** Appends documents, a stream for each, and answers the names under which the chronicle knows them. */
const namesOf = async (documents: readonly JsonObject[]): Promise<readonly Names[]> => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl, chronicle: false });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  try {
    for (const document of documents) await store.append(appendOf([writeTo(nextTestId(), { document })]));
    expect((await store.past.newest()).position).toBe(documents.length);
    return (await store.pool.query<Names>('select namespace, name from es.lives order by born')).rows;
  } finally {
    await store.close();
    await sequencer.stop();
  }
};

const withMetadata = (metadata: JsonObject, ahead: JsonObject = {}): JsonObject => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  ...ahead,
  metadata,
  spec: { metadata: { name: 'inner', namespace: 'inner' } },
});

const DOCUMENTS: readonly JsonObject[] = [
  withMetadata({ name: 'web', namespace: 'shop', uid: 'x', labels: { name: 'label', namespace: 'label' } }),
  withMetadata({ name: 'web', namespace: 'shop' }),
  withMetadata({ name: 'host-1', uid: 'x' }),
  withMetadata({ name: 'web', generateName: 'w', namespace: 'shop', uid: 'x' }),
  withMetadata({ namespace: 'shop', name: 'web', uid: 'x' }),
  withMetadata({ uid: 'x', annotations: { a: '{' }, name: 'web', namespace: 'shop' }),
  withMetadata({ name: 'web', namespace: null }),
  withMetadata({ name: null, namespace: 'shop' }),
  withMetadata({ name: 5, namespace: 'shop' }),
  withMetadata({ name: 'a"b', namespace: 'c"d' }),
  withMetadata({ name: 'a\\', namespace: 'c\\' }),
  withMetadata({ name: 'a","namespace":"b', namespace: 'shop' }),
  withMetadata({ name: 'a{b', namespace: 'c{d}' }),
  withMetadata({ name: '', namespace: '' }),
  withMetadata({ name: 'größe-ß', namespace: '空間' }),
  withMetadata({ name: 'n'.repeat(2000), namespace: 's'.repeat(500) }),
  withMetadata({ name: 'web', namespace: 'shop' }, { spec: { metadata: { name: 'inner', namespace: 'inner' } } }),
  withMetadata({ name: 'web', namespace: 'shop' }, { kind: '{"metadata":{"name":"inner","namespace":"inner"' }),
  withMetadata({ name: 'web', namespace: 'shop' }, { list: [{ name: 'inner', namespace: 'inner' }] }),
  { metadata: { name: 'web', namespace: 'shop' } },
  { metadata: {} },
  { spec: { metadata: { name: 'inner', namespace: 'inner' } } },
];

it('knows each object by the names in its document, however that is written', async () => {
  const text = (value: string | number | null | undefined): string =>
    value === null || value === undefined ? '' : String(value);
  expect(await namesOf(DOCUMENTS)).toEqual(
    DOCUMENTS.map(({ metadata }) => {
      const names = metadata as Partial<Record<keyof Names, string | number | null>> | undefined;
      return { namespace: text(names?.namespace), name: text(names?.name) };
    }),
  );
});

it('takes from several shapes of a document the one that is shown, else the newest', async () => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl, chronicle: false });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const named = (name: string): JsonObject => ({ metadata: { name, namespace: 'shop' } });
  const append = async (category: string, name: string): Promise<string> => {
    const streamId = nextTestId();
    await store.append(appendOf([writeTo(streamId, { category, document: named(name) })]));
    return streamId;
  };
  const rebuilt = async (streamId: string, shape: number, document: JsonObject | null): Promise<void> => {
    await store.pool.query(
      'insert into es.documents (stream_id, version, shape, category, body) select stream_id, version, $2, category, $3 from es.documents where stream_id = $1 and shape = 1',
      [streamId, shape, document === null ? null : JSON.stringify(document)],
    );
  };
  await rebuilt(await append('disk', 'old'), 2, named('new'));
  await rebuilt(await append('disk', 'still-shown'), 2, null);
  await rebuilt(await append('machine', 'old'), 2, named('new'));
  await rebuilt(await append('machine', 'no-longer-shown'), 2, null);
  await rebuilt(await append('port', 'old'), 3, named('newest'));
  await testbed()
    .adminPool(databaseUrl)
    .query(`insert into es.document_shapes (category, shape) values ('machine', 2), ('port', 2)`);
  await store.past.newest();
  const { rows } = await store.pool.query('select category, name from es.lives order by born');
  expect(rows).toEqual([
    { category: 'disk', name: 'old' },
    { category: 'disk', name: 'still-shown' },
    { category: 'machine', name: 'new' },
    { category: 'port', name: 'newest' },
  ]);
  await store.close();
  await sequencer.stop();
});

it('is not slowed by all that is alive: a step read every life there was', async () => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl, chronicle: false });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  // One session: plans are made while nothing is alive, as on a new platform.
  const session = new pg.Client({ connectionString: databaseUrl });
  await session.connect();
  const step = async (): Promise<void> => {
    await store.append(appendOf([writeTo(nextTestId(), { document: { metadata: { name: 'web' } } })]));
    const head = await store.head();
    expect((await session.query('select reached from es.chronicle_step(100)')).rows).toEqual([
      { reached: String(head) },
    ]);
  };
  await step();
  await session.query(
    `insert into es.lives (stream_id, category, namespace, name, born)
      select gen_random_uuid(), 'machine', '', 'vm-' || i, 1 from generate_series(1, 2000) i`,
  );
  await session.query('begin');
  await step();
  const { rows } = await session.query<{ read: string }>(
    `select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read from pg_stat_xact_user_tables
      where schemaname = 'es' and relname = 'lives'`,
  );
  await session.query('commit');
  expect(Number(rows[0]?.read)).toBeLessThan(10);
  await session.end();
  await store.close();
  await sequencer.stop();
});
