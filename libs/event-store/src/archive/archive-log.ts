import type pg from 'pg';
import { EventStoreFault } from '../append-batcher.js';
import { closeSession, lockKey, openSession, READ_LIMIT_MS } from '../connection.js';
import { CHAINED_EVENTS, chainedEvent, type ChainedRow } from '../event-chain.js';
import {
  ArchiveDamaged,
  decodeManifest,
  encodeLines,
  encodeManifest,
  linkAfter,
  MANIFEST_NAME,
  pack,
  segmentName,
  sha256,
  unpack,
  type ArchivedEvent,
  type Segment,
} from './archive-format.js';
import type { ArchiveStore } from './archive-store.js';
import { readSegmentFile, registeredSegment, SEGMENT_COLUMNS, SegmentLines, type SegmentRow } from './log-archive.js';

/** Some 10 MB before they are packed, less than 1 MB after: small enough to be fetched for one event, large enough that a billion events are not a million files. */
const SEGMENT_EVENTS = 10_000;
/** A segment is closed when it has so much, however few events those are. */
const SEGMENT_BYTES = 16 * 2 ** 20;
/** Segments that are copied before the manifest is written again and their events are removed. */
const ROUND_SEGMENTS = 16;
/** Events removed in one transaction: some tens of milliseconds, for which the sequencer waits. */
const REMOVED_AT_ONCE = 500;
const FIRST_STREAM = '00000000-0000-0000-0000-000000000000';
const ARCHIVE_LOCK = lockKey('xenolith/archive');

/** Why nothing, or not more, can be archived; told to people as it is. */
export class ArchiveRefused extends Error {
  override readonly name = 'ArchiveRefused';
}

export type ArchiveStep = 'segment-written' | 'manifest-written' | 'registered' | 'removed-some';

export interface ArchiveOptions {
  /** Of the owner of the schema. */
  readonly ownerUrl: string;
  readonly store: ArchiveStore;
  /** Events recorded before this time, in milliseconds since the epoch, are archived. */
  readonly before: number;
  /** So many of the newest events stay in any case. */
  readonly keepNewest: number;
  /** Events of one segment, about; 10,000 unless told. */
  readonly segmentEvents?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ArchiveProgress) => void;
  /** Where tests let a run end. */
  readonly failpoint?: (step: ArchiveStep) => Promise<void>;
}

export interface ArchiveProgress {
  readonly archived: number;
  readonly removed: number;
  readonly bytes: number;
  /** The end of the archive. */
  readonly position: number;
  /** How far this run means to go. */
  readonly upTo: number;
}

export interface ArchiveResult extends ArchiveProgress {
  /** What keeps it from going on to the age that was asked for; absent: nothing. */
  readonly heldBackBy?: string;
}

interface Place {
  readonly position: number;
  readonly location: string | null;
}

const toSegment = (
  events: readonly ArchivedEvent[],
  file: Buffer,
  links: Pick<Segment, 'linkBefore' | 'linkAfter'>,
) => {
  const [first, last] = [events[0], events.at(-1)];
  if (!first || !last) throw new EventStoreFault('a segment has at least one event');
  const hash = sha256(file);
  const times = events.map(({ recordedAtUs }) => Number(recordedAtUs) / 1000);
  const text = (time: number): string => new Date(time).toISOString();
  return {
    name: segmentName(first.position, last.position, hash),
    first: first.position,
    last: last.position,
    recordedFrom: text(times.reduce((one, other) => Math.min(one, other))),
    recordedUntil: text(times.reduce((one, other) => Math.max(one, other))),
    events: events.length,
    bytes: file.length,
    sha256: hash,
    ...links,
  } satisfies Segment;
};

/** One run. The lock is held; what an earlier run left half done is finished first. */
class Run {
  private segments: readonly Segment[] = [];
  private manifest: Buffer | null = null;
  private archived = 0;
  private removed = 0;
  private bytes = 0;

  constructor(
    private readonly session: pg.Client,
    private readonly options: ArchiveOptions,
  ) {}

  async run(): Promise<ArchiveResult> {
    await this.readManifest();
    await this.compareWithLog();
    const { upTo, heldBackBy } = await this.goal();
    await this.takeOver(upTo);
    await this.removeRegistered(upTo);
    for (;;) {
      const { position } = await this.place();
      if (position >= upTo) break;
      const made = await this.copyRound(position, upTo);
      if (made.length === 0) break;
      await this.writeManifest([...this.segments, ...made]);
      for (const segment of made) await this.register(segment);
      await this.removeRegistered(upTo);
    }
    const progress = await this.progress(upTo);
    return { ...progress, ...(heldBackBy !== undefined && { heldBackBy }) };
  }

  private async readManifest(): Promise<void> {
    const { store } = this.options;
    this.manifest = await store.read(MANIFEST_NAME);
    this.segments = this.manifest === null ? [] : decodeManifest(this.manifest, store.location);
  }

