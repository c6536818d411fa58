import { setTimeout as pause } from 'node:timers/promises';
import type {
  JsonObject,
  Life,
  LogPast,
  Moment,
  PastEvent,
  PastListQuery,
  PastObjectQuery,
  StoredDocument,
  Uuid,
} from '@xenolith/kernel';
import type pg from 'pg';
import type { ArchivedEvent } from './archive/archive-format.js';
import { fillGaps, fillStream, storedArchived, withDocuments } from './archive/archived-events.js';
import type { LogArchive } from './archive/log-archive.js';
import { stepChronicle } from './chronicler.js';
import { storedEvent, type EventRow } from './reads.js';
import { preferredShape, shapeAt, STILL_ALIVE } from './sql/chronicle.sql.js';

/** What is asked for happened too lately, or the chronicle of an older log is still being written. */
export class PastBehind extends Error {
  override readonly name = 'PastBehind';
}

/** How long a read takes the chronicle to where it reads; normally that is a step or none, behind a busy log a second's work. */
const CHRONICLE_LIMIT_MS = 3000;
/** Another process is at the same step: about as long as one takes. */
const OTHERS_STEP_MS = 5;
/** Sessions that a list reads its documents by at once: half of those that a process reads with. Most of its time goes where they are found and written out. */
const LANES = 2;
/** Of fewer documents, a question more costs more than it saves. */
const FEWEST_AT_ONCE = 50;
/** Lives of one name that are told; who needs more knows the uid. */
const MAX_LIVES = 50;
/** Events of one command in one stream, at most: a decision gives a handful. */
const COMMAND_EVENTS = 256;

interface DocumentRow {
  readonly stream_id: Uuid;
  readonly category: string;
  readonly version: string;
  readonly position: string;
  readonly body: JsonObject;
}

const storedDocument = (row: DocumentRow): StoredDocument => ({
  streamId: row.stream_id,
  category: row.category,
  version: Number(row.version),
  position: Number(row.position),
  document: row.body,
});

/** The document that the object of `v` showed at position `at`. */
const shown = (at: string): string => `
  cross join lateral (select s.version, s.position from es.shown s
    where s.stream_id = v.stream_id and s.position <= ${at} order by s.position desc limit 1) s
  cross join lateral (select coalesce(
    (select c.body from es.documents c where c.stream_id = v.stream_id and c.version = s.version
      and c.shape = ${shapeAt('$1', at)}),
    (select c.body from es.documents c where c.stream_id = v.stream_id and c.version = s.version and c.body is not null
      order by c.shape desc limit 1)) as body) d`;

const COLUMNS = 'v.stream_id, v.category, s.version, s.position, d.body';

const DOCUMENT = `select ${COLUMNS} from (
    select * from es.lives where category = $1 and namespace = $2 and name = $3 and born <= $4 and ended > $4
      and ($5::uuid is null or stream_id = $5) order by born desc limit 1) v ${shown('$4')}`;

// One row for each name: where a name was given on in the log before it was given up, the newer object is the one.
const living = (behind: string): string => `select distinct on (namespace, name) * from es.lives
  where category = $1 and born <= $2 and ended > $2 and ${behind} order by namespace, name, born desc`;

const BEHIND_IN_NAMESPACE = 'namespace = $3 and name > $4';
const BEHIND_IN_ALL = '(namespace, name) > ($3, $4)';

const listed = (behind: string): string =>
  `select stream_id from (${living(behind)} limit $5) v order by namespace, name`;

/** Of objects that were alive then, in the order asked for. */
const DOCUMENTS = `select v.stream_id, $1::text as category, s.version, s.position, d.body
  from unnest($3::uuid[]) with ordinality as v(stream_id, place) ${shown('$2')} order by v.place`;

const count = (behind: string): string => `select count(*)::int as count from (${living(behind)}) v`;

const EVENT_COLUMNS = `e.stream_id, e.version, e.event_id, e.category, e.type, e.schema_version, e.data, e.meta, l.position,
  ceil(extract(epoch from e.recorded_at) * 1000)::bigint as recorded_at, d.shape, d.body`;
const DOCUMENT_OF_EVENT = `left join lateral (select c.shape, c.body from es.documents c
  where c.stream_id = e.stream_id and c.version = e.version order by ${preferredShape('c')} limit 1) d on true`;

