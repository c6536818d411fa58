import { migrateEventStore, openEventStore, runSequencer, type EventStore } from '@xenolith/event-store';
import { present, type AppendRequest, type JsonObject, type LogPast } from '@xenolith/kernel';
import { startPostgres, type TestPostgres } from '@xenolith/testing';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { cpuMsByProcess } from './process-cpu.js';
import { atMostRow, closedLoop, limitRow, percentile, progress, type Row } from './report.js';

const GROUP = 'past';
const SEQUENCER = 'bench-sequencer';
const OBJECTS = 10_000;
const CHANGES = 100;
const EVENTS = OBJECTS * CHANGES;
const GETS = 3000;
const PAGE = 500;
const CALLERS = 64;
/** Slices of the present with and without, one after the other, so that a changing machine hits both. */
const SLICES = 8;
/** A burst: fewer events than the chronicle may fall behind by. */
const SLICE_MS = 2000;

const uid = `('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid`;

/** A log as long as asked for, written by sets: each object changes as often as the others, in a new order each time. */
const fill = async (databaseUrl: string): Promise<void> => {
  const admin = new pg.Client({ connectionString: databaseUrl });
  await admin.connect();
  const many = `generate_series(1, ${OBJECTS}) i`;
  await admin.query(`insert into es.streams select ${uid}, 'virtualmachine', ${CHANGES}, false, true from ${many}`);
  for (let change = 1; change <= CHANGES; change += 1) {
    await admin.query(
      `insert into es.events (stream_id, version, seq, event_id, category, type, schema_version, data, meta)
       select ${uid}, ${change}, nextval('es.event_seq'), gen_random_uuid(), 'virtualmachine', 'VirtualMachineChanged', 1,
         json_build_object('note', repeat('x', 200)), json_build_object('commandId', gen_random_uuid(), 'actor', 'user:bench')
       from ${many} order by md5(i::text || ${change}::text)`,
    );
    await admin.query(
      `insert into es.documents select ${uid}, ${change}, 1, 'virtualmachine', json_build_object('kind', 'VirtualMachine',
         'metadata', json_build_object('name', 'vm-' || i, 'namespace', 'ns-' || i % 10),
         'spec', json_build_object('change', ${change}, 'fill', repeat('y', 1200))) from ${many}`,
    );
  }
  await admin.query('vacuum analyze es.events, es.documents, es.streams');
  await admin.end();
};

