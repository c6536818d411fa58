import type { JsonObject, Subscription, Uuid } from '@xenolith/kernel';
import type { EventStore } from './event-store.js';
import { LeaseKeeper, type Lease } from './lease-keeper.js';
import type { Failpoint, Report } from './reporting.js';
import { Signal } from './signal.js';
import { stopOnce } from './stop-once.js';

/** How late a timer may be; a look is one index probe. */
const LOOK_MS = 100;
/** Timers that become due together are sent in parts. */
const DUE_BATCH = 64;
/** A timer whose command can't be delivered is tried again after pauses that grow to this. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;

export type TimerStep = 'before-send' | 'sent';

export interface TimersOptions {
  readonly store: EventStore;
  /** Delivers the command; it must be idempotent by the command's id, as a crash between sending and removing repeats it. */
  readonly send: (subject: string, command: JsonObject) => Promise<void>;
  /** One runner for each name over all processes. */
  readonly name?: string;
  /** Sends those timers only whose subject begins so; absent: all. */
  readonly subjects?: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly report?: Report;
  readonly failpoint?: Failpoint<TimerStep>;
}

interface DueTimer {
  readonly id: Uuid;
  readonly due_at: string;
  readonly subject: string;
  readonly command: JsonObject;
}

interface Retry {
  readonly at: number;
  readonly waitMs: number;
}

const DUE = `select id, due_at, subject, command from es.timers
  where due_at <= $1 and not id = any ($2) and starts_with(subject, $4) order by due_at, id limit $3`;

/** A timer that was set anew while its command was on the way stays. */
const REMOVE = 'delete from es.timers where id = $1 and due_at = $2';

class TimerRunner {
  readonly #options: TimersOptions;
  readonly #now: () => number;
  readonly #report: Report;
  readonly #retries = new Map<Uuid, Retry>();

  constructor(options: TimersOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#report = options.report ?? ((): void => undefined);
  }

  async run(lease: Lease): Promise<void> {
    const wake = new Signal();
    lease.onEnd(() => wake.wake());
    while (!lease.over) {
      const sent = await this.#round(lease).catch((fault: unknown) => {
        this.#report('warn', 'due timers can not be read', { fault });
        return 0;
      });
      if (sent < DUE_BATCH) await wake.wait(LOOK_MS);
    }
  }

  async #round(lease: Lease): Promise<number> {
    const now = this.#now();
    const resting = [...this.#retries].filter(([, { at }]) => at > now).map(([id]) => id);
    const { rows } = await this.#options.store.pool.query<DueTimer>({
      name: 'es_due_timers',
      text: DUE,
      values: [now, resting, DUE_BATCH, this.#options.subjects ?? ''],
    });
    await Promise.all(rows.map((timer) => this.#fire(timer, lease)));
    return rows.length;
  }

  async #fire(timer: DueTimer, lease: Lease): Promise<void> {
    if (lease.over) return;
    const { store, send, failpoint } = this.#options;
    try {
      await failpoint?.('before-send');
      await send(timer.subject, timer.command);
      await failpoint?.('sent');
      await store.pool.query(REMOVE, [timer.id, timer.due_at]);
      this.#retries.delete(timer.id);
    } catch (fault) {
      const waitMs = Math.min(LONGEST_RETRY_MS, (this.#retries.get(timer.id)?.waitMs ?? FIRST_RETRY_MS / 2) * 2);
      this.#retries.set(timer.id, { at: this.#now() + waitMs, waitMs });
      this.#report('warn', `the command of timer ${timer.id} could not be delivered; again in ${waitMs} ms`, { fault });
    }
  }
}

/** Sends the commands of timers that are due, in one process at a time; a timer is removed after its command was delivered. */
export const runTimers = async (options: TimersOptions): Promise<Subscription> => {
  const { databaseUrl, name } = options.store;
  const leaseName = `timers/${options.name ?? 'all'}`;
  const report: Report = options.report ?? ((): void => undefined);
  const keeper = new LeaseKeeper({ databaseUrl, name: `${name} timers`, report });
  const runner = new TimerRunner(options);
  keeper.want(leaseName, (lease) => runner.run(lease));
  return Promise.resolve(
    stopOnce(async () => {
      await keeper.withdraw(leaseName);
      await keeper.stop();
    }),
  );
};
