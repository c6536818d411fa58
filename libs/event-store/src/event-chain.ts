import { createHash } from 'node:crypto';

/** What the chain says of an event, with its JSON as PostgreSQL holds it. */
export interface ChainedEvent {
  readonly position: number;
  readonly streamId: string;
  readonly version: number;
  readonly eventId: string;
  readonly category: string;
  readonly type: string;
  readonly schemaVersion: number;
  /** Microseconds since the epoch. */
  readonly recordedAtUs: string;
  readonly data: string;
  readonly metadata: string;
}

export const LINK_BYTES = 32;
/** What the first event's link follows. */
export const FIRST_LINK: Buffer = Buffer.alloc(LINK_BYTES);

const sha256 = (...parts: readonly (string | Buffer)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/**
 * The link of an event: SHA-256 over the link before it and the SHA-256 of its parts, joined by U+001F. `es.chronicle_step` computes the same in the
 * database; who verifies does not ask the database to.
 */
export const linkOf = (before: Buffer, event: ChainedEvent): Buffer => {
  const { position, streamId, version, eventId, category, type, schemaVersion, recordedAtUs, data, metadata } = event;
  const parts = [position, streamId, version, eventId, category, type, schemaVersion, recordedAtUs, data, metadata];
  return sha256(before, sha256(parts.join('\u001f')));
};

/** Rows that one statement gives. */
export const PAGE_EVENTS = 2000;

/** An event of the log, or its place alone, as PostgreSQL holds them. */
export interface ChainedRow {
  readonly position: string;
  readonly stream_id: string | null;
  readonly version: string;
  readonly event_id: string;
  readonly category: string;
  readonly type: string;
  readonly schema_version: number;
  readonly recorded_us: string;
  readonly data: string;
  readonly meta: string;
}

/** Events above $1 and up to $2, a page of them. */
export const CHAINED_EVENTS = `select l.position, e.stream_id, e.version, e.event_id, e.category, e.type, e.schema_version,
    (extract(epoch from e.recorded_at) * 1000000)::bigint as recorded_us, e.data::text as data, e.meta::text as meta
  from (select * from es.event_log where position > $1 and position <= $2 order by position limit ${PAGE_EVENTS}) l
  left join es.events e on e.txid = l.txid and e.seq = l.seq order by l.position`;

export const chainedEvent = (row: ChainedRow): ChainedEvent => ({
  position: Number(row.position),
  streamId: row.stream_id ?? '',
  version: Number(row.version),
  eventId: row.event_id,
  category: row.category,
  type: row.type,
  schemaVersion: row.schema_version,
  recordedAtUs: row.recorded_us,
  data: row.data,
  metadata: row.meta,
});
