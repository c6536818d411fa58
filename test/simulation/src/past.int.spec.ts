import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  archiveLog,
  migrateEventStore,
  openArchiveStore,
  openEventStore,
  runSequencer,
  verifyLog,
} from '@xenolith/event-store';
import { present, type LogPast, type Random, type StoredDocument } from '@xenolith/kernel';
import { startPostgres, type MemoryEventLog, type TestPostgres } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runThrough } from './run.js';
import { Watcher } from './watcher.js';
import { World } from './world.js';

const SEED = 7;
/** The share of moments at which something happened and somebody looks. */
const LOOKS = 0.3;
/** Few, so that lists have many pages. */
const PAGE = 7;

/** What somebody saw while the platform ran. */
interface Seen {
  readonly position: number;
  readonly category: string;
  /** A list of all of the kind, or one of them by its name. */
  readonly only?: { readonly namespace: string; readonly name: string };
  readonly text: string;
}

const placeOf = ({ document }: StoredDocument) => {
  const { namespace = '', name } = document['metadata'] as { namespace?: string; name: string };
  return { namespace, name };
};

const byPlace = (left: StoredDocument, right: StoredDocument): number => {
  const [one, other] = [placeOf(left), placeOf(right)].map(({ namespace, name }) => `${namespace}\u0000${name}`);
  return present(one, 'two places') < present(other, 'two places') ? -1 : 1;
};

/** A watcher that also reads what is shown now, at random moments. */
class Reader extends Watcher {
  readonly reads: Seen[] = [];
  private readonly dice: Random;

  constructor(private readonly looked: World) {
    super(looked.evidence());
    this.dice = looked.random.fork('reads');
  }

  override look(): readonly string[] {
    if (this.dice.chance(LOOKS)) this.read();
    return super.look();
  }

  private read(): void {
    const { position, documents } = this.looked.log.documents(undefined);
    const named = documents.filter(({ document }) => typeof document['kind'] === 'string');
    if (named.length === 0) return;
    const { category } = this.dice.pick(named);
    const listed = named.filter((document) => document.category === category).toSorted(byPlace);
    this.reads.push({ position, category, text: JSON.stringify(listed) });
    const one = this.dice.pick(listed);
    this.reads.push({ position, category, only: placeOf(one), text: JSON.stringify(one) });
  }
}

let postgres: TestPostgres;
let world: World;
let reader: Reader;
let databaseUrl: string;
let admin: pg.Pool;

/** The log of the simulation, as PostgreSQL would hold it: positions follow from the order of numbers. */
const copyLog = async (log: MemoryEventLog): Promise<void> => {
  const rows = log.log.map((event, at) => ({ ...event, at: log.recordedAt[at], shows: event.document !== undefined }));
  await admin.query(
    `with written as (select * from json_to_recordset($1) as e("streamId" uuid, version bigint, position bigint, "eventId" uuid, category text,
       type text, "schemaVersion" int, data json, metadata json, at double precision, shows boolean, document json)),
     streams as (insert into es.streams (stream_id, category, version)
       select "streamId", min(category), max(version) from written group by 1),
     documents as (insert into es.documents (stream_id, version, shape, category, body)
       select "streamId", version, 1, category, document from written where shows)
     insert into es.events (stream_id, version, seq, event_id, category, type, schema_version, data, meta, recorded_at)
       select "streamId", version, position, "eventId", category, type, "schemaVersion", data, metadata, to_timestamp(at / 1000) from written`,
    [JSON.stringify(rows)],
  );
};

/** Everything that was seen, asked for again; answers what the past shows otherwise. */
const unlike = async (past: LogPast): Promise<readonly string[]> => {
  const differing: string[] = [];
  for (const { position, category, only, text } of reader.reads) {
    const again =
      only === undefined
        ? await listed(past, category, position)
        : await past.documentAt({ category, position, ...only });
    if (JSON.stringify(again) !== text)
      differing.push(`seed ${SEED}: ${category} ${only?.name ?? 'list'} at ${position}`);
  }
  return differing;
};

