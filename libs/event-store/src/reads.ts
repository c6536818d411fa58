import { setTimeout as pause } from 'node:timers/promises';
import type {
  CommandResult,
  EventMetadata,
  JsonObject,
  LoggedEvent,
  Snapshot,
  StoredEvent,
  StreamVersion,
  Uuid,
} from '@xenolith/kernel';
import pg from 'pg';
import { EventStoreAway } from './append-batcher.js';
import type { ArchivedEvent } from './archive/archive-format.js';
import { fillGaps, fillStream, storedArchived, withDocuments } from './archive/archived-events.js';
import type { LogArchive } from './archive/log-archive.js';
import type { EventText } from './feed-message.js';

const EVENT_COLUMNS = `e.stream_id, e.version, e.event_id, e.category, e.type, e.schema_version, e.data, e.meta`;

const READ_STREAMS = `select w.place, ${EVENT_COLUMNS} from unnest($1::uuid[], $2::bigint[]) with ordinality as w(stream_id, after, place)
  cross join lateral (select * from es.events v where v.stream_id = w.stream_id and v.version > w.after) e
  order by w.place, e.version`;

// The limit inside keeps the plan a walk along three indexes, whatever the statistics say. A document that has several shapes gives several rows.
const READ_LOG = `select l.position, ${EVENT_COLUMNS}, d.body, d.shape,
    (select json_object_agg(a.category, a.shape) from es.document_shapes a) as active
  from (select * from es.event_log where position > $1 order by position limit $2) l
  join es.events e on e.txid = l.txid and e.seq = l.seq
  left join es.documents d on d.stream_id = e.stream_id and d.version = e.version
  order by l.position`;

export interface EventRow {
  readonly stream_id: Uuid;
  readonly version: string;
  readonly event_id: Uuid;
  readonly category: string;
  readonly type: string;
  readonly schema_version: number;
  readonly data: JsonObject;
  readonly meta: EventMetadata;
}

interface LogPlaceRow {
  readonly position: string;
  readonly category: string;
  /** Null when the event left no document. */
  readonly shape: number | null;
  /** Active shapes by category, as JSON text where JSON is not parsed; null or missing is 1. */
  readonly active: Readonly<Record<string, number>> | string | null;
}

interface LogRow extends EventRow, LogPlaceRow {
  readonly position: string;
  readonly category: string;
  readonly body: JsonObject | null;
}

interface LogTextRow extends LogPlaceRow {
  readonly stream_id: Uuid;
  readonly version: string;
  readonly event_id: Uuid;
  readonly type: string;
  readonly schema_version: number;
  readonly data: string;
  readonly meta: string;
  readonly body: string | null;
}

export const storedEvent = (row: EventRow): StoredEvent => ({
  eventId: row.event_id,
  streamId: row.stream_id,
  category: row.category,
  version: Number(row.version),
  type: row.type,
  schemaVersion: row.schema_version,
  data: row.data,
  metadata: row.meta,
});

const loggedEvent = (row: LogRow): LoggedEvent => ({
  ...storedEvent(row),
  position: Number(row.position),
  ...(row.shape === null ? {} : { document: row.body }),
});

/** Streams read by one statement; commands that arrive together need theirs together. */
const STREAMS_AT_ONCE = 64;

interface WantedStream {
  readonly streamId: Uuid;
  readonly after: number;
  readonly resolve: (events: readonly StoredEvent[]) => void;
  readonly reject: (fault: unknown) => void;
}

const readWanted = async (pool: pg.Pool, archive: LogArchive, wanted: readonly WantedStream[]): Promise<void> => {
  try {
    const { rows } = await pool.query<EventRow & { readonly place: string }>({
      name: 'es_read_streams',
      text: READ_STREAMS,
      values: [wanted.map(({ streamId }) => streamId), wanted.map(({ after }) => after)],
    });
    const found: StoredEvent[][] = wanted.map(() => []);
    for (const row of rows) found[Number(row.place) - 1]?.push(storedEvent(row));
    const read = (events: readonly ArchivedEvent[]) => Promise.resolve(events.map(storedArchived));
    wanted.forEach((stream, index) => {
      // Hardly ever anything is missing; then nobody waits for another's archive.
      void fillStream(found[index] ?? [], stream, { archive, read }).then(stream.resolve, stream.reject);
    });
  } catch (fault) {
    for (const { reject } of wanted) reject(fault);
  }
};

export type ReadStream = (streamId: Uuid, after: number) => Promise<readonly StoredEvent[]>;

