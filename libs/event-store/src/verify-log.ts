import type pg from 'pg';
import { closeSession, openSession, READ_LIMIT_MS } from './connection.js';
import { ArchiveDamaged } from './archive/archive-format.js';
import { archivedSegments, type ArchivedSegment } from './archive/verify-archive.js';
import {
  CHAINED_EVENTS,
  chainedEvent,
  FIRST_LINK,
  LINK_BYTES,
  linkOf,
  PAGE_EVENTS,
  type ChainedEvent,
  type ChainedRow,
} from './event-chain.js';

/** Where the chain ended once, kept by whoever does not trust the database. */
export interface ChainAnchor {
  readonly position: number;
  /** Hexadecimal. */
  readonly link: string;
}

export type LogVerdict =
  | { readonly sound: true; readonly head: ChainAnchor; /** Events that have no link yet. */ readonly unlinked: number }
  | { readonly sound: false; readonly position: number; readonly message: string };

export interface VerifyOptions {
  readonly databaseUrl: string;
  readonly anchor?: ChainAnchor | undefined;
  /** Looks at about so many of the newest events only, and takes the link before them as it stands; absent: at all. */
  readonly newest?: number;
  readonly onProgress?: (position: number, head: number) => void;
}

const BLOCKS = `select position, first_position, links from es.chain
  where position > $1 and first_position <= $2 order by position`;

/** What a reader of the log found to be wrong. */
class Altered extends Error {
  constructor(
    readonly position: number,
    message: string,
  ) {
    super(message);
  }
}

const presentEvent = (row: ChainedRow): ChainedEvent => {
  if (row.stream_id === null)
    throw new Altered(Number(row.position), 'its place in the log is there, the event is gone');
  return chainedEvent(row);
};

const named = ({ type, version, category, streamId }: ChainedEvent): string =>
  `${type} (version ${version} of ${category} ${streamId})`;

const sameEvent = (one: ChainedEvent, other: ChainedEvent): boolean =>
  linkOf(FIRST_LINK, one).equals(linkOf(FIRST_LINK, other));

interface LinksRow {
  readonly position: string;
  readonly first_position: string;
  readonly links: Buffer;
}

/** Links as the database holds them, by position. */
class StoredLinks {
  private readonly links = new Map<number, Buffer>();

  take(rows: readonly LinksRow[]): void {
    for (const row of rows) {
      const first = Number(row.first_position);
      for (let at = 0; (at + 1) * LINK_BYTES <= row.links.length; at += 1)
        this.links.set(first + at, row.links.subarray(at * LINK_BYTES, (at + 1) * LINK_BYTES));
    }
  }

  at(position: number): Buffer | undefined {
    return this.links.get(position);
  }
}

class Verification {
  private link: Buffer = FIRST_LINK;
  private position = 0;

  constructor(
    private readonly session: pg.Client,
    private readonly options: VerifyOptions,
  ) {}

  async run(): Promise<LogVerdict> {
    const { rows } = await this.session.query<{ chronicled: string; link: Buffer; head: string }>(
      'select c.position as chronicled, c.link, h.position as head from es.chronicle c, es.seq_head h',
    );
    const [place] = rows;
    if (place === undefined) throw new Altered(0, 'the log says nowhere where it ends');
    const chronicled = Number(place.chronicled);
    const { anchor, onProgress } = this.options;
    if (anchor !== undefined && anchor.position > chronicled)
      throw new Altered(chronicled + 1, `the log ends at ${chronicled}, and was known to go on to ${anchor.position}`);
    if (this.options.newest !== undefined) await this.passOver(chronicled - this.options.newest);
    for await (const segment of archivedSegments(this.session, this.position)) {
      await this.archived(segment);
      onProgress?.(this.position, chronicled);
    }
    while (this.position < chronicled) {
      await this.page(chronicled);
      onProgress?.(this.position, chronicled);
    }
    if (!this.link.equals(place.link)) throw new Altered(chronicled, 'the end of the chain is not the one on record');
    const head = { position: chronicled, link: this.link.toString('hex') };
    return { sound: true, head, unlinked: Number(place.head) - chronicled };
  }

  private async passOver(events: number): Promise<void> {
    const { rows } = await this.session.query<{ position: string; links: Buffer }>(
      'select position, links from es.chain where position <= $1 order by position desc limit 1',
      [events],
    );
    const [block] = rows;
    if (block === undefined) return;
    this.position = Number(block.position);
    this.link = block.links.subarray(-LINK_BYTES);
  }

  private async page(upTo: number): Promise<void> {
    const { rows } = await this.session.query<ChainedRow>(CHAINED_EVENTS, [this.position, upTo]);
    if (rows.length === 0) throw new Altered(this.position + 1, 'it is missing, and so is all behind it');
    const stored = await this.stored(Number(rows.at(-1)?.position));
    for (const row of rows) {
      const expected = this.position + 1;
      if (Number(row.position) !== expected) throw new Altered(expected, 'it is missing from the log');
      this.follow(presentEvent(row), stored);
    }
  }

  /** A part of the archive, and those of its events that the database has kept: what is loaded from there must be what is archived. */
  private async archived({ last, lines, check }: ArchivedSegment): Promise<void> {
    const kept = await this.kept(last);
    const stored = await this.stored(last);
    while (this.position < last) {
      const event = lines.at(this.position + 1);
      this.follow(event, stored);
      const row = kept.get(event.position);
      if (row !== undefined && !sameEvent(presentEvent(row), event))
        throw new Altered(event.position, `${named(event)} is in the database another than in the archive`);
    }
    check();
  }

  private async kept(upTo: number): Promise<ReadonlyMap<number, ChainedRow>> {
    const kept = new Map<number, ChainedRow>();
    for (let after = this.position; ;) {
      const { rows } = await this.session.query<ChainedRow>(CHAINED_EVENTS, [after, upTo]);
      for (const row of rows) kept.set(Number(row.position), row);
      if (rows.length < PAGE_EVENTS) return kept;
      after = Number(rows.at(-1)?.position);
    }
  }

  private async stored(upTo: number): Promise<StoredLinks> {
    const { rows } = await this.session.query<LinksRow>(BLOCKS, [this.position, upTo]);
    const stored = new StoredLinks();
    stored.take(rows);
    return stored;
  }

  private follow(event: ChainedEvent, stored: StoredLinks): void {
    this.link = linkOf(this.link, event);
    this.position = event.position;
    const link = stored.at(this.position);
    if (link === undefined) throw new Altered(this.position, 'its link is missing from the chain');
    if (!this.link.equals(link)) throw new Altered(this.position, `${named(event)} is not what was recorded`);
    const { anchor } = this.options;
    if (anchor?.position === this.position && anchor.link !== this.link.toString('hex'))
      throw new Altered(this.position, 'the log up to here is another than the one that the anchor was taken of');
  }
}

/** Goes through the whole log and its chain of hashes; names the first event that is not what was recorded. Reads only. */
export const verifyLog = async (options: VerifyOptions): Promise<LogVerdict> => {
  const session = await openSession(options.databaseUrl, {
    applicationName: 'xenolith-verify',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    return await new Verification(session, options).run();
  } catch (fault) {
    if (fault instanceof Altered || fault instanceof ArchiveDamaged)
      return { sound: false, position: fault.position, message: fault.message };
    throw fault;
  } finally {
    await closeSession(session);
  }
};
