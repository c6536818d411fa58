import type { JsonObject, Uuid } from '@xenolith/kernel';
import type pg from 'pg';
import { preferredShape } from './sql/chronicle.sql.js';

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

// The limit inside, which the range never reaches, keeps the plan a walk along the indexes, whatever the statistics say.
const DOCUMENT_CHANGES = `
  select l.position, e.stream_id, e.version, d.body, ceil(extract(epoch from e.recorded_at) * 1000)::bigint as recorded_at,
    p.version as previous_version, p.position as previous_position, p.body as previous_body
  from (select * from es.event_log where position > $2 and position <= $3 order by position limit $3::bigint - $2::bigint) l
  join es.events e on e.txid = l.txid and e.seq = l.seq and e.category = $1
  join lateral (
    select c.body from es.documents c
      where c.stream_id = e.stream_id and c.version = e.version order by ${preferredShape('c')} limit 1) d on true
  left join lateral (
    select c.version, c.body, f.position from es.documents c
      join es.events b on b.stream_id = c.stream_id and b.version = c.version
      join es.event_log f on f.seq = b.seq
      where c.stream_id = e.stream_id and c.version < e.version
      order by c.version desc, ${preferredShape('c')} limit 1) p on true
  order by l.position`;

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

/** What happened to the documents of a category in a range of positions, in order. */
export const readDocumentChanges = async (
  pool: pg.Pool,
  { category, after, upTo }: DocumentChangesQuery,
): Promise<readonly DocumentChange[]> => {
  if (upTo <= after) return [];
  const { rows } = await pool.query<ChangeRow>({
    name: 'es_document_changes',
    text: DOCUMENT_CHANGES,
    values: [category, after, upTo],
  });
  return rows.map(documentChange);
};
