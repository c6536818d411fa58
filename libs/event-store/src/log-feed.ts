import type { NatsConnection } from '@nats-io/transport-node';
import type { LogFeed, LoggedEvent, Subscription } from '@xenolith/kernel';
import type pg from 'pg';
import { beginEpoch, checkpointIn, LeaseLost, saveCheckpoint } from './checkpoints.js';
import { openPool, type SqlRunner, WRITE_LIMIT_MS } from './connection.js';
import type { EventStore } from './event-store.js';
import { FeedTail } from './feed-tail.js';
import { LeaseKeeper, type Lease } from './lease-keeper.js';
import { SimulatedCrash, type Failpoint, type Report } from './reporting.js';
import { Signal } from './signal.js';
import { stopOnce } from './stop-once.js';

/** Events in one call of a handler while it catches up. */
const CATCH_UP_EVENTS = 500;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 5000;
/** A follower is woken by the head; this only bounds how long a lost wake could cost. */
const IDLE_MS = 5000;
/**
 * A runner saves its checkpoint no more often than this: measured, a save after each batch of a busy log took a third of all transactions. After a crash
 * the next runner sees that much again, which its handler must bear in any case.
 */
const CHECKPOINT_EVERY_MS = 500;

export type FollowerStep = 'lease-taken' | 'before-batch' | 'batch-handled' | 'checkpoint-saved';

/** The runner's place, as handlers see it whose view lives in the same database. */
export interface RunnerLease {
  readonly name: string;
  readonly epoch: number;
  /** Saves the checkpoint in the handler's own transaction; the runner then does not save it again. Throws `LeaseLost` when this is no longer the runner. */
  checkpointIn(runner: SqlRunner, position: number): Promise<void>;
}

export interface LeasedFollower {
  readonly name: string;
  readonly onBatch: (events: readonly LoggedEvent[], lease: RunnerLease) => Promise<void>;
  readonly onLease?: (held: boolean) => Promise<void>;
}

export interface StoreLogFeed extends LogFeed {
  followLeased(follower: LeasedFollower): Promise<Subscription>;
  /** The newest position that this process knows of. */
  head(): number;
  /** The backend that holds this process's leases. */
  leaseBackendId(): number | undefined;
  /** Stops all followers. */
  close(): Promise<void>;
}

export interface LogFeedOptions {
  readonly store: EventStore;
  /** Without it followers poll Postgres. */
  readonly nats?: NatsConnection;
  readonly report?: Report;
  readonly failpoint?: Failpoint<FollowerStep>;
}

/** One follower's way along the log. */
interface Walk {
  readonly name: string;
  readonly after: number;
  readonly isOver: () => boolean;
  readonly wake: Signal;
  readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
  /** Does what is due when nothing is to be read; answers how long it may wait for the next time. */
  readonly onIdle?: () => Promise<number>;
}

class Feed implements StoreLogFeed {
  readonly #options: LogFeedOptions;
  readonly #report: Report;
  readonly #tail: FeedTail;
  readonly #leases: LeaseKeeper;
  readonly #pool: pg.Pool;
  readonly #checkpoints: pg.Pool;
  readonly #subscriptions = new Set<Subscription>();
  #closing: Promise<void> | undefined;

