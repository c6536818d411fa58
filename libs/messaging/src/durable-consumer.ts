import { AssertionError, type Subscription } from '@xenolith/kernel';
import {
  AckPolicy,
  DeliverPolicy,
  jetstream,
  jetstreamManager,
  type ConsumerMessages,
  type JsMsg,
} from '@nats-io/jetstream';
import { headers, nanos, type NatsConnection } from '@nats-io/transport-node';
import { DEAD_LETTERS, deadSubject, ensureStream } from './durable-streams.js';
import { errorFrom } from './errors.js';
import { silentLog, type BusLog } from './settings.js';
import { withConsumeSpan } from './tracing.js';

export interface DurableConsumerOptions {
  readonly stream: string;
  /** Names the place reached in the stream; processes that use the same name share the messages. */
  readonly durable: string;
  readonly filterSubject: string;
  readonly handler: (data: unknown, delivery: Delivery) => Promise<void>;
  /** Messages in hand at once, over all processes with this durable; 1 keeps their order. */
  readonly concurrency?: number;
  /** A message whose process says nothing for this long is delivered to another. */
  readonly ackWaitMs?: number;
  /** Pauses after the first, second, ... failed delivery; the last one goes on. */
  readonly backoffMs?: readonly number[];
  /** After this many failed deliveries the message becomes a dead letter. */
  readonly maxDeliver?: number;
  /** Messages in hand may take this long to end when the consumer stops; then they are delivered again, elsewhere or later. */
  readonly drainMs?: number;
  readonly log?: BusLog;
  readonly onDefect?: (defect: AssertionError) => void;
}

export interface Delivery {
  readonly subject: string;
  /** The message's place in its stream: what handlers de-duplicate by. */
  readonly sequence: number;
  /** 1 for the first delivery. */
  readonly attempt: number;
}

const DEFAULTS = {
  concurrency: 32,
  ackWaitMs: 30_000,
  // Quick for a blip, slow enough for a restart of what the handler needs.
  backoffMs: [200, 1_000, 5_000, 15_000],
  maxDeliver: 8,
  drainMs: 10_000,
} as const;

/** Says three times in each acknowledgement wait that a message is still in hand. */
const HEARTBEATS_PER_WAIT = 3;
/** After a consumer broke off (its stream vanished, NATS restarts), it is made again after this long. */
const REOPEN_MS = 500;

/**
 * Follows a stream by a durable pull consumer. Each message is acknowledged after its handler has ended well, so it is handled at least once;
 * a message whose handler keeps failing goes to `dead.<subject>` with the reason in its headers, and only then counts as done.
 */
export const consumeDurably = async (
  connection: NatsConnection,
  options: DurableConsumerOptions,
): Promise<Subscription> => {
  const consumer = new DurableConsumer(connection, options);
  await consumer.start();
  return consumer;
};

class DurableConsumer implements Subscription {
  readonly #settings: typeof DEFAULTS & DurableConsumerOptions;
  readonly #log: BusLog;
  readonly #inHand = new Set<JsMsg>();
  readonly #idle: (() => void)[] = [];
  #messages: ConsumerMessages | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #following: Promise<void> = Promise.resolve();
  #stopping = false;
  #wakeUp: () => void = () => undefined;

  constructor(
    private readonly connection: NatsConnection,
    options: DurableConsumerOptions,
  ) {
    this.#settings = { ...DEFAULTS, ...options } as typeof DEFAULTS & DurableConsumerOptions;
    this.#log = options.log ?? silentLog;
  }

