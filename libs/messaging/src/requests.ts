import { BusFault, type BusFaultKind, type CommandMessage, type Reply, type Uuid } from '@xenolith/kernel';
import { headers, type Msg, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';
import { errorFrom } from './errors.js';
import { DEADLINE_HEADER, readFrame, type Frame } from './frames.js';
import type { Link } from './link.js';
import type { BusObserver, BusSettings } from './settings.js';
import { beginRequestSpan, endAnswered, endSpan } from './tracing.js';
import type { Turn } from './turn.js';

/** A request that found no server asks again after this long, then after twice as long, up to the limit below. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

interface Pending {
  readonly token: string;
  readonly subject: string;
  readonly commandId: Uuid;
  readonly payload: Uint8Array;
  readonly headers: MsgHdrs;
  readonly deadline: number;
  /** When to ask again unless something is heard before. */
  askAt: number;
  pauseMs: number;
  attempts: number;
  /** Why there is no reply yet: what the sender is told if the deadline comes first. */
  reason: BusFaultKind;
  timer: NodeJS.Timeout | undefined;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (fault: BusFault) => void;
}

const encoder = new TextEncoder();

/**
 * The asking half of the bus. A request is published again, with the same command id and the same inbox, until a reply comes or its deadline
 * passes: when nobody serves its subject, when the connection breaks, and when its server falls silent. Receivers de-duplicate by command id.
 */
export class Requests {
  readonly #pending = new Map<string, Pending>();
  readonly #inbox: string;
  #sent = 0;
  #stopped = false;

