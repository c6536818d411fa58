import type { Uuid } from '@xenolith/kernel';
import type pg from 'pg';
import { ArchiveDamaged, decodeLine, sha256, unpack, type ArchivedEvent } from './archive-format.js';
import type { ArchiveStore } from './archive-store.js';
import { openArchiveStore } from './open-archive-store.js';

/** Unpacked segments that are kept for the next reader: who asks for one event mostly asks for its neighbours too. */
const KEPT_BYTES = 64 * 2 ** 20;
const NEWLINE = 0x0a;

/** A segment as the log knows it. */
export interface RegisteredSegment {
  readonly first: number;
  readonly last: number;
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface SegmentRow {
  readonly first_position: string;
  readonly last_position: string;
  readonly name: string;
  readonly bytes: string;
  readonly sha256: string;
  readonly location: string;
}

export const SEGMENT_COLUMNS = 's.first_position, s.last_position, s.name, s.bytes, s.sha256, a.location';

export const registeredSegment = (row: SegmentRow): RegisteredSegment => ({
  first: Number(row.first_position),
  last: Number(row.last_position),
  name: row.name,
  bytes: Number(row.bytes),
  sha256: row.sha256,
});

const damaged = ({ name, first, last }: RegisteredSegment, store: ArchiveStore, what: string): ArchiveDamaged =>
  new ArchiveDamaged(
    `${name} of the archive in ${store.location}, which holds the events ${first} to ${last}, ${what}`,
    first,
  );

/** The file of a segment, which is the one that was put there. Throws an `ArchiveDamaged` or an `ArchiveUnavailable`. */
export const readSegmentFile = async (store: ArchiveStore, segment: RegisteredSegment): Promise<Buffer> => {
  const file = await store.read(segment.name);
  if (file === null) throw damaged(segment, store, 'is missing');
  if (sha256(file) !== segment.sha256) throw damaged(segment, store, 'was altered: its hash is another');
  return file;
};

/** The lines of a segment; each is parsed when somebody asks for it. */
export class SegmentLines {
  private readonly starts: number[] = [];

  constructor(
    private readonly first: number,
    private readonly content: Buffer,
  ) {
    for (let start = 0; start < content.length;) {
      this.starts.push(start);
      const end = content.indexOf(NEWLINE, start);
      start = end < 0 ? content.length : end + 1;
    }
  }

  get bytes(): number {
    return this.content.length;
  }

  get count(): number {
    return this.starts.length;
  }

  /** The event at a position. Throws an `ArchiveDamaged` when there is none. */
  at(position: number): ArchivedEvent {
    const start = this.starts[position - this.first];
    if (start === undefined) throw new ArchiveDamaged('its line in the archive is missing', position);
    const end = this.starts[position - this.first + 1] ?? this.content.length;
    const event = decodeLine(this.content.toString('utf8', start, end), position);
    if (event.position !== position)
      throw new ArchiveDamaged(`its line in the archive holds event ${event.position}`, position);
    return event;
  }

  /** Events of a stream, in their order. */
  ofStream(streamId: Uuid): readonly ArchivedEvent[] {
    const found: ArchivedEvent[] = [];
    let line = 0;
    for (let at = this.content.indexOf(streamId); at >= 0; at = this.content.indexOf(streamId, at)) {
      while ((this.starts[line + 1] ?? this.content.length) <= at) line += 1;
      // Others may speak of the stream: only the event itself says whose it is.
      const event = this.at(this.first + line);
      if (event.streamId === streamId) found.push(event);
      at = this.starts[line + 1] ?? this.content.length;
    }
    return found;
  }
}

/**
 * Reads events that were archived, by what the log itself says of its archive. Who finds a gap in what the database gave asks here: events are registered before they are removed, so
 * that each is in one of the two. Throws an `ArchiveDamaged` or an `ArchiveUnavailable` rather than answer without.
 */
export class LogArchive {
  private readonly kept = new Map<string, SegmentLines>();
  private readonly loading = new Map<string, Promise<SegmentLines>>();
  private keptBytes = 0;
  private store: ArchiveStore | undefined;

  constructor(private readonly pool: pg.Pool) {}

  /** Events from the position behind `after` on, as far as they are archived: `limit` of them at most, and none beyond the end of a segment. */
  async after(after: number, limit: number): Promise<readonly ArchivedEvent[]> {
    const { rows } = await this.pool.query<SegmentRow>({
      name: 'es_archive_segment_at',
      text: `select ${SEGMENT_COLUMNS} from es.archive_segments s cross join es.archive a
        where s.last_position > $1 order by s.last_position limit 1`,
      values: [after],
    });
    const [row] = rows;
    if (row === undefined || Number(row.first_position) > after + 1) return [];
    const lines = await this.lines(row);
    const events: ArchivedEvent[] = [];
    for (let at = after + 1; at <= Number(row.last_position) && events.length < limit; at += 1)
      events.push(lines.at(at));
    return events;
  }

  /** Events of a stream with versions above `after` and up to `upTo`, as far as they are archived. */
  async ofStream(streamId: Uuid, after: number, upTo: number): Promise<readonly ArchivedEvent[]> {
    const { rows } = await this.pool.query<SegmentRow>({
      name: 'es_archive_segments_of',
      text: `select ${SEGMENT_COLUMNS} from es.archive_streams t
        join es.archive_segments s on s.last_position = t.last_position cross join es.archive a
        where t.stream_id = $1 and t.last_version > $2 and t.first_version <= $3 order by t.last_position`,
      values: [streamId, after, upTo],
    });
    const events: ArchivedEvent[] = [];
    for (const row of rows) {
      for (const event of (await this.lines(row)).ofStream(streamId))
        if (event.version > after && event.version <= upTo) events.push(event);
    }
    return events;
  }

  private lines(row: SegmentRow): Promise<SegmentLines> {
    const known = this.kept.get(row.name);
    if (known !== undefined) {
      this.kept.delete(row.name);
      this.kept.set(row.name, known);
      return Promise.resolve(known);
    }
    const loading =
      this.loading.get(row.name) ??
      this.load(row)
        .then((lines) => this.keep(row.name, lines))
        .finally(() => this.loading.delete(row.name));
    this.loading.set(row.name, loading);
    return loading;
  }

  private async load(row: SegmentRow): Promise<SegmentLines> {
    if (this.store?.location !== row.location) this.store = await openArchiveStore(row.location);
    const segment = registeredSegment(row);
    const file = await readSegmentFile(this.store, segment);
    const lines = new SegmentLines(segment.first, await unpack(file));
    if (lines.count !== segment.last - segment.first + 1)
      throw damaged(segment, this.store, `holds ${lines.count} events`);
    return lines;
  }

  /** The oldest go first, the newest never. */
  private keep(name: string, lines: SegmentLines): SegmentLines {
    this.kept.set(name, lines);
    this.keptBytes += lines.bytes;
    for (const [oldest, { bytes }] of this.kept) {
      if (this.keptBytes <= KEPT_BYTES || oldest === name) break;
      this.kept.delete(oldest);
      this.keptBytes -= bytes;
    }
    return lines;
  }
}
