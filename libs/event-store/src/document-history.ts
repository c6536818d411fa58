import type { JsonObject, Uuid } from '@xenolith/kernel';
import type pg from 'pg';
import { EventStoreFault } from './append-batcher.js';
import type { ArchivedEvent } from './archive/archive-format.js';
import type { LogArchive } from './archive/log-archive.js';
import { shapeAt } from './sql/chronicle.sql.js';

/** A document as a write left it; `null` is a tombstone. */
export interface DocumentVersion {
  readonly version: number;
  readonly position: number;
  readonly document: JsonObject | null;
}

/** What one write did to the document of a stream. */
export interface DocumentChange extends DocumentVersion {
  readonly streamId: Uuid;
  /** When it was recorded, in milliseconds since the epoch. */
  readonly recordedAt: number;
  /** What the write before it left; absent: this write made the first document. */
  readonly previous?: DocumentVersion;
}

export interface DocumentChangesQuery {
  readonly category: string;
  /** Positions above this one, */
  readonly after: number;
  /** up to this one. All positions between are walked: ask for some thousands at a time. */
  readonly upTo: number;
}

/** What `e` left, and what the write before it had left: where that was archived, the chronicle knows its position. */
const documentsOf = (position: string): string => `
  join lateral (
    select c.body from es.documents c
      where c.stream_id = e.stream_id and c.version = e.version
      order by c.shape = ${shapeAt('c.category', position)} desc, c.shape desc limit 1) d on true
  left join lateral (
    select c.version, c.body, coalesce(
        (select f.position from es.events b join es.event_log f on f.seq = b.seq
          where b.stream_id = c.stream_id and b.version = c.version),
        (select s.position from es.shown s
          where s.stream_id = c.stream_id and s.version = c.version order by s.position desc limit 1)) as position
      from es.documents c
      where c.stream_id = e.stream_id and c.version < e.version
      order by c.version desc, c.shape = ${shapeAt('c.category', position)} desc, c.shape desc limit 1) p on true`;

const CHANGE_COLUMNS = `e.stream_id, e.version, d.body, p.version as previous_version, p.position as previous_position, p.body as previous_body`;

// The limit inside, which the range never reaches, keeps the plan a walk along the indexes, whatever the statistics say.
const DOCUMENT_CHANGES = `
  select l.position, ceil(extract(epoch from e.recorded_at) * 1000)::bigint as recorded_at, ${CHANGE_COLUMNS}
  from (select * from es.event_log where position > $2 and position <= $3 order by position limit $3::bigint - $2::bigint) l
  join es.events e on e.txid = l.txid and e.seq = l.seq and e.category = $1 ${documentsOf('l.position')}
  order by l.position`;

const ARCHIVED_CHANGES = `
  select e.position, e.recorded_at, ${CHANGE_COLUMNS}
  from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[]) as e(position, recorded_at, stream_id, version) ${documentsOf('e.position')}
  order by e.position`;

interface ChangeRow {
  readonly position: string;
  readonly stream_id: Uuid;
  readonly version: string;
  readonly body: JsonObject | null;
  readonly recorded_at: string;
  readonly previous_version: string | null;
  readonly previous_position: string | null;
  readonly previous_body: JsonObject | null;
}

const documentChange = (row: ChangeRow): DocumentChange => ({
  streamId: row.stream_id,
  version: Number(row.version),
  position: Number(row.position),
  document: row.body,
  recordedAt: Number(row.recorded_at),
  ...(row.previous_version === null
    ? {}
    : {
        previous: {
          version: Number(row.previous_version),
          position: Number(row.previous_position),
          document: row.previous_body,
        },
      }),
});

/** The end of the archive, 0 without one. */
const archivedUpTo = async (pool: pg.Pool): Promise<number> => {
  const { rows } = await pool.query<{ position: string }>({
    name: 'es_archived',
    text: 'select position from es.archive where id = 1',
  });
  return Number(rows[0]?.position ?? 0);
};

const archivedChanges = async (
  pool: pg.Pool,
  archive: LogArchive,
  { category, after, upTo }: DocumentChangesQuery,
): Promise<readonly DocumentChange[]> => {
  const events: ArchivedEvent[] = [];
  for (let at = after; at < upTo;) {
    const part = await archive.after(at, upTo - at);
    if (part.length === 0) throw new EventStoreFault(`the archive of the log has no event ${at + 1}`);
    events.push(...part.filter((event) => event.category === category));
    at = part.at(-1)?.position ?? upTo;
  }
  const { rows } = await pool.query<ChangeRow>({
    name: 'es_archived_changes',
    text: ARCHIVED_CHANGES,
    values: [
      events.map(({ position }) => position),
      events.map(({ recordedAtUs }) => Math.ceil(Number(recordedAtUs) / 1000)),
      events.map(({ streamId }) => streamId),
      events.map(({ version }) => version),
    ],
  });
  return rows.map(documentChange);
};

/** What happened to the documents of a category in a range of positions, in order. */
export const readDocumentChanges = async (
  pool: pg.Pool,
  archive: LogArchive,
  { category, after, upTo }: DocumentChangesQuery,
): Promise<readonly DocumentChange[]> => {
  if (upTo <= after) return [];
  const { rows } = await pool.query<ChangeRow>({
    name: 'es_document_changes',
    text: DOCUMENT_CHANGES,
    values: [category, after, upTo],
  });
  const found = rows.map(documentChange);
  // Asked afterwards: what had been removed when the database was read was archived by then.
  const archived = Math.min(await archivedUpTo(pool), upTo);
  if (archived <= after) return found;
  const old = await archivedChanges(pool, archive, { category, after, upTo: archived });
  return [...old, ...found.filter(({ position }) => position > archived)];
};