const listed = async (past: LogPast, category: string, position: number): Promise<readonly StoredDocument[]> => {
  const all: StoredDocument[] = [];
  for (;;) {
    const last = all.at(-1);
    const page = await past.documentsAt({ category, position, limit: PAGE, ...(last && { after: placeOf(last) }) });
    all.push(...page);
    if (page.length < PAGE) return all;
  }
};

/** Writes the chronicle from the first event on, and looks whether all that was seen can still be seen. */
const readAgain = async (): Promise<readonly string[]> => {
  await admin.query(
    `begin; set local session_replication_role = replica; truncate es.chain, es.shown, es.lives;
     update es.chronicle set position = 0, link = decode(repeat('00', 32), 'hex'), recorded_until = '-infinity'; commit`,
  );
  const store = await openEventStore({ databaseUrl, name: 'test' });
  try {
    return await unlike(store.past);
  } finally {
    await store.close();
  }
};

beforeAll(async () => {
  postgres = await startPostgres();
  databaseUrl = await postgres.createDatabase();
  await migrateEventStore(databaseUrl);
  admin = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  // The server ends before its sessions have noticed that they were closed.
  admin.on('error', () => undefined);
  world = new World(SEED);
  reader = new Reader(world);
  expect(await runThrough(world, reader, {}), `seed ${SEED}`).toEqual([]);
  await copyLog(world.log);
  const sequencer = await runSequencer({ databaseUrl, chronicle: false });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  expect(await store.head()).toBe(world.log.log.length);
  await store.close();
  await sequencer.stop();
});
afterAll(async () => {
  await admin.end();
  await postgres.stop();
});

it('shows everything that was seen of a whole platform at random moments, byte for byte, after all of it is gone', async () => {
  const kinds = new Set(reader.reads.map(({ category }) => category));
  expect(reader.reads.length, `seed ${SEED}`).toBeGreaterThan(100);
  expect(kinds.size, `seed ${SEED}`).toBeGreaterThan(5);
  expect(await readAgain()).toEqual([]);
});

const MUTANTS = [
  { what: 'objects that are gone go on being shown', from: 'where not t.alive', to: 'where false' },
  {
    what: 'a change of what is shown is forgotten',
    from: 'where u.shape > 0',
    to: 'where u.shape > 0 and u.version % 3 > 0',
  },
];

it.each(MUTANTS)('notices when $what', async ({ from, to }) => {
  const definition = "select pg_get_functiondef('es.chronicle_step'::regproc) as text";
  const { rows } = await admin.query<{ text: string }>(definition);
  const original = present(rows[0], 'the step of the chronicle').text;
  expect(original).toContain(from);
  await admin.query(original.replaceAll(from, to));
  try {
    expect((await readAgain()).length, `seed ${SEED}`).toBeGreaterThan(0);
  } finally {
    await admin.query(original);
  }
});

/** All events of the log, and each object's own. */
const told = async (): Promise<string> => {
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const upTo = world.log.log.length;
  const answers: unknown[] = [await store.past.eventsAfter(0, upTo)];
  for (const streamId of new Set(world.log.log.map((event) => event.streamId)))
    answers.push(await store.past.eventsOf({ streamId, after: 0, upTo, limit: upTo }));
  await store.close();
  return JSON.stringify(answers);
};

it('shows the same, and tells every event the same, when all of it was archived', async () => {
  expect(await readAgain()).toEqual([]);
  const before = await told();
  const folder = await mkdtemp(path.join(tmpdir(), 'xenolith-archive-'));
  try {
    const store = await openArchiveStore(folder);
    const before2100 = Date.UTC(2100, 0);
    const done = await archiveLog({
      ownerUrl: databaseUrl,
      store,
      before: before2100,
      keepNewest: 0,
      segmentEvents: 1_000,
    });
    expect(done.position).toBe(world.log.log.length);
    expect(done.removed, `seed ${SEED}`).toBeGreaterThan(100);
    expect((await told()) === before, `seed ${SEED}`).toBe(true);
    const opened = await openEventStore({ databaseUrl, name: 'test' });
    expect(await unlike(opened.past)).toEqual([]);
    await opened.close();
    expect((await verifyLog({ databaseUrl })).sound).toBe(true);
  } finally {
    await rm(folder, { recursive: true });
  }
});