  private async place(): Promise<Place> {
    const { rows } = await this.session.query<{ position: string; location: string }>(
      'select position, location from es.archive where id = 1',
    );
    return { position: Number(rows[0]?.position ?? 0), location: rows[0]?.location ?? null };
  }

  /** All that the log knows as archived must lie here. An archive that was moved as a whole is found at its new place from now on. */
  private async compareWithLog(): Promise<void> {
    const { store } = this.options;
    const { rows } = await this.session.query<SegmentRow>(
      `select ${SEGMENT_COLUMNS} from es.archive_segments s cross join es.archive a order by s.last_position`,
    );
    const here = new Map(this.segments.map((segment) => [segment.name, segment]));
    for (const row of rows) {
      const { name, first, last, sha256: hash } = registeredSegment(row);
      if (here.get(name)?.sha256 !== hash)
        throw new ArchiveRefused(
          `the log was archived to ${row.location} before, and ${name} (events ${first} to ${last}) is not in ${store.location}: ` +
            `name the place that has all of it, or move all of it here first`,
        );
    }
    await this.session.query('update es.archive set location = $1 where id = 1 and location <> $1', [store.location]);
  }

  /** How far the log may be archived: the end of a block of the chain. */
  private async goal(): Promise<{ readonly upTo: number; readonly heldBackBy?: string }> {
    const { before, keepNewest } = this.options;
    const { rows } = await this.session.query<{ aged: string; kept: string; consumer: string | null; reached: string }>(
      `select coalesce((select max(c.position) from es.chain c where c.recorded_until < to_timestamp($1::double precision / 1000)), 0) as aged,
        h.position - $2::bigint as kept, k.consumer, coalesce(k.position, h.position) as reached
        from es.seq_head h left join lateral (select consumer, position from es.checkpoints order by position limit 1) k on true
        where h.id = 1`,
      [before, keepNewest],
    );
    const [row] = rows;
    if (row === undefined) throw new EventStoreFault('the log has no head');
    const [aged, kept, reached] = [Number(row.aged), Number(row.kept), Number(row.reached)];
    const allowed = Math.max(0, Math.min(kept, reached));
    const heldBackBy =
      aged <= allowed
        ? undefined
        : reached < kept
          ? `${row.consumer ?? 'a follower'}, which has seen the log up to position ${reached} only`
          : `the newest ${keepNewest} events, which stay`;
    const { rows: ends } = await this.session.query<{ position: string | null }>(
      'select max(position) as position from es.chain where position <= $1',
      [Math.min(aged, allowed)],
    );
    return { upTo: Number(ends[0]?.position ?? 0), ...(heldBackBy !== undefined && { heldBackBy }) };
  }

  /** Segments that are in the manifest, but that the log does not know: a run ended in between, or the log is a restored one. */
  private async takeOver(upTo: number): Promise<void> {
    const { position } = await this.place();
    for (const segment of this.segments.filter(({ last }) => last > position)) {
      this.options.signal?.throwIfAborted();
      const ours = await this.linkAt(segment.last);
      if (ours !== segment.linkAfter)
        throw new ArchiveRefused(
          `${this.options.store.location} goes on up to position ${this.segments.at(-1)?.last ?? 0} with another history than this log ` +
            `(from ${segment.name} on): it is the archive of another log, or of this one before it was restored. Name another place`,
        );
      if (segment.last > upTo) return;
      await this.readBack(segment);
      await this.register(segment);
    }
  }

  private async linkAt(position: number): Promise<string | undefined> {
    const { rows } = await this.session.query<{ link: string }>(
      `select encode(substr(links, ($1::bigint - first_position)::int * 32 + 1, 32), 'hex') as link from es.chain
        where position >= $1 and first_position <= $1 order by position limit 1`,
      [position],
    );
    return rows[0]?.link;
  }

  private async copyRound(from: number, upTo: number): Promise<readonly Segment[]> {
    const made: Segment[] = [];
    let position = from;
    while (position < upTo && made.length < ROUND_SEGMENTS) {
      this.options.signal?.throwIfAborted();
      const segment = await this.copy(position, upTo, made.at(-1) ?? this.segments.at(-1));
      made.push(segment);
      position = segment.last;
      await this.tell(upTo);
    }
    return made;
  }

  /** Writes the next segment, and reads it back. */
  private async copy(after: number, upTo: number, before: Segment | undefined): Promise<Segment> {
    const events = await this.nextEvents(after, upTo);
    const linkBefore = before?.linkAfter ?? '0'.repeat(64);
    const last = events.at(-1)?.position ?? after;
    const link = linkAfter(linkBefore, events);
    if (link !== (await this.linkAt(last)))
      throw new ArchiveRefused(
        `the events ${after + 1} to ${last} are not what was recorded, by their hashes: nothing of them is archived; ./xenolith verify names the first`,
      );
    const file = await pack(encodeLines(events));
    const segment = toSegment(events, file, { linkBefore, linkAfter: link });
    await this.options.store.putIfAbsent(segment.name, file);
    await this.options.failpoint?.('segment-written');
    await this.readBack(segment);
    this.archived += events.length;
    this.bytes += file.length;
    return segment;
  }

