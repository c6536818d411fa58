import { DeliverPolicy, jetstream, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { FEED_STREAM } from '@xenolith/contracts';
import type { LoggedEvent } from '@xenolith/kernel';
import type pg from 'pg';
import { readPlace, unpackEvents } from './feed-message.js';
import type { Report } from './reporting.js';
import { Signal } from './signal.js';

/** What followers that are a little behind find without asking Postgres. */
const KEPT_BATCHES = 64;
const KEPT_BYTES = 8 * 2 ** 20;
/**
 * Of these the newest are kept unpacked: most followers take a batch the moment it comes. One that lives longer survives collections of young objects,
 * which then copy it twice and leave it to a full collection: measured, four tenths of all that survived in a busy service were such events.
 */
const UNPACKED_BATCHES = 2;
/** While the feed works, a look at the head only catches what it missed: what it has not brought by the look after. */
const LOOK_MS = 500;
/** Without a feed the head is the only news: as often as the sequencer looks. */
const LOOK_WITHOUT_FEED_MS = 50;
const REOPEN_MS = 200;
/** JetStream sends a sign of life this often; two missing ones mean that the consumer is gone. */
const HEARTBEAT_MS = 1000;
const PULL_EXPIRES_MS = 10_000;

interface KeptBatch {
  readonly first: number;
  readonly last: number;
  readonly payload: Uint8Array;
  /** Absent when they are to be unpacked again. */
  events: readonly LoggedEvent[] | undefined;
}

export interface FeedTailOptions {
  readonly pool: pg.Pool;
  readonly nats: NatsConnection | undefined;
  readonly report: Report;
}

/**
 * The newest part of the log in this process, shared by all its followers: one ordered JetStream consumer, unpacked once for all who keep up. It may have gaps; who
 * meets one reads Postgres. `head` is the newest position that is known to exist.
 */
export class FeedTail {
  readonly #options: FeedTailOptions;
  readonly #listeners = new Set<() => void>();
  readonly #look = new Signal();
  #batches: KeptBatch[] = [];
  #bytes = 0;
  #head = 0;
  /** The head at the last look. */
  #looked = 0;
  #logId: string | undefined;
  #connected = false;
  #stopped = false;
  #messages: ConsumerMessages | undefined;
  #loops: Promise<unknown> | undefined;

  constructor(options: FeedTailOptions) {
    this.#options = options;
  }

  get head(): number {
    return this.#head;
  }

  /** Reads the head once, so that followers know where the log stands, then keeps watching. */
  async start(): Promise<void> {
    await this.#readHead('now');
    this.#loops = Promise.all([this.#lookLoop(), this.#consumeLoop()]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#look.wake();
    await this.#messages?.close();
    await this.#loops;
  }

  /** Calls `listener` whenever the head moves; the answer ends that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The kept events right after `after`; undefined when they are not kept. */
  take(after: number): readonly LoggedEvent[] | undefined {
    const batch = this.#batches.find(({ first, last }) => first <= after + 1 && after < last);
    if (!batch) return undefined;
    const events = batch.events ?? unpackEvents(batch.payload);
    return batch.first === after + 1 ? events : events.filter(({ position }) => position > after);
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  #advance(head: number): void {
    if (head <= this.#head) return;
    this.#head = head;
    for (const listener of this.#listeners) listener();
  }

  /** Learns where the head is. Followers hear of it now, or, while the feed may still bring what is new, of what it should have brought since the last look. */
  async #readHead(tell: 'now' | 'what the feed missed'): Promise<void> {
    const { rows } = await this.#options.pool.query<{ position: string; log_id: string }>({
      name: 'es_tail_head',
      text: 'select position, log_id from es.seq_head where id = 1',
    });
    const [row] = rows;
    if (!row) return;
    this.#logId = row.log_id;
    const head = Number(row.position);
    this.#advance(tell === 'now' ? head : this.#looked);
    this.#looked = head;
  }

  async #lookLoop(): Promise<void> {
    let broken = false;
    while (!this.#stopped) {
      const woken = await this.#look.wait(this.#connected ? LOOK_MS : LOOK_WITHOUT_FEED_MS);
      try {
        await this.#readHead(woken || !this.#connected ? 'now' : 'what the feed missed');
        broken = false;
      } catch (fault) {
        if (!broken) this.#options.report('warn', 'the head of the log can not be read', { fault });
        broken = true;
      }
    }
  }

  async #consumeLoop(): Promise<void> {
    const { nats, report } = this.#options;
    if (!nats) return;
    const pause = new Signal();
    while (!this.#isStopped() && !nats.isClosed()) {
      try {
        await this.#consume(nats);
      } catch (fault) {
        if (this.#connected)
          report('info', 'the feed in JetStream is away; followers poll Postgres meanwhile', { fault });
      }
      this.#connected = false;
      this.#look.wake();
      if (!this.#isStopped()) await pause.wait(REOPEN_MS);
    }
  }

  async #consume(nats: NatsConnection): Promise<void> {
    const consumer = await jetstream(nats).consumers.get(FEED_STREAM, { deliver_policy: DeliverPolicy.New });
    const messages = await consumer.consume({
      abort_on_missing_resource: true,
      idle_heartbeat: HEARTBEAT_MS,
      expires: PULL_EXPIRES_MS,
    });
    this.#messages = messages;
    void this.#watchHealth(messages);
    this.#connected = true;
    this.#look.wake();
    for await (const message of messages) this.#receive(message);
  }

  /** A consumer whose stream was dropped and made anew gets nothing any more: give it up and open another. */
  async #watchHealth(messages: ConsumerMessages): Promise<void> {
    for await (const status of messages.status()) {
      if (
        status.type === 'heartbeats_missed' ||
        status.type === 'stream_not_found' ||
        status.type === 'consumer_not_found'
      ) {
        await messages.close();
        return;
      }
    }
  }

  #receive(message: JsMsg): void {
    const place = readPlace(message.headers);
    if (!place) return;
    if (place.logId !== this.#logId) {
      this.#look.wake();
      return;
    }
    if (message.data.length > 0)
      this.#keep({ first: place.first, last: place.last, payload: message.data, events: unpackEvents(message.data) });
    this.#advance(place.last);
  }

  #keep(batch: KeptBatch): void {
    this.#batches.push(batch);
    this.#bytes += batch.payload.length;
    const packed = this.#batches.at(-1 - UNPACKED_BATCHES);
    if (packed) packed.events = undefined;
    while (this.#batches.length > KEPT_BATCHES || (this.#bytes > KEPT_BYTES && this.#batches.length > 1)) {
      this.#bytes -= this.#batches.shift()?.payload.length ?? 0;
    }
  }
}
