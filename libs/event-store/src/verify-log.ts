import type pg from 'pg';
import { closeSession, openSession, READ_LIMIT_MS } from './connection.js';
import { FIRST_LINK, LINK_BYTES, linkOf, type ChainedEvent } from './event-chain.js';

/** Events read by one statement. */
const PAGE_EVENTS = 2000;

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

interface Row {
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

const EVENTS = `select l.position, e.stream_id, e.version, e.event_id, e.category, e.type, e.schema_version,
    (extract(epoch from e.recorded_at) * 1000000)::bigint as recorded_us, e.data::text as data, e.meta::text as meta
  from (select * from es.event_log where position > $1 and position <= $2 order by position limit ${PAGE_EVENTS}) l
  left join es.events e on e.txid = l.txid and e.seq = l.seq order by l.position`;

const BLOCKS = `select position, first_position, links from es.chain
  where position > $1 and first_position <= $2 order by position`;

const chainedEvent = (row: Row): ChainedEvent => ({
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

/** What a reader of the log found to be wrong. */
class Altered extends Error {
  constructor(
    readonly position: number,
    message: string,
  ) {
    super(message);
  }
}

/** Links as the database holds them, by position. */
class StoredLinks {
  private readonly links = new Map<number, Buffer>();

  take(rows: readonly { readonly position: string; readonly first_position: string; readonly links: Buffer }[]): void {
    for (const row of rows) {
      const first = Number(row.first_position);
      for (let at = 0; (at + 1) * LINK_BYTES <= row.links.length; at += 1)
        this.links.set(first + at, row.links.subarray(at * LINK_BYTES, (at + 1) * LINK_BYTES));
    }
  }

  at(position: number): Buffer | undefined {
    return this.links.get(position);
  }

  forgetUpTo(position: number): void {
    for (const known of this.links.keys()) if (known <= position) this.links.delete(known);
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
    const events = await this.session.query<Row>(EVENTS, [this.position, upTo]);
    const last = Number(events.rows.at(-1)?.position ?? this.position + 1);
    const stored = new StoredLinks();
    const blocks = await this.session.query<{ position: string; first_position: string; links: Buffer }>(BLOCKS, [
      this.position,
      last,
    ]);
    stored.take(blocks.rows);
    if (events.rows.length === 0) throw new Altered(this.position + 1, 'it is missing, and so is all behind it');
    for (const row of events.rows) this.follow(row, stored);
  }

  private follow(row: Row, stored: StoredLinks): void {
    const expected = this.position + 1;
    const position = Number(row.position);
    if (position !== expected) throw new Altered(expected, 'it is missing from the log');
    if (row.stream_id === null) throw new Altered(position, 'its place in the log is there, the event is gone');
    this.link = linkOf(this.link, chainedEvent(row));
    this.position = position;
    const link = stored.at(position);
    if (link === undefined) throw new Altered(position, 'its link is missing from the chain');
    if (!this.link.equals(link))
      throw new Altered(
        position,
        `${row.type} (version ${row.version} of ${row.category} ${row.stream_id}) is not what was recorded`,
      );
    const { anchor } = this.options;
    if (anchor?.position === position && anchor.link !== this.link.toString('hex'))
      throw new Altered(position, 'the log up to here is another than the one that the anchor was taken of');
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
    if (fault instanceof Altered) return { sound: false, position: fault.position, message: fault.message };
    throw fault;
  } finally {
    await closeSession(session);
  }
};