// Positions are compared by the caller: what is missing in front shows only by what is there behind it.
const EVENTS_OF_STREAM = `select ${EVENT_COLUMNS}
  from (select * from es.events where stream_id = $1 and version > $2 order by version limit $3) e
  left join es.event_log l on l.seq = e.seq ${DOCUMENT_OF_EVENT} order by e.version`;

const EVENTS_OF_COMMAND = `select ${EVENT_COLUMNS}
  from es.commands c
  cross join lateral json_to_recordset(c.versions) as w("streamId" uuid, version bigint)
  cross join lateral (select * from es.events v where v.stream_id = w."streamId" and v.version <= w.version
    and v.version > w.version - ${COMMAND_EVENTS}) e
  join es.event_log l on l.seq = e.seq ${DOCUMENT_OF_EVENT}
  where c.command_id = $1 and e.meta ->> 'commandId' = $1::uuid::text order by l.position`;

/** Streams that a command wrote to, as far as events of theirs from there are archived. */
const ARCHIVED_OF_COMMAND = `select w."streamId" as stream_id, w.version
  from es.commands c cross join lateral json_to_recordset(c.versions) as w("streamId" uuid, version bigint)
  where c.command_id = $1 and exists (select from es.archive_streams a where a.stream_id = w."streamId"
    and a.first_version <= w.version and a.last_version > w.version - ${COMMAND_EVENTS})`;

const EVENTS_AFTER = `select ${EVENT_COLUMNS}
  from (select * from es.event_log where position > $1 order by position limit $2) l
  join es.events e on e.txid = l.txid and e.seq = l.seq ${DOCUMENT_OF_EVENT} order by l.position`;

interface PastEventRow extends EventRow {
  /** Null: it was committed just now. */
  readonly position: string | null;
  readonly recorded_at: string;
  readonly shape: number | null;
  readonly body: JsonObject | null;
}

const pastEvent = (row: PastEventRow): PastEvent => ({
  ...storedEvent(row),
  position: row.position === null ? Number.POSITIVE_INFINITY : Number(row.position),
  recordedAt: Number(row.recorded_at),
  ...(row.shape === null ? {} : { document: row.body }),
});

/** A block of the chain, and where the archive ends; nulls: there is none. An archive ends where a block does. */
interface BlockRow {
  readonly first: string | null;
  readonly last: string | null;
  readonly archived: string | null;
}

const isArchived = ({ first, archived }: BlockRow): boolean =>
  first !== null && archived !== null && Number(first) <= Number(archived);

const recordedAt = ({ recordedAtUs }: ArchivedEvent): number => Math.ceil(Number(recordedAtUs) / 1000);

interface LifeRow {
  readonly stream_id: Uuid;
  readonly category: string;
  readonly namespace: string;
  readonly name: string;
  readonly born: string;
  readonly ended: string;
}

const life = ({ stream_id: streamId, category, namespace, name, born, ended }: LifeRow): Life => ({
  streamId,
  category,
  namespace,
  name,
  born: Number(born),
  ended: ended === STILL_ALIVE ? null : Number(ended),
});

const rangeOf = ({ category, position, namespace, after }: Omit<PastListQuery, 'limit'>): readonly unknown[] => [
  category,
  position,
  namespace ?? after?.namespace ?? '',
  after?.name ?? '',
];

/** Reads the past in PostgreSQL, with the help of the chronicle. */
export class PostgresPast implements LogPast {
  /** How far the chronicle was when this was last asked. */
  private reached = 0;
  private step: Promise<void> | undefined;

  constructor(
    private readonly pool: pg.Pool,
    private readonly log: { head(): Promise<number> },
    private readonly archive: LogArchive,
  ) {}

  async newest(): Promise<Moment> {
    const position = await this.log.head();
    await this.chronicled(position);
    return this.momentOf(position);
  }

