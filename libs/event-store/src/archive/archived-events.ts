import type { EventMetadata, JsonObject, StoredEvent, Uuid } from '@xenolith/kernel';
import type pg from 'pg';
import { preferredShape } from '../sql/chronicle.sql.js';
import type { ArchivedEvent } from './archive-format.js';
import type { LogArchive } from './log-archive.js';

export const storedArchived = (event: ArchivedEvent): StoredEvent => ({
  eventId: event.eventId,
  streamId: event.streamId,
  category: event.category,
  version: event.version,
  type: event.type,
  schemaVersion: event.schemaVersion,
  data: JSON.parse(event.data) as JsonObject,
  metadata: JSON.parse(event.metadata) as EventMetadata,
});

const DOCUMENTS_OF = `select d.stream_id, d.version, d.body from unnest($1::uuid[], $2::bigint[]) as u(stream_id, version)
  cross join lateral (select c.stream_id, c.version, c.body from es.documents c
    where c.stream_id = u.stream_id and c.version = u.version order by ${preferredShape('c')} limit 1) d`;

/** An archived event with the document that its write left, which is still in the database; undefined: it is not the last of its write, or its stream shows none. */
export interface ArchivedWrite {
  readonly event: ArchivedEvent;
  readonly document: { readonly body: JsonObject | null } | undefined;
}

export const withDocuments = async (
  pool: pg.Pool,
  events: readonly ArchivedEvent[],
): Promise<readonly ArchivedWrite[]> => {
  if (events.length === 0) return [];
  const { rows } = await pool.query<{ stream_id: Uuid; version: string; body: JsonObject | null }>({
    name: 'es_archived_documents',
    text: DOCUMENTS_OF,
    values: [events.map(({ streamId }) => streamId), events.map(({ version }) => version)],
  });
  const bodies = new Map(rows.map(({ stream_id: id, version, body }) => [`${id}/${version}`, { body }]));
  return events.map((event) => ({ event, document: bodies.get(`${event.streamId}/${event.version}`) }));
};

/** Where events are that were archived, and how they become what a reader wants of them. */
interface Archived<Event> {
  readonly archive: LogArchive;
  readonly read: (events: readonly ArchivedEvent[]) => Promise<readonly Event[]>;
}

/**
 * What a range of the log holds, of which the database gave `found`, in order: gaps are filled from the archive. The newest event of the log is never removed, so that nothing is missing
 * behind the last one found.
 */
export const fillGaps = async <Event extends { readonly position: number }>(
  found: readonly Event[],
  range: { readonly after: number; readonly limit: number },
  archived: Archived<Event>,
): Promise<readonly Event[]> => {
  const last = found.at(-1)?.position ?? range.after;
  if (last - range.after === found.length) return found;
  const events: Event[] = [];
  let at = range.after;
  for (const event of found) {
    while (at + 1 < event.position && events.length < range.limit) {
      const wanted = Math.min(event.position - 1 - at, range.limit - events.length);
      const filling = await archived.read(await archived.archive.after(at, wanted));
      if (filling.length === 0)
        throw new Error(`the events from position ${at + 1} on are neither in the log nor in its archive`);
      events.push(...filling);
      at = filling.at(-1)?.position ?? at;
    }
    if (events.length === range.limit) break;
    events.push(event);
    at = event.position;
  }
  return events;
};

/** A stream's events behind a version, of which the database gave `found`: a stream's oldest events are archived first, its newest never removed. */
export const fillStream = async <Event extends { readonly version: number }>(
  found: readonly Event[],
  stream: { readonly streamId: Uuid; readonly after: number },
  archived: Archived<Event>,
): Promise<readonly Event[]> => {
  const [first] = found;
  const { streamId, after } = stream;
  if (first === undefined || first.version === after + 1) return found;
  const filling = await archived.read(await archived.archive.ofStream(streamId, after, first.version - 1));
  if (filling.length !== first.version - 1 - after)
    throw new Error(
      `versions ${after + 1} to ${first.version - 1} of stream ${streamId} are neither in the log nor in its archive: ${filling.length} were found`,
    );
  return [...filling, ...found];
};
