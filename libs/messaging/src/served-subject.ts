import {
  AssertionError,
  type CommandMessage,
  type Reply,
  type ServeContext,
  type Subscription,
} from '@xenolith/kernel';
import { context as activeContext } from '@opentelemetry/api';
import type { Msg, MsgHdrs, NatsConnection, Subscription as NatsSubscription } from '@nats-io/transport-node';
import { errorFrom } from './errors.js';
import { deadlineOf, parseCommand, signalHeaders, type SignalKind } from './frames.js';
import type { Replies } from './replies.js';
import type { BusLog, BusObserver, BusSettings, HandledOutcome } from './settings.js';
import { beginHandleSpan, endAnswered, endSpan, traceparentOf } from './tracing.js';

export type Handler = (message: CommandMessage, context: ServeContext) => Promise<Reply>;

/**
 * All servers of a subject are members of one queue group, so that each request reaches one of them; the name is the same for every subject,
 * so that subjects that overlap share their requests too.
 */
const QUEUE_GROUP = 'serve';

/** A request that waits for a handler or is being handled. */
interface Job {
  readonly subject: string;
  readonly message: CommandMessage;
  readonly text: string;
  readonly carrier: MsgHdrs | undefined;
  readonly deadline: number;
  readonly acceptedAt: number;
  /** Where the reply goes: a request that was asked again while in hand adds its inbox and is not handled twice. */
  readonly inboxes: Set<string>;
}

interface Refusal {
  readonly kind: SignalKind;
  readonly outcome: HandledOutcome;
  readonly reason: string;
}

export interface ServerParts {
  readonly connection: NatsConnection;
  readonly replies: Replies;
  readonly settings: BusSettings;
  readonly log: BusLog;
  readonly observer: BusObserver | undefined;
  /** Is given a defect that a handler met: the process must stop. */
  readonly onDefect: (defect: AssertionError) => void;
}

/** One subject that this process answers: takes requests, bounds them, runs the handler, replies. */
export class ServedSubject implements Subscription {
  readonly #jobs = new Map<string, Job>();
  readonly #waiting: Job[] = [];
  readonly #subscription: NatsSubscription;
  readonly #idle: (() => void)[] = [];
  #running = 0;
  #stopping: Promise<void> | undefined;
  #aborted = false;