  async momentAt(time: number): Promise<Moment> {
    await this.chronicled(await this.log.head());
    const { rows } = await this.pool.query<{ position: string } & BlockRow>({
      name: 'es_moment_at',
      text: `select b.first_position as first, b.position as last, a.position as archived, coalesce(
          (select l.position - 1
            from (select * from es.event_log where position >= b.first_position and position <= b.position
              order by position limit b.position - b.first_position + 1) l
            join es.events e on e.txid = l.txid and e.seq = l.seq
            where e.recorded_at > t.time order by l.position limit 1),
          h.position) as position
        from (select to_timestamp($1::double precision / 1000) as time) t
        cross join es.chronicle h
        left join es.archive a on true
        left join lateral (select * from es.chain c where c.recorded_until > t.time
          order by c.recorded_until, c.position limit 1) b on true`,
      values: [time],
    });
    const [row] = rows;
    if (row === undefined || !isArchived(row)) return this.momentOf(Number(row?.position ?? 0));
    const block = await this.block(row);
    const later = block.find(({ recordedAtUs }) => Number(recordedAtUs) > time * 1000);
    return this.momentOf(later === undefined ? Number(row.last) : later.position - 1);
  }

  async momentOf(position: number): Promise<Moment> {
    await this.chronicled(position);
    const { rows } = await this.pool.query<{ at: string | null } & BlockRow>({
      name: 'es_moment_of',
      text: `select b.first_position as first, b.position as last, a.position as archived,
          ceil(extract(epoch from greatest(
          (select c.recorded_until from es.chain c where c.position < b.first_position order by c.position desc limit 1),
          (select max(e.recorded_at)
            from (select * from es.event_log where position >= b.first_position and position <= $1
              order by position limit $1::bigint - b.first_position + 1) l
            join es.events e on e.txid = l.txid and e.seq = l.seq))) * 1000)::bigint as at
        from (select * from es.chain c where c.position >= $1 and $1::bigint > 0 order by c.position limit 1) b
        left join es.archive a on true`,
      values: [position],
    });
    const [row] = rows;
    const known = Number(row?.at ?? 0);
    if (row === undefined || !isArchived(row)) return { position, recordedAt: known };
    const times = (await this.block(row)).filter((event) => event.position <= position).map(recordedAt);
    return { position, recordedAt: Math.max(known, ...times) };
  }

  async documentAt({ category, position, namespace, name, uid }: PastObjectQuery): Promise<StoredDocument | null> {
    await this.chronicled(position);
    const { rows } = await this.pool.query<DocumentRow>({
      name: 'es_document_at',
      text: DOCUMENT,
      values: [category, namespace, name, position, uid ?? null],
    });
    const [row] = rows;
    return row === undefined ? null : storedDocument(row);
  }

  async documentsAt(query: PastListQuery): Promise<readonly StoredDocument[]> {
    await this.chronicled(query.position);
    const inAll = query.namespace === undefined;
    const { rows } = await this.pool.query<{ stream_id: Uuid }>({
      name: inAll ? 'es_listed_at' : 'es_listed_at_in',
      text: listed(inAll ? BEHIND_IN_ALL : BEHIND_IN_NAMESPACE),
      values: [...rangeOf(query), query.limit],
    });
    const ids = rows.map(({ stream_id }) => stream_id);
    const part = Math.max(FEWEST_AT_ONCE, Math.ceil(ids.length / LANES));
    const parts: Uuid[][] = [];
    for (let start = 0; start < ids.length; start += part) parts.push(ids.slice(start, start + part));
    const read = await Promise.all(parts.map((some) => this.documentsOf(some, query)));
    return read.flat();
  }

  private async documentsOf(
    ids: readonly Uuid[],
    { category, position }: Pick<PastListQuery, 'category' | 'position'>,
  ): Promise<readonly StoredDocument[]> {
    const { rows } = await this.pool.query<DocumentRow>({
      name: 'es_documents_of',
      text: DOCUMENTS,
      values: [category, position, ids],
    });
    return rows.map(storedDocument);
  }

  async countAt(query: Omit<PastListQuery, 'limit'>): Promise<number> {
    await this.chronicled(query.position);
    const inAll = query.namespace === undefined;
    const { rows } = await this.pool.query<{ count: number }>({
      name: inAll ? 'es_count_at' : 'es_count_at_in',
      text: count(inAll ? BEHIND_IN_ALL : BEHIND_IN_NAMESPACE),
      values: [...rangeOf(query)],
    });
    return rows[0]?.count ?? 0;
  }

