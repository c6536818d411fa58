import {
  BusFault,
  type AssertionError,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Reply,
  type Subscription,
} from '@xenolith/kernel';
import { connect, createInbox, type NatsConnection } from '@nats-io/transport-node';
import { addressOf, connectionSecurity, type BusCredentials } from './credentials.js';
import { parseObject } from './frames.js';
import { errorFrom } from './errors.js';
import { watchLink, type Link } from './link.js';
import { Replies } from './replies.js';
import { Requests } from './requests.js';
import { ServedSubject, type Handler, type ServerParts } from './served-subject.js';
import { DEFAULT_SETTINGS, silentLog, type BusLog, type BusObserver, type BusSettings } from './settings.js';
import { Turn } from './turn.js';

/** Attempts to connect again are this far apart, so that a restart of NATS costs little more than its own time. */
const RECONNECT_MS = 100;
const RECONNECT_JITTER_MS = 100;
/** A connection whose other end vanished without a word is noticed after two pings. */
const PING_MS = 5_000;
const PINGS_UNANSWERED = 2;
const CONNECT_TIMEOUT_MS = 5_000;

export interface BusOptions {
  readonly natsUrl: string;
  /** Shown by NATS's monitoring. */
  readonly name: string;
  readonly credentials?: BusCredentials;
  /** What the inboxes of this process begin with; a server that bounds its users lets each listen on its own only. */
  readonly inboxPrefix?: string;
  readonly log?: BusLog;
  readonly observer?: BusObserver;
  readonly settings?: Partial<BusSettings>;
  /** Is given a defect that a handler met; by default it ends the process as an uncaught exception. */
  readonly onDefect?: (defect: AssertionError) => void;
}

const throwUncaught = (defect: AssertionError): void => {
  queueMicrotask(() => {
    throw defect;
  });
};

/**
 * Connects to NATS. Throws a `BusFault` (`disconnected`) when that is not possible now; once connected, the bus connects again by itself for
 * ever, and requests outlive the break.
 */
export const openMessageBus = async (options: BusOptions): Promise<NatsMessageBus> => {
  try {
    const connection = await connect({
      servers: options.natsUrl,
      name: options.name,
      ...connectionSecurity(options.natsUrl, options.credentials ?? {}),
      ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_MS,
      reconnectJitter: RECONNECT_JITTER_MS,
      pingInterval: PING_MS,
      maxPingOut: PINGS_UNANSWERED,
      timeout: CONNECT_TIMEOUT_MS,
      // A stack per request costs more than the request.
      noAsyncTraces: true,
      ignoreAuthErrorAbort: true,
    });
    return new NatsMessageBus(connection, options);
  } catch (cause) {
    throw new BusFault(
      'disconnected',
      `NATS at ${addressOf(options.natsUrl)} cannot be reached: ${errorFrom(cause).message}`,
      { cause },
    );
  }
};

/** The message bus over core NATS. */
export class NatsMessageBus implements MessageBus {
  readonly log: BusLog;
  readonly onDefect: (defect: AssertionError) => void;
  readonly #served = new Set<ServedSubject>();
  readonly #settings: BusSettings;
  readonly #link: Link;
  readonly #turn = new Turn();
  readonly #requests: Requests;
  readonly #parts: ServerParts;
  readonly #keepAlive: NodeJS.Timeout;
  #closing: Promise<void> | undefined;

  constructor(
    /** Shared with whoever needs JetStream; closed by the bus. */
    readonly connection: NatsConnection,
    options: BusOptions,
  ) {
    this.#settings = { ...DEFAULT_SETTINGS, ...options.settings };
    this.log = options.log ?? silentLog;
    this.onDefect = options.onDefect ?? throwUncaught;
    this.#link = watchLink(connection, this.log);
    this.#requests = new Requests(connection, this.#link, this.#turn, {
      inbox: createInbox(options.inboxPrefix),
      settings: this.#settings,
      observer: options.observer,
    });
    this.#parts = {
      connection,
      replies: new Replies(connection, this.#link, this.#turn),
      settings: this.#settings,
      log: this.log,
      observer: options.observer,
      onDefect: this.onDefect,
    };
    this.#keepAlive = setInterval(() => {
      const now = Date.now();
      for (const served of this.#served) served.keepAlive(now);
    }, this.#settings.keepAliveMs).unref();
  }

  /** Whether the connection to NATS stands at this moment. */
  get connected(): boolean {
    return this.#link.connected && !this.connection.isClosed() && !this.connection.isDraining();
  }

  request(subject: string, message: CommandMessage, options: { readonly timeoutMs: number }): Promise<Reply> {
    return this.#requests.ask(subject, message, options.timeoutMs);
  }

  async serve(
    subject: string,
    handler: Handler,
    options: { readonly concurrency?: number } = {},
  ): Promise<Subscription> {
    const served = new ServedSubject(subject, handler, this.#parts, options.concurrency ?? this.#settings.concurrency);
    this.#served.add(served);
    await this.#settled();
    return {
      stop: async () => {
        await served.stop();
        this.#served.delete(served);
      },
    };
  }

  publish(subject: string, payload: JsonObject): void {
    // Signals are lossy by contract: while NATS is away they are dropped, not kept until they are stale.
    if (this.connected) this.connection.publish(subject, JSON.stringify(payload));
  }

  async subscribe(subject: string, handler: (payload: JsonObject, subject: string) => void): Promise<Subscription> {
    const subscription = this.connection.subscribe(subject, {
      callback: (error, message) => {
        if (error) {
          this.log.error({ err: error, subject }, 'NATS refused the subscription');
          return;
        }
        const payload = parseObject(message.string());
        if (payload === null) this.log.warn({ subject: message.subject }, 'passed over a signal that is not an object');
        else this.#deliver(handler, payload, message.subject);
      },
    });
    await this.#settled();
    return {
      stop: () => {
        if (!subscription.isClosed()) subscription.unsubscribe();
        return Promise.resolve();
      },
    };
  }

  /** Stops taking requests, finishes those in hand, sends what is to be sent, then closes the connection. */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    // Handlers in hand may still ask others, so the asking half stops last.
    await Promise.all([...this.#served].map((served) => served.stop()));
    clearInterval(this.#keepAlive);
    this.#requests.stop();
    this.#turn.end();
    if (this.connected) await this.connection.drain().catch(() => this.connection.close());
    else await this.connection.close();
  }

  #deliver(handler: (payload: JsonObject, subject: string) => void, payload: JsonObject, subject: string): void {
    try {
      handler(payload, subject);
    } catch (error) {
      this.log.error({ err: error, subject }, 'a signal could not be handled');
    }
  }

  /** Settles when the server knows of a new subscription; while NATS is away that happens by itself later. */
  async #settled(): Promise<void> {
    if (this.connected) await this.connection.flush().catch(() => undefined);
  }
}