const chronicled = async (store: EventStore, position: number): Promise<void> => {
  for (;;) {
    const { rows } = await store.pool.query<{ position: string }>('select position from es.chronicle');
    if (Number(rows[0]?.position) >= position) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

const placeOf = (document: JsonObject) => document['metadata'] as unknown as { namespace: string; name: string };

const listAll = async (past: LogPast, position: number): Promise<number> => {
  const started = performance.now();
  let after: { namespace: string; name: string } | undefined;
  for (;;) {
    const page = await past.documentsAt({
      category: 'virtualmachine',
      position,
      limit: PAGE,
      ...(after && { after }),
    });
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return performance.now() - started;
    after = placeOf(last.document);
  }
};

const benchReads = async (databaseUrl: string): Promise<readonly Row[]> => {
  progress(`filling a log of ${EVENTS} events`);
  await fill(databaseUrl);
  const store = await openEventStore({ databaseUrl, name: 'bench' });
  const sequencer = await runSequencer({ databaseUrl });
  const started = performance.now();
  progress('writing its chronicle');
  await chronicled(store, EVENTS);
  const perSecond = (EVENTS * 1000) / (performance.now() - started);
  const { past } = store;
  const gets: number[] = [];
  for (let turn = 0; turn < GETS; turn += 1) {
    const [position, of] = [1 + ((turn * 7919) % EVENTS), 1 + ((turn * 104_729) % OBJECTS)];
    const begun = performance.now();
    await past.documentAt({ category: 'virtualmachine', position, namespace: `ns-${of % 10}`, name: `vm-${of}` });
    gets.push(performance.now() - begun);
  }
  const lists: number[] = [];
  for (const share of [0.05, 0.5, 0.95]) lists.push(await listAll(past, Math.floor(EVENTS * share)));
  await store.close();
  await sequencer.stop();
  progress(`chronicle: ${Math.round(perSecond)} events/s, the sequencing of all of them included`);
  const log = `a log of ${EVENTS.toLocaleString('en')} events`;
  return [
    limitRow({ group: GROUP, what: `get in ${log}, p99`, ours: percentile(gets, 0.99), unit: 'ms', limit: 50 }),
    limitRow({
      group: GROUP,
      what: `list of ${OBJECTS.toLocaleString('en')} objects in ${log}, slowest`,
      ours: Math.max(...lists),
      unit: 'ms',
      limit: 1000,
    }),
  ];
};

const request = (streamId: string): AppendRequest => {
  const commandId = randomUUID();
  return {
    commandId,
    requestHash: commandId,
    writes: [
      {
        streamId,
        category: 'bench',
        expected: 'any',
        events: [{ type: 'BenchHappened', schemaVersion: 1, data: { note: 'x'.repeat(200) } }],
        document: { metadata: { name: streamId }, fill: 'y'.repeat(1200) },
        ends: false,
      },
    ],
    claims: [],
    timers: [],
    cancels: [],
    metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'system:bench', at: 0 },
    result: { ok: true },
  };
};

interface Slice {
  /** Events a second. */
  readonly rate: number;
  /** CPU of all processes, what the chronicle made up for afterwards included. */
  readonly cpuUs: number;
}

/** CPU of a session that is ending is neither its own any more nor its server's yet. */
const ended = async (store: EventStore, name: string): Promise<void> => {
  for (;;) {
    const { rows } = await store.pool.query('select from pg_stat_activity where starts_with(application_name, $1)', [
      name,
    ]);
    if (rows.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

/** Appends to one log whose sequencer keeps the chronicle in every other slice. */
const benchPresent = async (postgres: TestPostgres, databaseUrl: string): Promise<readonly Row[]> => {
  progress('appends with and without a chronicle');
  const store = await openEventStore({ databaseUrl, name: 'bench' });
  const streams = Array.from({ length: CALLERS }, () => randomUUID());
  const server = { name: 'postgres', pid: present(postgres.pid(), 'a server of our own') };
  const cpuMs = async (): Promise<number> => {
    // Not by its process: the server is a child of this one, and would count twice.
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000 + ((await cpuMsByProcess([server])).get(server.name) ?? 0);
  };
  const slice = async (chronicle: boolean): Promise<Slice> => {
    const sequencer = await runSequencer({ databaseUrl, name: SEQUENCER, chronicle });
    // What the slice without left behind is no part of the next one.
    if (chronicle) await chronicled(store, await store.head());
    const [cpuBefore, before] = [await cpuMs(), await store.head()];
    const rate = await closedLoop(CALLERS, SLICE_MS, (caller) => store.append(request(streams[caller] ?? '')));
    const head = await store.head();
    if (chronicle) await chronicled(store, head);
    const cpuUs = (((await cpuMs()) - cpuBefore) * 1000) / (head - before);
    await sequencer.stop();
    await ended(store, SEQUENCER);
    return { rate, cpuUs };
  };
  await slice(true);
  const [withIt, without]: [Slice[], Slice[]] = [[], []];
  for (let turn = 0; turn < SLICES; turn += 1) {
    without.push(await slice(false));
    withIt.push(await slice(true));
  }
  await store.close();
  const median = (slices: readonly Slice[], of: (slice: Slice) => number): number => percentile(slices.map(of), 0.5);
  const row = (what: string, unit: string, of: (slice: Slice) => number): Row =>
    atMostRow({
      group: GROUP,
      what,
      unit,
      ours: median(withIt, of),
      against: 'no chronicle',
      theirs: median(without, of),
      atMost: 1.02,
    });
  return [
    row(`an append's time at ${CALLERS} callers, bursts of ${SLICE_MS / 1000} s`, 'ms', ({ rate }) => 1000 / rate),
    row('CPU of an append in all processes, its chronicle included', 'µs', ({ cpuUs }) => cpuUs),
  ];
};

export const benchPast = async (): Promise<readonly Row[]> => {
  const postgres = await startPostgres();
  try {
    const [short, long] = [await postgres.createDatabase(), await postgres.createDatabase()];
    for (const databaseUrl of [short, long]) await migrateEventStore(databaseUrl);
    return [...(await benchPresent(postgres, short)), ...(await benchReads(long))];
  } finally {
    await postgres.stop();
  }
};
