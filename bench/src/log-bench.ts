import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import { migrateEventStore, openEventStore, runSequencer, type EventStore } from '@xenolith/event-store';
import { uuidFrom, type AppendRequest, type JsonObject } from '@xenolith/kernel';
import { startPostgres } from '@xenolith/testing';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { z } from 'zod';
import { pgbench } from './pgbench.js';
import { closedLoop, floorRow, progress, rateRow, type Row } from './report.js';

const GROUP = 'log';
const RUN_MS = 8_000;
const WARM_UP_MS = 1_500;
const READ_EVENTS = 200_000;
const READ_BATCH = 1000;
const REBUILD_TARGET = 50_000;
/** About what a domain event weighs. */
const DATA: JsonObject = {
  operation: '0b2f1f9c-6a0e-8b51-9a43-5be0b6d8a001',
  action: 'start',
  incarnation: 3,
  host: 'host-0007',
  note: 'x'.repeat(200),
};
const eventData = z.looseObject({
  operation: z.string(),
  action: z.string(),
  incarnation: z.number(),
  host: z.string(),
});

const request = (stream: string): AppendRequest => {
  // Whoever appends has an id at hand.
  const commandId = randomUUID();
  return {
    commandId,
    requestHash: commandId,
    writes: [
      {
        streamId: stream,
        category: 'bench',
        expected: 'any',
        events: [{ type: 'BenchHappened', schemaVersion: 1, data: DATA }],
        document: null,
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

const ours = async (store: EventStore, callers: number): Promise<number> => {
  const streams = Array.from({ length: callers }, (_, caller) => uuidFrom('bench-stream', callers, caller));
  const append = (caller: number): Promise<unknown> => store.append(request(streams[caller] ?? ''));
  await closedLoop(callers, WARM_UP_MS, append);
  return closedLoop(callers, RUN_MS, append);
};

const emmett = async (databaseUrl: string, callers: number): Promise<number> => {
  const store = getPostgreSQLEventStore(databaseUrl);
  try {
    await store.schema.migrate();
    const append = (caller: number): Promise<unknown> =>
      store.appendToStream(`bench-${caller}`, [{ type: 'BenchHappened', data: { ...DATA } }]);
    await closedLoop(callers, WARM_UP_MS, append);
    return await closedLoop(callers, RUN_MS, append);
  } finally {
    await store.close();
  }
};

/** Appends, catch-up reads and rebuilds of the log, against pgbench, emmett and raw reads in the same run. */
export const benchLog = async (): Promise<readonly Row[]> => {
  const postgres = await startPostgres({
    durable: true,
    settings: { max_connections: '320', shared_buffers: '512MB' },
  });
  const rows: Row[] = [];
  try {
    const databaseUrl = await postgres.createDatabase();
    await migrateEventStore(databaseUrl);
    const store = await openEventStore({ databaseUrl, name: 'bench' });
    for (const [callers, atLeast] of [
      [64, 2.5],
      [256, 4],
    ] as const) {
      progress(`appends, ${callers} callers`);
      const mine = await ours(store, callers);
      const inserts = { clients: callers, data: DATA, durationMs: RUN_MS };
      const { perSecond: plain } = await pgbench(await postgres.createDatabase(), inserts);
      rows.push(
        rateRow({
          group: GROUP,
          what: `append one event, ${callers} closed-loop callers`,
          ours: mine,
          against: 'pgbench insert',
          theirs: plain,
          atLeast,
        }),
      );
      if (callers === 64) {
        progress('appends by emmett-postgresql');
        const theirs = await emmett(await postgres.createDatabase(), callers);
        rows.push(
          rateRow({
            group: GROUP,
            what: `append one event, ${callers} closed-loop callers`,
            ours: mine,
            against: 'emmett',
            theirs,
            atLeast: 10,
          }),
        );
      }
    }
    rows.push(...(await benchReads(store, databaseUrl)));
    await store.close();
  } finally {
    await postgres.stop();
  }
  return rows;
};

const RAW_READ = `select l.position, e.* from es.event_log l join es.events e on e.txid = l.txid and e.seq = l.seq
  where l.position > $1 and l.position <= $2 order by l.position`;

/** Every event of the log, read by position, parsed by its schema and folded; against a raw read of the same rows. */
const benchReads = async (store: EventStore, databaseUrl: string): Promise<readonly Row[]> => {
  progress('catch-up reads');
  const sequencer = await runSequencer({ databaseUrl });
  const head = await store.head();
  await sequencer.stop();
  const total = Math.min(head, READ_EVENTS);
  const counts = new Map<string, number>();
  const read = async (onEvent: (type: string, data: JsonObject, stream: string) => void): Promise<number> => {
    const start = performance.now();
    for (let after = 0; after < total;) {
      const events = await store.readLog(after, READ_BATCH);
      for (const event of events) onEvent(event.type, event.data, event.streamId);
      after = events.at(-1)?.position ?? total;
    }
    return (total * 1000) / (performance.now() - start);
  };
  const checked = (): Promise<number> => read((_type, data) => void eventData.parse(data));
  const folded = (): Promise<number> =>
    read((_type, data, stream) => {
      eventData.parse(data);
      counts.set(stream, (counts.get(stream) ?? 0) + 1);
    });
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  const raw = async (): Promise<number> => {
    const start = performance.now();
    for (let after = 0; after < total; after += READ_BATCH) await pool.query(RAW_READ, [after, after + READ_BATCH]);
    return (total * 1000) / (performance.now() - start);
  };
  try {
    await raw();
    const [catchUp, plain, rebuild] = [await checked(), await raw(), await folded()];
    return [
      rateRow({
        group: GROUP,
        what: 'catch-up read, schema check included',
        ours: catchUp,
        against: 'raw pg read',
        theirs: plain,
        atLeast: 0.8,
      }),
      floorRow({ group: GROUP, what: 'projection rebuild', ours: rebuild, unit: 'events/s', floor: REBUILD_TARGET }),
    ];
  } finally {
    await pool.end();
  }
};