  constructor(options: LogFeedOptions) {
    const { databaseUrl, name } = options.store;
    this.#options = options;
    this.#report = options.report ?? ((): void => undefined);
    this.#pool = options.store.pool;
    this.#checkpoints = openPool(databaseUrl, 2, {
      applicationName: `${name} checkpoints`,
      statementTimeoutMs: WRITE_LIMIT_MS,
      durable: false,
    });
    this.#tail = new FeedTail({ pool: this.#pool, nats: options.nats, report: this.#report });
    this.#leases = new LeaseKeeper({ databaseUrl, name, report: this.#report });
  }

  async start(): Promise<void> {
    await this.#tail.start();
  }

  head(): number {
    return this.#tail.head;
  }

  leaseBackendId(): number | undefined {
    return this.#leases.backendId;
  }

  async follow(follower: {
    readonly name: string;
    readonly after: number;
    readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
  }): Promise<Subscription> {
    let stopped = false;
    const wake = new Signal();
    const finished = this.#walk({ ...follower, isOver: () => stopped, wake });
    return Promise.resolve(
      this.#subscription(async () => {
        stopped = true;
        wake.wake();
        await finished;
      }),
    );
  }

  async followLeased(follower: LeasedFollower): Promise<Subscription> {
    this.#leases.want(follower.name, (lease) => this.#runLeased(follower, lease));
    return Promise.resolve(this.#subscription(() => this.#leases.withdraw(follower.name)));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    await this.#leases.stop();
    await this.#tail.stop();
    await this.#checkpoints.end();
  }

  #subscription(stop: () => Promise<void>): Subscription {
    const subscription = stopOnce(async () => {
      this.#subscriptions.delete(subscription);
      await stop();
    });
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async #runLeased(follower: LeasedFollower, lease: Lease): Promise<void> {
    try {
      await this.#options.failpoint?.('lease-taken');
      const begun = await beginEpoch(this.#checkpoints, follower.name);
      this.#report('info', `this process runs ${follower.name} now`, begun);
      await follower.onLease?.(true);
      await this.#walkLeased(follower, lease, begun);
    } catch (fault) {
      this.#report(fault instanceof LeaseLost ? 'info' : 'warn', `${follower.name} stops here`, { fault });
    }
    await follower.onLease?.(false).catch((fault: unknown) => {
      this.#report('warn', `${follower.name} could not be told that it stopped`, { fault });
    });
  }

  async #walkLeased(
    follower: LeasedFollower,
    lease: Lease,
    begun: { readonly epoch: number; readonly position: number },
  ): Promise<void> {
    const { name } = follower;
    let saved = begun.position;
    let handled = begun.position;
    let nextSave = 0;
    const runner: RunnerLease = {
      name,
      epoch: begun.epoch,
      checkpointIn: async (sql, position) => {
        await checkpointIn(sql, name, begun.epoch, position);
        saved = position;
      },
    };
    const save = async (): Promise<void> => {
      if (saved >= handled) return;
      const position = handled;
      await saveCheckpoint(this.#checkpoints, { consumer: name, epoch: begun.epoch, position });
      saved = position;
      nextSave = performance.now() + CHECKPOINT_EVERY_MS;
      await this.#options.failpoint?.('checkpoint-saved');
    };
    const wake = new Signal();
    lease.onEnd(() => wake.wake());
    await this.#walk({
      name,
      after: begun.position,
      isOver: () => lease.over,
      wake,
      onBatch: async (events) => {
        await this.#options.failpoint?.('before-batch');
        await follower.onBatch(events, runner);
        await this.#options.failpoint?.('batch-handled');
        handled = events.at(-1)?.position ?? handled;
        if (performance.now() >= nextSave) await save();
      },
      onIdle: async () => {
        if (performance.now() >= nextSave) await save();
        return saved < handled ? nextSave - performance.now() : IDLE_MS;
      },
    });
    // The next runner goes on right here.
    await save();
  }

  async #walk(walk: Walk): Promise<void> {
    const unlisten = this.#tail.listen(() => walk.wake.wake());
    try {
      let position = walk.after;
      while (!walk.isOver()) {
        const events = await this.#next(walk, position);
        if (events.length === 0) await this.#idle(walk);
        else if (await this.#deliver(walk, events)) position = events.at(-1)?.position ?? position;
      }
    } finally {
      unlisten();
    }
  }

  /** Waits for news. What was due and failed is tried again at the next time. */
  async #idle(walk: Walk): Promise<void> {
    const due = walk.onIdle?.() ?? Promise.resolve(IDLE_MS);
    const waitMs = await due.catch((fault: unknown) => {
      if (fault instanceof LeaseLost || fault instanceof SimulatedCrash) throw fault;
      this.#report('warn', `the checkpoint of ${walk.name} can not be saved`, { fault });
      return LONGEST_RETRY_MS;
    });
    await walk.wake.wait(waitMs);
  }

  async #next(walk: Walk, position: number): Promise<readonly LoggedEvent[]> {
    if (this.#tail.head <= position) return [];
    const kept = this.#tail.take(position);
    if (kept) return kept;
    try {
      return await this.#options.store.readLog(position, CATCH_UP_EVENTS);
    } catch (fault) {
      this.#report('warn', `${walk.name} can not read the log`, { fault });
      await walk.wake.wait(FIRST_RETRY_MS);
      return [];
    }
  }

  /** Repeats a failing batch; answers false when the walk ended meanwhile. */
  async #deliver(walk: Walk, events: readonly LoggedEvent[]): Promise<boolean> {
    for (let wait = FIRST_RETRY_MS; !walk.isOver(); wait = Math.min(LONGEST_RETRY_MS, wait * 2)) {
      try {
        await walk.onBatch(events);
        return true;
      } catch (fault) {
        if (fault instanceof LeaseLost || fault instanceof SimulatedCrash) throw fault;
        const [first, last] = [events[0]?.position, events.at(-1)?.position];
        this.#report('error', `${walk.name} failed on events ${first} to ${last}; it gets them again`, { fault });
      }
      await walk.wake.rest(wait, walk.isOver);
    }
    return false;
  }
}

/** Opens the ordered flow of the log's events: Postgres for the past, the feed for what comes. */
export const openLogFeed = async (options: LogFeedOptions): Promise<StoreLogFeed> => {
  const feed = new Feed(options);
  await feed.start();
  return feed;
};
