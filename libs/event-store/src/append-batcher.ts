import { setTimeout as pause } from 'node:timers/promises';
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import type { AppendOutcome, AppendRequest } from '@xenolith/kernel';
import pg from 'pg';
import { APPEND_CALL, appendValues, outcomesOf, prepareAppend } from './append-batch.js';
import type { AppendAnswer, DocumentShapes, PendingAppend } from './append-batch.js';
import { sqlState } from './connection.js';
import { COMMAND_RACE } from './sql/append.sql.js';

/** Measured: more in one call gains nothing and makes each caller wait longer. */
const BATCH_REQUESTS = 256;
/** So few go together even when more connections are free: each call has a fixed price for its transaction, and neighbours wait little for one more. */
const SMALL_BATCH = 8;
/**
 * Where several come at once, the next call waits as long as the last one took, for company: a call that carries eight costs each of them a third of the CPU
 * that two pay each. So a busy machine groups more, and one that is idle waits a millisecond or two. Bounded, as a call may have waited for a lock.
 */
const LONGEST_LINGER_MS = 10;
/** After a call that carried fewer nobody waits: measured, eight callers of four services waited 3 ms each, and seldom met. */
const COMPANY = 3;
/** Characters of JSON in one call: a transaction of that size takes a few tens of milliseconds. */
const BATCH_SIZE = 2 ** 20;
/** Ten seconds of appends at full speed: a caller beyond it would only time out. */
const QUEUE_LIMIT = 20_000;
/** Faults that a repeat may cure are rare; this many in a row mean that the database is down, and the caller must know. */
const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 20;

/** The log could not be reached or refused the data. Unless `refused`, the append may have happened: ask again with the same command id. */
export class EventStoreFault extends Error {
  override readonly name = 'EventStoreFault';
}

/** The log has too much to do, has nobody who gives positions, or is being closed: what was asked may be had later, here or elsewhere. */
export class EventStoreAway extends EventStoreFault {}

interface Waiting {
  readonly pending: PendingAppend;
  readonly span: Span;
  readonly resolve: (outcome: AppendOutcome) => void;
  readonly fail: (fault: unknown) => void;
}

/** SQLSTATE classes that say the data itself is at fault: a repeat fails again. 22 data exception, 23 constraint, 42 syntax or access. */
const REFUSED = new Set(['22', '23', '42']);

/** Another process recorded one of our commands first; the same call again sees its result. */
const isRace = (fault: unknown): boolean =>
  sqlState(fault) === COMMAND_RACE || (fault instanceof pg.DatabaseError && fault.constraint === 'commands_pkey');

const isRefusal = (fault: unknown): boolean => {
  const state = sqlState(fault);
  return state !== undefined && !isRace(fault) && REFUSED.has(state.slice(0, 2));
};

const isDefect = (fault: unknown): boolean => fault instanceof Error && fault.name === 'AssertionError';

export interface AppendBatcherOptions {
  readonly pool: pg.Pool;
  /** Calls in flight at once: the pool's size. */
  readonly concurrency: number;
  readonly shapes: DocumentShapes;
  /** Called after each commit that wrote events. */
  readonly onCommit: () => void;
}

const tracer = trace.getTracer('@xenolith/event-store');

const markFailed = (span: Span, fault: unknown): void => {
  span.setAttribute('error.type', sqlState(fault) ?? (fault instanceof Error ? fault.name : 'unknown'));
  span.setStatus({ code: SpanStatusCode.ERROR, message: String(fault) });
};

/** Collects appends that arrive together into calls of `es.append`, several of which run at once. */
export class AppendBatcher {
  readonly #options: AppendBatcherOptions;
  #queue: Waiting[] = [];
  #running = 0;
  #scheduled = false;
  /** When a call that carries few may begin. */
  #lingerUntil = 0;
  #lingering = false;
  #closed = false;
  #idle: (() => void)[] = [];

  constructor(options: AppendBatcherOptions) {
    this.#options = options;
  }