  async start(): Promise<void> {
    await ensureStream(this.connection, DEAD_LETTERS);
    await this.#open();
    this.#heartbeat = setInterval(() => {
      for (const message of this.#inHand) this.#tell(() => message.working());
    }, this.#settings.ackWaitMs / HEARTBEATS_PER_WAIT);
    this.#following = this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wakeUp();
    await this.#messages?.close();
    await this.#following;
    await this.#idled();
    clearInterval(this.#heartbeat);
    // What is still in hand is delivered again at once, not only after the acknowledgement wait.
    for (const message of this.#inHand) this.#tell(() => message.nak());
    if (!this.connection.isClosed()) await this.connection.flush().catch(() => undefined);
  }

  async #open(): Promise<void> {
    const { stream, durable, filterSubject, concurrency, ackWaitMs } = this.#settings;
    const manager = await jetstreamManager(this.connection);
    await manager.consumers.add(stream, {
      durable_name: durable,
      filter_subject: filterSubject,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: nanos(ackWaitMs),
      // The server's own bound: what it has delivered is in somebody's hand, and nothing waits in a client's buffer.
      max_ack_pending: concurrency,
      // Counted here and not by the server, which would drop the message without a dead letter.
      max_deliver: -1,
    });
    const consumer = await jetstream(this.connection).consumers.get(stream, durable);
    this.#messages = await consumer.consume({ max_messages: concurrency });
  }

  async #follow(): Promise<void> {
    while (!this.#stopping) {
      try {
        if (!this.#messages) await this.#open();
        for await (const message of this.#messages ?? []) void this.#take(message);
      } catch (error) {
        this.#log.warn(
          { err: error, durable: this.#settings.durable },
          'a durable consumer broke off; opening it again',
        );
      }
      this.#messages = undefined;
      await this.#pause();
    }
  }

  #pause(): Promise<void> {
    if (this.#stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, REOPEN_MS);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #take(message: JsMsg): Promise<void> {
    if (this.#stopping) {
      this.#tell(() => message.nak());
      return;
    }
    this.#inHand.add(message);
    try {
      await this.#handle(message);
    } finally {
      this.#inHand.delete(message);
      if (this.#inHand.size === 0) for (const tell of this.#idle.splice(0)) tell();
    }
  }

  async #handle(message: JsMsg): Promise<void> {
    const { subject, seq: sequence } = message;
    const attempt = message.info.deliveryCount;
    if (attempt > this.#settings.maxDeliver) {
      // Its last handler died with it in hand, so nobody could say why.
      await this.#bury(message, new Error('its handler ended without an answer at the last delivery'));
      return;
    }
    try {
      const data: unknown = JSON.parse(message.string());
      await withConsumeSpan(subject, message.headers, () =>
        this.#settings.handler(data, { subject, sequence, attempt }),
      );
      this.#tell(() => message.ack());
    } catch (thrown) {
      await this.#failed(message, thrown);
    }
  }

  async #failed(message: JsMsg, thrown: unknown): Promise<void> {
    const { deliveryCount: attempt } = message.info;
    const { backoffMs, maxDeliver, durable, onDefect } = this.#settings;
    // Text that is not JSON will not become JSON.
    const hopeless = thrown instanceof SyntaxError;
    if (hopeless || attempt >= maxDeliver) await this.#bury(message, thrown);
    else {
      const pauseMs = backoffMs[Math.min(attempt, backoffMs.length) - 1] ?? 0;
      const fields = { err: thrown, durable, subject: message.subject, sequence: message.seq, attempt, pauseMs };
      this.#log.warn(fields, 'a durable message could not be handled; it comes again');
      this.#tell(() => message.nak(pauseMs));
    }
    if (thrown instanceof AssertionError) onDefect?.(thrown);
  }

  async #bury(message: JsMsg, thrown: unknown): Promise<void> {
    const { stream, durable, backoffMs } = this.#settings;
    const reason = errorFrom(thrown).message;
    const fields = { durable, subject: message.subject, sequence: message.seq, reason };
    const marked = headers();
    for (const [key, values] of message.headers ?? []) for (const value of values) marked.append(key, value);
    marked.delete('Nats-Msg-Id');
    marked.set('Xenolith-Dead-Reason', reason.replaceAll(/[\r\n]+/g, ' '));
    marked.set('Xenolith-Dead-Consumer', durable);
    marked.set('Xenolith-Dead-Sequence', String(message.seq));
    try {
      await jetstream(this.connection).publish(deadSubject(message.subject), message.data, {
        headers: marked,
        msgID: `${stream}/${durable}/${message.seq}`,
      });
      this.#tell(() => message.term(reason));
      this.#log.error(fields, 'a durable message became a dead letter');
    } catch (error) {
      this.#log.error({ ...fields, err: error }, 'a dead letter could not be stored; the message comes again');
      this.#tell(() => message.nak(backoffMs.at(-1) ?? REOPEN_MS));
    }
  }

  /** Tells the server about a message. Where the connection has ended nothing can be said, and the message comes again. */
  #tell(say: () => void): void {
    if (!this.connection.isClosed() && !this.connection.isDraining()) say();
  }

  async #idled(): Promise<void> {
    if (this.#inHand.size === 0) return;
    const { drainMs, durable } = this.#settings;
    let limit: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.#idle.push(resolve)),
      new Promise<void>((resolve) => {
        limit = setTimeout(resolve, drainMs);
      }),
    ]);
    clearTimeout(limit);
    if (this.#inHand.size > 0)
      this.#log.warn({ durable, messages: this.#inHand.size }, 'stopped while durable messages were still in hand');
  }
}