  /** The events of the next segment, which ends where a block of the chain does. */
  private async nextEvents(after: number, upTo: number): Promise<readonly ArchivedEvent[]> {
    const { rows } = await this.session.query<{ position: string }>(
      `select position from es.chain where position > $1 and position <= least($2, greatest($1::bigint + $3::bigint,
        (select min(position) from es.chain where position > $1))) order by position`,
      [after, upTo, this.options.segmentEvents ?? SEGMENT_EVENTS],
    );
    const events: ArchivedEvent[] = [];
    let bytes = 0;
    for (const end of rows.map(({ position }) => Number(position))) {
      while ((events.at(-1)?.position ?? after) < end) {
        const from = events.at(-1)?.position ?? after;
        const page = await this.session.query<ChainedRow>(CHAINED_EVENTS, [from, end]);
        const read = page.rows.filter(({ stream_id: id }) => id !== null).map(chainedEvent);
        if (read.length === 0 || read[0]?.position !== from + 1)
          throw new ArchiveRefused(`event ${from + 1} is missing from the log; ./xenolith verify says more`);
        for (const event of read) bytes += event.data.length + event.metadata.length;
        events.push(...read);
      }
      if (bytes >= SEGMENT_BYTES) break;
    }
    return events;
  }

  /** What lies there is read and followed link by link: only then may it stand for the events. */
  private async readBack(segment: Segment): Promise<void> {
    const file = await readSegmentFile(this.options.store, segment);
    const lines = new SegmentLines(segment.first, await unpack(file));
    const events = Array.from({ length: segment.last - segment.first + 1 }, (_, at) => lines.at(segment.first + at));
    if (lines.count !== segment.events || linkAfter(segment.linkBefore, events) !== segment.linkAfter)
      throw new ArchiveDamaged(
        `${segment.name} of the archive in ${this.options.store.location} does not hold the events that were written`,
        segment.first,
      );
  }

  private async writeManifest(segments: readonly Segment[]): Promise<void> {
    const { store } = this.options;
    const manifest = encodeManifest(segments);
    const written = await store.replace(MANIFEST_NAME, manifest, this.manifest);
    if (!written || (await store.read(MANIFEST_NAME))?.equals(manifest) !== true)
      throw new ArchiveRefused(
        `${MANIFEST_NAME} in ${store.location} was changed by somebody else meanwhile: no two logs can be archived to one place`,
      );
    [this.segments, this.manifest] = [segments, manifest];
    await this.options.failpoint?.('manifest-written');
  }

  private async register({
    first,
    last,
    name,
    bytes,
    sha256: hash,
    linkBefore,
    linkAfter: link,
  }: Segment): Promise<void> {
    await this.session.query('select es.register_segment($1, $2, $3, $4, $5, $6, $7, $8)', [
      this.options.store.location,
      ...[first, last, name, bytes, hash, linkBefore, link],
    ]);
    await this.options.failpoint?.('registered');
  }

  /** Removes what loading needs no more of all segments of which that is not done. */
  private async removeRegistered(upTo: number): Promise<void> {
    const { rows } = await this.session.query<{ last_position: string; sha256: string }>(
      'select last_position, sha256 from es.archive_segments where not removed order by last_position',
    );
    for (const { last_position: last, sha256: hash } of rows) {
      let after: string | null = FIRST_STREAM;
      while (after !== null) {
        this.options.signal?.throwIfAborted();
        const answer: pg.QueryResult<{ removed: number; after: string | null }> = await this.session.query(
          'select removed, after from es.remove_archived($1, $2, $3, $4)',
          [last, hash, after, REMOVED_AT_ONCE],
        );
        this.removed += answer.rows[0]?.removed ?? 0;
        after = answer.rows[0]?.after ?? null;
        await this.options.failpoint?.('removed-some');
        await this.tell(upTo);
      }
    }
  }

  private async progress(upTo: number): Promise<ArchiveProgress> {
    const { position } = await this.place();
    return { archived: this.archived, removed: this.removed, bytes: this.bytes, position, upTo };
  }

  private async tell(upTo: number): Promise<void> {
    this.options.onProgress?.(await this.progress(upTo));
  }
}

/**
 * Copies old events into the archive, and removes those that loading needs no more: first a segment is written, read back and compared, then the manifest, then the log records it,
 * then its events go. Ended at any point, the next run goes on. Reads hold nobody back; each write is a transaction of milliseconds. Throws an `ArchiveRefused`, an `ArchiveDamaged`, an
 * `ArchiveUnavailable`, or the signal's reason.
 */
export const archiveLog = async (options: ArchiveOptions): Promise<ArchiveResult> => {
  const session = await openSession(options.ownerUrl, {
    applicationName: 'xenolith-archive',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    const { rows } = await session.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      ARCHIVE_LOCK,
    ]);
    if (rows[0]?.locked !== true)
      throw new ArchiveRefused('another run is archiving this log just now: wait for its end');
    return await new Run(session, options).run();
  } finally {
    await closeSession(session);
  }
};