/** Reads the events of a stream behind a version. What is asked in one turn of the event loop is read by one statement. */
export const streamReader = (pool: pg.Pool, archive: LogArchive): ReadStream => {
  let wanted: WantedStream[] = [];
  return (streamId, after) =>
    new Promise((resolve, reject) => {
      wanted.push({ streamId, after, resolve, reject });
      if (wanted.length > 1) return;
      setImmediate(() => {
        const all = wanted;
        wanted = [];
        for (let at = 0; at < all.length; at += STREAMS_AT_ONCE)
          void readWanted(pool, archive, all.slice(at, at + STREAMS_AT_ONCE));
      });
    });
};

/** How much a row is wanted among those of the same event: the active shape first, else the newest. */
const preference = ({ shape, active, category }: LogPlaceRow): number => {
  if (shape === null) return -1;
  const shapes = typeof active === 'string' ? (JSON.parse(active) as Readonly<Record<string, number>>) : active;
  return shape === (shapes?.[category] ?? 1) ? Number.MAX_SAFE_INTEGER : shape;
};

/** One row for each event. While documents are being rebuilt, an event comes once for each shape that its document has. */
const withOneShape = <Row extends LogPlaceRow>(rows: readonly Row[]): readonly Row[] => {
  const chosen: Row[] = [];
  for (const row of rows) {
    const last = chosen.at(-1);
    if (last?.position !== row.position) chosen.push(row);
    else if (preference(last) < preference(row)) chosen[chosen.length - 1] = row;
  }
  return chosen;
};

export const readLog = async (
  pool: pg.Pool | pg.ClientBase,
  after: number,
  limit: number,
): Promise<readonly LoggedEvent[]> => {
  const { rows } = await pool.query<LogRow>({ name: 'es_read_log', text: READ_LOG, values: [after, limit] });
  return withOneShape(rows).map(loggedEvent);
};

interface LogRange {
  readonly after: number;
  readonly limit: number;
}

/** Puts what was archived in its place. */
const withArchived = (
  pool: pg.Pool,
  archive: LogArchive,
  { found, range }: { readonly found: readonly LoggedEvent[]; readonly range: LogRange },
): Promise<readonly LoggedEvent[]> => {
  const read = async (events: readonly ArchivedEvent[]): Promise<readonly LoggedEvent[]> =>
    (await withDocuments(pool, events)).map(({ event, document }) => ({
      ...storedArchived(event),
      position: event.position,
      ...(document === undefined ? {} : { document: document.body }),
    }));
  return fillGaps(found, range, { archive, read });
};

/** The same with what was archived in its place. */
export const readWholeLog = async (
  pool: pg.Pool,
  archive: LogArchive,
  range: LogRange,
): Promise<readonly LoggedEvent[]> =>
  withArchived(pool, archive, { found: await readLog(pool, range.after, range.limit), range });

const READ_EVENTS = `select l.position, ${EVENT_COLUMNS}, d.body, d.shape,
    (select json_object_agg(a.category, a.shape) from es.document_shapes a) as active
  from (select * from es.event_log where position > $1 order by position limit $2) l
  join es.events e on e.txid = l.txid and e.seq = l.seq
  join es.streams s on s.stream_id = e.stream_id
  left join es.documents d on d.stream_id = e.stream_id and d.version = e.version and not s.has_document
  order by l.position`;

/** The whole log without the documents of what shows one now: parsing those takes three times as long as all the rest. */
export const readEvents = async (
  pool: pg.Pool,
  archive: LogArchive,
  range: LogRange,
): Promise<readonly LoggedEvent[]> => {
  const { rows } = await pool.query<LogRow>({
    name: 'es_read_events',
    text: READ_EVENTS,
    values: [range.after, range.limit],
  });
  return withArchived(pool, archive, { found: withOneShape(rows).map(loggedEvent), range });
};

const READ_CATEGORY = `select l.position, ${EVENT_COLUMNS}
  from es.event_log l join es.events e on e.txid = l.txid and e.seq = l.seq
  where l.position > $2 and l.position <= $3 and e.category = $1
  order by l.position limit $4`;

/** Documents are most of what an event takes to read: who wants none of them, and one category only, is given no more. */
export const readCategory = async (
  pool: pg.Pool,
  category: string,
  { after, until, limit }: { readonly after: number; readonly until: number; readonly limit: number },
): Promise<readonly LoggedEvent[]> => {
  const { rows } = await pool.query<EventRow & { readonly position: string }>({
    name: 'es_read_category',
    text: READ_CATEGORY,
    values: [category, after, until, limit],
  });
  return rows.map((row) => ({ ...storedEvent(row), position: Number(row.position) }));
};