  constructor(
    private readonly connection: NatsConnection,
    private readonly link: Link,
    private readonly turn: Turn,
    private readonly options: {
      /** Begins the subjects of the replies. */
      readonly inbox: string;
      readonly settings: BusSettings;
      readonly observer?: BusObserver | undefined;
    },
  ) {
    this.#inbox = options.inbox;
    // One subscription takes the replies to all requests: the last token of the subject says whose it is.
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (!error) this.#receive(message);
      },
    });
    link.onChange((connected) => {
      for (const pending of this.#pending.values()) {
        if (connected) this.#ask(pending);
        else pending.reason = 'disconnected';
      }
    });
  }

  /** Settles with the reply or throws a `BusFault`; `timeoutMs` bounds the whole of it. */
  async ask(subject: string, message: CommandMessage, timeoutMs: number): Promise<Reply> {
    const started = performance.now();
    const carrier = headers();
    const span = beginRequestSpan(subject, message, carrier);
    const count = (outcome: string): void =>
      this.options.observer?.requested(message.type, outcome, (performance.now() - started) / 1_000);
    try {
      const reply = await this.#begin(subject, message, timeoutMs, carrier);
      count(reply.ok ? 'ok' : 'rejected');
      endAnswered(span, reply);
      return reply;
    } catch (fault) {
      const outcome = fault instanceof BusFault ? fault.kind : 'fault';
      count(outcome);
      endSpan(span, outcome, fault);
      throw fault;
    }
  }

  /** Fails what still waits; nothing can be asked any more. */
  stop(): void {
    this.#stopped = true;
    for (const pending of this.#pending.values())
      this.#fail(pending, 'disconnected', `request ${pending.commandId} was given up: the bus closes`);
  }

  #begin(subject: string, message: CommandMessage, timeoutMs: number, carrier: MsgHdrs): Promise<Reply> {
    if (this.#stopped)
      throw new BusFault('disconnected', `request ${message.commandId} was not sent: the bus is closed`);
    if (this.#pending.size >= this.options.settings.requestLimit)
      throw new BusFault('overloaded', `${this.#pending.size} requests wait for replies already: ${subject} not asked`);
    const deadline = Date.now() + timeoutMs;
    carrier.set(DEADLINE_HEADER, String(Math.ceil(deadline)));
    // Trace context travels in the headers, so that a message asked again is the same, byte by byte.
    const { traceparent: _, ...body } = message;
    const payload = encoder.encode(JSON.stringify(body));
    this.#refuseOversize(subject, payload);
    return new Promise((resolve, reject) => {
      this.#sent += 1;
      const pending: Pending = {
        token: this.#sent.toString(36),
        subject,
        commandId: message.commandId,
        payload,
        headers: carrier,
        deadline,
        askAt: deadline,
        pauseMs: FIRST_PAUSE_MS,
        attempts: 0,
        reason: 'timeout',
        timer: undefined,
        resolve,
        reject,
      };
      this.#pending.set(pending.token, pending);
      // Its time runs from now on, whenever the turn ends.
      this.#arm(pending);
      this.turn.add(() => {
        // Absent: the bus was closed meanwhile.
        if (this.#pending.has(pending.token)) this.#ask(pending);
      });
    });
  }

  #refuseOversize(subject: string, payload: Uint8Array): void {
    const limit = this.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (payload.length > limit)
      throw new BusFault(
        'fault',
        `a command of ${payload.length} bytes to ${subject} exceeds NATS's limit of ${limit}`,
      );
  }

  #ask(pending: Pending): void {
    if (this.link.connected) {
      pending.attempts += 1;
      pending.reason = 'timeout';
      pending.askAt = Date.now() + this.options.settings.silenceMs;
      try {
        this.connection.publish(pending.subject, pending.payload, {
          reply: `${this.#inbox}.${pending.token}`,
          headers: pending.headers,
        });
      } catch (error) {
        this.#fail(pending, 'fault', `${pending.subject} could not be asked: ${errorFrom(error).message}`, error);
        return;
      }
    } else {
      // The link's change asks again.
      pending.reason = 'disconnected';
      pending.askAt = pending.deadline;
    }
    this.#arm(pending);
  }

  #arm(pending: Pending): void {
    clearTimeout(pending.timer);
    const delayMs = Math.max(0, Math.min(pending.askAt, pending.deadline) - Date.now());
    pending.timer = setTimeout(() => this.#wake(pending), Math.ceil(delayMs));
  }

  #wake(pending: Pending): void {
    const now = Date.now();
    if (now >= pending.deadline)
      this.#fail(pending, pending.reason, `no reply from ${pending.subject} in time: ${this.#story(pending)}`);
    else if (now >= pending.askAt) this.#ask(pending);
    else this.#arm(pending);
  }

  #story(pending: Pending): string {
    switch (pending.reason) {
      case 'no_responders':
        return `nobody serves it (asked ${pending.attempts} times)`;
      case 'disconnected':
        return 'the connection to NATS is down';
      case 'timeout':
      case 'overloaded':
      case 'fault':
        return `the outcome of command ${pending.commandId} is unknown (asked ${pending.attempts} times)`;
    }
  }

  #receive(message: Msg): void {
    const pending = this.#pending.get(message.subject.slice(this.#inbox.length + 1));
    // Absent: a late frame of a request that has ended.
    if (pending) this.#take(pending, readFrame(message));
  }

  #take(pending: Pending, frame: Frame): void {
    switch (frame.kind) {
      case 'reply':
        this.#forget(pending);
        pending.resolve(frame.reply);
        return;
      case 'keep_alive':
        // The timer, still armed for an earlier moment, reads this when it fires.
        pending.askAt = Date.now() + this.options.settings.silenceMs;
        return;
      case 'no_responders':
      case 'ask_again':
        pending.reason = 'no_responders';
        pending.askAt = Date.now() + pending.pauseMs;
        pending.pauseMs = Math.min(pending.pauseMs * 2, LONGEST_PAUSE_MS);
        this.#arm(pending);
        return;
      case 'overloaded':
        this.#fail(pending, 'overloaded', frame.message);
        return;
      case 'expired':
        this.#fail(pending, 'timeout', frame.message);
        return;
      case 'fault':
      case 'malformed':
        this.#fail(pending, 'fault', frame.message);
        return;
    }
  }

  #fail(pending: Pending, kind: BusFaultKind, message: string, cause?: unknown): void {
    this.#forget(pending);
    pending.reject(new BusFault(kind, message, cause === undefined ? undefined : { cause }));
  }

  #forget(pending: Pending): void {
    clearTimeout(pending.timer);
    this.#pending.delete(pending.token);
  }
}
