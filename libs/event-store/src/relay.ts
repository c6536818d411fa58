import {
  DiscardPolicy,
  JetStreamApiError,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import type { JetStreamManager, StreamInfo } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import type pg from 'pg';
import { FEED_STREAM, FEED_SUBJECT } from '@xenolith/contracts';
import { MESSAGE_EVENTS, packMessages, placeHeaders, readPlace } from './feed-message.js';
import type { FeedMessage } from './feed-message.js';
import { readLog, readLogTexts } from './reads.js';
import type { Failpoint, Report } from './reporting.js';

/** The feed is a cache: whoever needs more reads Postgres. In memory, as it is rebuilt within a second. */
const FEED_BYTES = 64 * 2 ** 20;
/** A new feed starts this far back, so that followers which lost it for a moment need not ask Postgres. */
const REBUILT_EVENTS = 10_000;
const PUBLISH_LIMIT_MS = 5000;
/** Messages read from Postgres at a time. */
const READ_EVENTS = 4 * MESSAGE_EVENTS;
/** JetStream's code for an expected last sequence that is not the last one. */
const WRONG_LAST_SEQUENCE = 10_071;

export type RelayStep = 'healed' | 'before-publish' | 'published';

interface Cursor {
  readonly logId: string;
  /** The last position in the feed, and the feed's last sequence number. */
  position: number;
  sequence: number;
}

const isNotFound = (fault: unknown): boolean => fault instanceof JetStreamApiError && fault.status === 404;

const streamInfo = async (manager: JetStreamManager): Promise<StreamInfo | null> =>
  manager.streams.info(FEED_STREAM).catch((fault: unknown) => {
    if (isNotFound(fault)) return null;
    throw fault;
  });

const createStream = async (manager: JetStreamManager): Promise<void> => {
  await manager.streams.add({
    name: FEED_STREAM,
    subjects: [FEED_SUBJECT],
    storage: StorageType.Memory,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    max_bytes: FEED_BYTES,
  });
};

export interface RelayOptions {
  readonly nats: NatsConnection;
  readonly pool: pg.Pool;
  readonly report: Report;
  readonly failpoint?: Failpoint<RelayStep> | undefined;
}

/**
 * Copies the log from Postgres to JetStream. Before the first message, and after every fault, it compares the feed's last message with the log:
 * a feed that lost its tail is continued from there, one that vanished or holds something else is made anew. The expected last sequence keeps
 * two relays from mixing, and a repeat from being stored twice.
 */
export class Relay {
  readonly #options: RelayOptions;
  #cursor: Cursor | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** The last position in the feed, as far as this relay knows. */
  get position(): number {
    return this.#cursor?.position ?? 0;
  }

  /** Publishes all that the log holds beyond the feed. Throws when NATS or Postgres is away; call it again then. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const cursor = (this.#cursor ??= await this.#heal());
        const events = await readLogTexts(this.#options.pool, cursor.position, READ_EVENTS);
        const maxPayload = this.#options.nats.info?.max_payload ?? 2 ** 20;
        for (const message of packMessages(events, cursor.logId, maxPayload)) await this.#publish(cursor, message);
        if (events.length === 0 && !(await this.#stands(cursor))) {
          this.#cursor = undefined;
          continue;
        }
        if (events.length < READ_EVENTS) return;
      }
    } catch (fault) {
      this.#cursor = undefined;
      if (fault instanceof JetStreamApiError && fault.code === WRONG_LAST_SEQUENCE) {
        this.#options.report('info', 'another relay was at work on the feed; looking where it stands');
        return;
      }
      throw fault;
    }
  }

  async #publish(cursor: Cursor, { place, payload }: FeedMessage): Promise<void> {
    await this.#options.failpoint?.('before-publish');
    const ack = await jetstream(this.#options.nats).publish(FEED_SUBJECT, payload, {
      msgID: `${place.logId}/${place.first}-${place.last}`,
      headers: placeHeaders(place),
      expect: { lastSequence: cursor.sequence, streamName: FEED_STREAM },
      timeout: PUBLISH_LIMIT_MS,
    });
    await this.#options.failpoint?.('published');
    cursor.sequence = ack.seq;
    cursor.position = place.last;
  }

  /** Looked at when there is nothing to publish: a feed that was dropped meanwhile is made anew before the next event comes. */
  async #stands(cursor: Cursor): Promise<boolean> {
    const { rows } = await this.#options.pool.query<{ log_id: string }>('select log_id from es.seq_head');
    const info = await streamInfo(await jetstreamManager(this.#options.nats));
    return rows[0]?.log_id === cursor.logId && info?.state.last_seq === cursor.sequence;
  }

  async #heal(): Promise<Cursor> {
    const { pool, nats, report } = this.#options;
    const { rows } = await pool.query<{ position: string; log_id: string }>('select position, log_id from es.seq_head');
    const head = { position: Number(rows[0]?.position), logId: rows[0]?.log_id ?? '' };
    const manager = await jetstreamManager(nats);
    const info = await streamInfo(manager);
    const found = info ? await this.#agreedCursor(manager, info, head.logId) : undefined;
    await this.#options.failpoint?.('healed');
    if (found) return found;
    if (info) {
      report('warn', 'the feed in JetStream does not agree with the log: it is made anew');
      await manager.streams.delete(FEED_STREAM);
    }
    await createStream(manager);
    return { logId: head.logId, position: Math.max(0, head.position - REBUILT_EVENTS), sequence: 0 };
  }

  /** Where the feed stands when its last message is of this log; undefined when it is not. */
  async #agreedCursor(manager: JetStreamManager, info: StreamInfo, logId: string): Promise<Cursor | undefined> {
    const sequence = info.state.last_seq;
    if (sequence === 0) return undefined;
    const message = await manager.streams.getMessage(FEED_STREAM, { seq: sequence }).catch((fault: unknown) => {
      if (isNotFound(fault)) return null;
      throw fault;
    });
    const place = readPlace(message?.header);
    if (place?.logId !== logId) return undefined;
    const [event] = await readLog(this.#options.pool, place.last - 1, 1);
    if (event?.position !== place.last || event.eventId !== place.lastEventId) return undefined;
    return { logId, position: place.last, sequence };
  }
}