const asText = (text: string): string => text;

/** Leaves JSON as PostgreSQL wrote it. */
const jsonAsText: pg.CustomTypesConfig = {
  getTypeParser: (id, format) =>
    id === pg.types.builtins.JSON ? asText : (pg.types.getTypeParser(id, format) as (text: string) => unknown),
};

const eventText = (row: LogTextRow): EventText => ({
  position: Number(row.position),
  streamId: row.stream_id,
  version: Number(row.version),
  eventId: row.event_id,
  category: row.category,
  type: row.type,
  schemaVersion: row.schema_version,
  data: row.data,
  metadata: row.meta,
  document: row.shape === null ? undefined : row.body,
});

/** The same with the JSON unparsed, for who only passes it on. */
export const readLogTexts = async (pool: pg.Pool, after: number, limit: number): Promise<readonly EventText[]> => {
  const { rows } = await pool.query<LogTextRow>({
    name: 'es_read_log',
    text: READ_LOG,
    values: [after, limit],
    types: jsonAsText,
  });
  return withOneShape(rows).map(eventText);
};

interface CommandRow {
  readonly request_hash: string;
  readonly result: JsonObject;
  readonly versions: readonly StreamVersion[];
  readonly cancelled: boolean;
}

export const commandResult = async (pool: pg.Pool, commandId: Uuid): Promise<CommandResult | null> => {
  const { rows } = await pool.query<CommandRow>({
    name: 'es_command',
    text: 'select request_hash, result, versions, cancelled from es.commands where command_id = $1',
    values: [commandId],
  });
  const [row] = rows;
  if (!row) return null;
  const { request_hash: requestHash, result, versions, cancelled } = row;
  return { commandId, requestHash, result, versions, cancelled };
};

export const claimHolder = async (pool: pg.Pool, scope: string, value: string): Promise<Uuid | null> => {
  const { rows } = await pool.query<{ holder: Uuid }>({
    name: 'es_claim',
    text: 'select holder from es.claims where scope = $1 and value = $2',
    values: [scope, value],
  });
  return rows[0]?.holder ?? null;
};

export const readSnapshot = async (pool: pg.Pool, streamId: Uuid, stateVersion: number): Promise<Snapshot | null> => {
  const { rows } = await pool.query<{ version: string; state: JsonObject }>({
    name: 'es_snapshot',
    text: 'select version, state from es.snapshots where stream_id = $1 and state_version = $2',
    values: [streamId, stateVersion],
  });
  const [row] = rows;
  return row ? { streamId, stateVersion, version: Number(row.version), state: row.state } : null;
};

/** Keeps the newer of two snapshots. */
export const saveSnapshot = async (pool: pg.Pool, snapshot: Snapshot): Promise<void> => {
  await pool.query({
    name: 'es_save_snapshot',
    text: `insert into es.snapshots as s (stream_id, state_version, version, state) values ($1, $2, $3, $4)
      on conflict (stream_id, state_version) do update set version = excluded.version, state = excluded.state
      where s.version < excluded.version`,
    values: [snapshot.streamId, snapshot.stateVersion, snapshot.version, JSON.stringify(snapshot.state)],
  });
};

/** An idle sequencer needs about a millisecond; the pauses grow in case it is being replaced. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;
/** A new sequencer takes over within a second of the old one's death; without any the log stands still. */
const SETTLE_LIMIT_MS = 10_000;

/** Whether everything that had committed below a horizon has a position; the first question takes the horizon, too. */
const NEWEST = `select es.settled(h.horizon) as settled, s.position, h.horizon::text as horizon
  from es.seq_head s, (select coalesce($1::xid8, pg_snapshot_xmax(pg_current_snapshot())) as horizon) h where s.id = 1`;

/** The newest position, once all that had committed before the call has one. `ask` wakes the sequencer. */
export const settledHead = async (pool: pg.Pool, ask: () => void): Promise<number> => {
  const limit = Date.now() + SETTLE_LIMIT_MS;
  let horizon: string | null = null;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(LONGEST_PAUSE_MS, wait * 2)) {
    const answer: pg.QueryResult<{ settled: boolean; position: string; horizon: string }> = await pool.query({
      name: 'es_head',
      text: NEWEST,
      values: [horizon],
    });
    const [head] = answer.rows;
    if (head?.settled === true) return Number(head.position);
    if (Date.now() > limit) throw new EventStoreAway('committed events got no position: no sequencer runs');
    horizon = head?.horizon ?? null;
    ask();
    await pause(wait);
  }
};