  async lives(of: Parameters<LogPast['lives']>[0]): Promise<readonly Life[]> {
    await this.chronicled(of.upTo);
    const query =
      'uid' in of
        ? { name: 'es_lives_of', where: 'stream_id = $2', values: [of.uid] }
        : {
            name: 'es_lives_named',
            where: 'category = $2 and namespace = $3 and name = $4',
            values: [of.category, of.namespace, of.name],
          };
    const { rows } = await this.pool.query<LifeRow>({
      name: query.name,
      text: `select * from es.lives where born <= $1 and ${query.where} order by born desc limit ${MAX_LIVES}`,
      values: [of.upTo, ...query.values],
    });
    return rows
      .map(life)
      .map((each) => ({ ...each, ended: (each.ended ?? of.upTo + 1) > of.upTo ? null : each.ended }));
  }

  async eventsOf(query: Parameters<LogPast['eventsOf']>[0]): Promise<readonly PastEvent[]> {
    const { rows } = await this.pool.query<PastEventRow>({
      name: 'es_events_of_stream',
      text: EVENTS_OF_STREAM,
      values: [query.streamId, query.after, query.limit],
    });
    const { archive, read } = this.archived();
    const events = await fillStream(rows.map(pastEvent), query, { archive, read });
    return events.slice(0, query.limit).filter(({ position }) => position <= query.upTo);
  }

  async eventsOfCommand(commandId: Uuid): Promise<readonly PastEvent[]> {
    const { rows } = await this.pool.query<PastEventRow>({
      name: 'es_events_of_command',
      text: EVENTS_OF_COMMAND,
      values: [commandId],
    });
    const found = new Map(rows.map(pastEvent).map((event) => [event.position, event]));
    const { rows: archived } = await this.pool.query<{ stream_id: Uuid; version: string }>({
      name: 'es_archived_of_command',
      text: ARCHIVED_OF_COMMAND,
      values: [commandId],
    });
    for (const { stream_id: streamId, version } of archived) {
      const upTo = Number(version);
      const events = await this.archive.ofStream(streamId, upTo - COMMAND_EVENTS, upTo);
      for (const event of await this.archived().read(events))
        if (event.metadata.commandId === commandId) found.set(event.position, event);
    }
    return [...found.values()].sort((one, other) => one.position - other.position);
  }

  async eventsAfter(after: number, limit: number): Promise<readonly PastEvent[]> {
    const { rows } = await this.pool.query<PastEventRow>({
      name: 'es_events_after',
      text: EVENTS_AFTER,
      values: [after, limit],
    });
    return fillGaps(rows.map(pastEvent), { after, limit }, this.archived());
  }

  private archived() {
    return {
      archive: this.archive,
      read: async (events: readonly ArchivedEvent[]): Promise<readonly PastEvent[]> =>
        (await withDocuments(this.pool, events)).map(({ event, document }) => ({
          ...storedArchived(event),
          position: event.position,
          recordedAt: recordedAt(event),
          ...(document === undefined ? {} : { document: document.body }),
        })),
    };
  }

  /** The events of a block of the chain whose beginning, at least, is archived. */
  private async block({ first, last, archived }: BlockRow): Promise<readonly ArchivedEvent[]> {
    const events: ArchivedEvent[] = [];
    const end = Math.min(Number(last), Number(archived));
    for (let at = Number(first) - 1; at < end;) {
      const part = await this.archive.after(at, end - at);
      if (part.length === 0) throw new PastBehind(`the archive of the log has no event ${at + 1}`);
      events.push(...part);
      at = part.at(-1)?.position ?? end;
    }
    return events;
  }

  /** Sees to it that the chronicle has come to `position`: nobody else may have taken it there while the log is busy. */
  private async chronicled(position: number): Promise<void> {
    const limit = performance.now() + CHRONICLE_LIMIT_MS;
    while (position > this.reached) {
      // Whoever comes meanwhile waits for the same step.
      this.step ??= this.takeStep().finally(() => (this.step = undefined));
      await this.step;
      if (position > this.reached && performance.now() > limit)
        throw new PastBehind(`the past can be read up to position ${this.reached}, not yet up to ${position}`);
    }
  }

  private async takeStep(): Promise<void> {
    const { reached } = await stepChronicle(this.pool);
    if (reached === null) await pause(OTHERS_STEP_MS);
    else this.reached = reached;
  }
}