  constructor(
    private readonly subject: string,
    private readonly handler: Handler,
    private readonly parts: ServerParts,
    private readonly concurrency: number,
  ) {
    this.#subscription = parts.connection.subscribe(subject, {
      queue: QUEUE_GROUP,
      callback: (error, message) => {
        if (error) parts.log.error({ err: error, subject }, 'NATS refused the subscription');
        else this.#accept(message);
      },
    });
  }

  /** Tells the senders of requests that are in hand for a while that their server lives. */
  keepAlive(now: number): void {
    for (const job of this.#jobs.values())
      if (now - job.acceptedAt >= this.parts.settings.keepAliveMs) this.#signal(job.inboxes, 'keep_alive', '');
  }

  /** Takes no more requests, hands back the waiting ones, and settles when those in hand have ended. */
  stop(): Promise<void> {
    this.#stopping ??= this.#drain();
    return this.#stopping;
  }

  async #drain(): Promise<void> {
    // Requests that NATS has sent already still arrive until this settles; they are told to ask another server.
    await this.#subscription.drain().catch(() => {
      // NATS is away: nothing more arrives, and the client must not subscribe again when it returns.
      if (!this.#subscription.isClosed()) this.#subscription.unsubscribe();
    });
    this.#handBack(this.#waiting.splice(0));
    if (this.#running === 0) return;
    const limit = new Promise<'late'>((resolve) => {
      setTimeout(() => resolve('late'), this.parts.settings.drainMs).unref();
    });
    const ended = new Promise<'ended'>((resolve) => this.#idle.push(() => resolve('ended')));
    if ((await Promise.race([ended, limit])) === 'ended') return;
    this.#aborted = true;
    const late = [...this.#jobs.values()];
    this.parts.log.warn({ subject: this.subject, requests: late.length }, 'stopped while requests were still in hand');
    this.#handBack(late);
  }

  #handBack(jobs: readonly Job[]): void {
    for (const job of jobs) {
      this.#forget(job);
      this.#signal(job.inboxes, 'ask_again', '');
      this.parts.observer?.handled(job.message.type, 'abandoned', (Date.now() - job.acceptedAt) / 1_000);
    }
  }

  #accept(arrived: Msg): void {
    const inbox = arrived.reply ?? '';
    if (this.#stopping) {
      this.#signal([inbox], 'ask_again', '');
      return;
    }
    const text = arrived.string();
    const message = parseCommand(text);
    if (typeof message === 'string') {
      this.parts.log.warn({ subject: this.subject, reason: message }, 'refused a message');
      this.#refuse([inbox], 'unknown', { kind: 'fault', outcome: 'malformed', reason: message });
      return;
    }
    const known = this.#jobs.get(message.commandId);
    if (known?.text === text) {
      known.inboxes.add(inbox);
      // The sender asked again because it heard nothing, so let it hear something now.
      this.#signal([inbox], 'keep_alive', '');
      return;
    }
    this.#admit({
      subject: arrived.subject,
      message,
      text,
      carrier: arrived.headers,
      // A sender that states no deadline waits as long as keep-alives reach it.
      deadline: deadlineOf(arrived) ?? Number.MAX_SAFE_INTEGER,
      acceptedAt: Date.now(),
      inboxes: new Set([inbox]),
    });
  }

  #admit(job: Job): void {
    const { commandId, type } = job.message;
    const free = this.#running < this.concurrency;
    if (job.deadline <= Date.now()) {
      const reason = `the deadline of ${type} had passed when it reached its server`;
      this.#refuse(job.inboxes, type, { kind: 'expired', outcome: 'expired', reason });
    } else if (!free && this.#waiting.length >= this.parts.settings.waitingLimit) {
      const reason = `${this.subject} has ${this.#running} requests in hand and ${this.#waiting.length} waiting: ask again later`;
      this.#refuse(job.inboxes, type, { kind: 'overloaded', outcome: 'overloaded', reason });
    } else {
      // The same id with another body is not the same request: it is handled for itself, and its receiver refuses it.
      if (!this.#jobs.has(commandId)) this.#jobs.set(commandId, job);
      if (free) void this.#run(job);
      else this.#waiting.push(job);
    }
  }

  async #run(job: Job): Promise<void> {
    this.#running += 1;
    await this.#handle(job);
    this.#running -= 1;
    this.#forget(job);
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      if (next.deadline > Date.now()) {
        void this.#run(next);
        break;
      }
      this.#expire(next);
    }
    if (this.#running === 0) for (const tell of this.#idle.splice(0)) tell();
  }

  #expire(job: Job): void {
    this.#forget(job);
    const reason = `the deadline of ${job.message.type} passed while it waited for its turn`;
    this.#refuse(job.inboxes, job.message.type, { kind: 'expired', outcome: 'expired', reason });
  }

  #forget(job: Job): void {
    if (this.#jobs.get(job.message.commandId) === job) this.#jobs.delete(job.message.commandId);
  }

  async #handle(job: Job): Promise<void> {
    const { span, within } = beginHandleSpan(job.subject, job.message, job.carrier);
    const started = performance.now();
    const count = (outcome: HandledOutcome): void =>
      this.parts.observer?.handled(job.message.type, outcome, (performance.now() - started) / 1_000);
    const traceparent = traceparentOf(span) ?? (job.carrier?.get('traceparent') || undefined);
    const message = traceparent === undefined ? job.message : { ...job.message, traceparent };
    try {
      const reply = await activeContext.with(within, () => this.handler(message, this.#contextOf(job)));
      const text = JSON.stringify(reply);
      count(reply.ok ? 'ok' : 'rejected');
      endAnswered(span, reply);
      this.#reply(job, text);
    } catch (fault) {
      count('fault');
      endSpan(span, 'fault', fault);
      const { commandId, type } = job.message;
      this.parts.log.error({ err: fault, commandId, type, subject: job.subject }, 'a request ended in a fault');
      // The sender learns what happened, not where: stacks stay in the log.
      this.#signal(job.inboxes, 'fault', errorFrom(fault).message);
      if (fault instanceof AssertionError) this.parts.onDefect(fault);
    }
  }

  #contextOf(job: Job): ServeContext {
    const isAborted = (): boolean => this.#aborted || Date.now() >= job.deadline;
    return {
      subject: job.subject,
      deadline: job.deadline,
      // Asked when it is read, so that no request needs a timer of its own.
      signal: {
        get aborted() {
          return isAborted();
        },
      },
    };
  }

  #reply(job: Job, text: string): void {
    const problem = this.parts.replies.send(job.inboxes, text);
    if (problem === undefined) return;
    this.parts.log.error({ commandId: job.message.commandId, type: job.message.type }, problem);
    this.#signal(job.inboxes, 'fault', problem);
  }

  #refuse(inboxes: Iterable<string>, type: string, refusal: Refusal): void {
    this.parts.observer?.handled(type, refusal.outcome, 0);
    this.#signal(inboxes, refusal.kind, refusal.reason);
  }

  #signal(inboxes: Iterable<string>, kind: SignalKind, message: string): void {
    this.parts.replies.send(inboxes, message, signalHeaders(kind));
  }
}