  /** Throws an `EventStoreFault` when the database can't be reached or refuses the data. */
  append(request: AppendRequest): Promise<AppendOutcome> {
    if (this.#closed) return Promise.reject(new EventStoreAway('the event store is closed'));
    if (this.#queue.length >= QUEUE_LIMIT) {
      return Promise.reject(new EventStoreAway(`${QUEUE_LIMIT} appends wait already: the event store is overloaded`));
    }
    const span = tracer.startSpan('append', {
      kind: SpanKind.CLIENT,
      attributes: {
        'db.system.name': 'postgresql',
        'db.operation.name': 'append',
        ...(request.metadata.command === undefined ? {} : { 'xenolith.command.type': request.metadata.command }),
        'xenolith.command.id': request.commandId,
      },
    });
    const pending = prepareAppend(request);
    return new Promise<AppendOutcome>((resolve, fail) => {
      this.#queue.push({ pending, span, resolve, fail });
      this.#schedule();
    }).finally(() => {
      span.end();
    });
  }

  /** Refuses new appends and settles when those in hand are answered. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#startDue();
    if (this.#running === 0 && this.#queue.length === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Waits for the end of the event loop's turn, so that requests that arrived in the same read of a socket go together. */
  #schedule(): void {
    if (this.#scheduled || this.#running >= this.#options.concurrency) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#startDue();
    });
  }

  #startDue(): void {
    while (this.#queue.length > 0 && this.#running < this.#options.concurrency) {
      const lingerMs = this.#queue.length >= SMALL_BATCH || this.#closed ? 0 : this.#lingerUntil - performance.now();
      if (lingerMs > 0) {
        this.#linger(lingerMs);
        return;
      }
      this.#start(this.#take());
    }
  }

  #linger(lingerMs: number): void {
    if (this.#lingering) return;
    this.#lingering = true;
    setTimeout(() => {
      this.#lingering = false;
      this.#startDue();
    }, lingerMs);
  }

  /** A batch holds no command id twice, also not as a cancelled one: the second must see the first one's result. */
  #take(): readonly Waiting[] {
    const batch: Waiting[] = [];
    const later: Waiting[] = [];
    const ids = new Set<string>();
    let size = 0;
    // An even share: with several calls in flight, one must not take what the next could carry.
    const limit = Math.min(
      BATCH_REQUESTS,
      Math.max(SMALL_BATCH, Math.ceil(this.#queue.length / (this.#options.concurrency - this.#running))),
    );
    let taken = 0;
    for (const waiting of this.#queue) {
      if (batch.length >= limit || (batch.length > 0 && size + waiting.pending.size > BATCH_SIZE)) break;
      taken += 1;
      const own = [waiting.pending.request.commandId, ...waiting.pending.request.cancels];
      if (own.some((id) => ids.has(id))) {
        later.push(waiting);
        continue;
      }
      for (const id of own) ids.add(id);
      size += waiting.pending.size;
      batch.push(waiting);
    }
    this.#queue = [...later, ...this.#queue.slice(taken)];
    return batch;
  }

  #start(batch: readonly Waiting[]): void {
    this.#running += 1;
    const began = performance.now();
    void this.#settle(batch).finally(() => {
      this.#running -= 1;
      const ended = performance.now();
      if (batch.length >= COMPANY) this.#lingerUntil = ended + Math.min(LONGEST_LINGER_MS, ended - began);
      if (this.#queue.length > 0) this.#schedule();
      else if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
    });
  }

  async #settle(batch: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.#commit(batch);
      batch.forEach(({ span, resolve, fail }, index) => {
        const outcome = outcomes[index];
        span.setAttribute('xenolith.outcome', outcome?.status ?? 'none');
        if (outcome) resolve(outcome);
        else fail(new EventStoreFault('the database gave no verdict'));
      });
    } catch (fault) {
      // One request's data must not fail the others: find it by sending each alone.
      if (isRefusal(fault) && batch.length > 1) for (const waiting of batch) await this.#settle([waiting]);
      else {
        for (const { span, fail } of batch) {
          markFailed(span, fault);
          fail(fault);
        }
      }
    }
  }

  /** A call serves many traces and belongs to none: it is a trace of its own that links to them. */
  async #commit(waiting: readonly Waiting[]): Promise<readonly AppendOutcome[]> {
    const batch = waiting.map(({ pending }) => pending);
    const call = tracer.startSpan('append group', {
      root: true,
      attributes: { 'db.operation.batch.size': batch.length },
      links: waiting.map(({ span }) => ({ context: span.spanContext() })),
    });
    try {
      const values = appendValues(batch, this.#options.shapes);
      const answer = await context.with(trace.setSpan(ROOT_CONTEXT, call), () => this.#call([...values]));
      const outcomes = outcomesOf(batch, answer);
      if (outcomes.some((outcome) => outcome.status === 'appended')) this.#options.onCommit();
      return outcomes;
    } catch (fault) {
      markFailed(call, fault);
      throw fault;
    } finally {
      call.end();
    }
  }

  /** Repeats after deadlocks, time-outs, races and broken connections: the command ids make a repeat of a call that had its effect harmless. */
  async #call(values: unknown[]): Promise<AppendAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const { rows } = await this.#options.pool.query<AppendAnswer>({ name: 'es_append', text: APPEND_CALL, values });
        const [answer] = rows;
        if (!answer) throw new EventStoreFault('es.append answered no row');
        return answer;
      } catch (fault) {
        if (isDefect(fault) || isRefusal(fault)) throw fault;
        if (attempt >= ATTEMPTS) {
          throw new EventStoreFault(`the append failed ${attempt} times; it may or may not have happened`, {
            cause: fault,
          });
        }
        if (!isRace(fault)) await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1));
      }
    }
  }
}
