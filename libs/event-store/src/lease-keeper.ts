import type pg from 'pg';
import { closeSession, lockKey, openSession, READ_LIMIT_MS } from './connection.js';
import type { Report } from './reporting.js';
import { Signal } from './signal.js';

/** How often names that others hold are tried: what a take-over adds. */
const TRY_MS = 100;

/** While it is not over, no other process holds the same name, unless this one's connection died and we don't know yet. Epochs cover that. */
export interface Lease {
  readonly name: string;
  readonly over: boolean;
  /** Calls `listener` once when the lease ends. */
  onEnd(listener: () => void): void;
}

class HeldLease implements Lease {
  readonly name: string;
  #over = false;
  #listeners: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get over(): boolean {
    return this.#over;
  }

  onEnd(listener: () => void): void {
    if (this.#over) listener();
    else this.#listeners.push(listener);
  }

  end(): void {
    this.#over = true;
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

interface Wish {
  readonly name: string;
  readonly run: (lease: Lease) => Promise<void>;
  held: HeldLease | undefined;
  /** Set while `run` has not ended, which may be after the lease has. */
  running: Promise<void> | undefined;
}

/** Holds this process's leases as session advisory locks of one connection: they end together, at the latest when it dies. */
export class LeaseKeeper {
  readonly #databaseUrl: string;
  readonly #name: string;
  readonly #report: Report;
  readonly #wishes = new Map<string, Wish>();
  readonly #work = new Signal();
  #session: pg.Client | undefined;
  #stopped = false;
  #loop: Promise<void> | undefined;

  constructor(options: { readonly databaseUrl: string; readonly name: string; readonly report: Report }) {
    this.#databaseUrl = options.databaseUrl;
    this.#name = options.name;
    this.#report = options.report;
  }

  /** The backend that holds the locks; for tests that end it. */
  get backendId(): number | undefined {
    return (this.#session as unknown as { readonly processID?: number } | undefined)?.processID;
  }

  /**
   * Runs `run` each time this process gets the lease; the lease is given back when it ends. While an earlier run goes on, although its lease is over,
   * others may have the lease and this process does not try: a hung handler must not keep a name. One wish for a name in a process.
   */
  want(name: string, run: (lease: Lease) => Promise<void>): void {
    this.#wishes.set(name, { name, run, held: undefined, running: undefined });
    this.#loop ??= this.#run();
    this.#work.wake();
  }

  /** Does not want the lease any more: ends it and waits until its run has ended. */
  async withdraw(name: string): Promise<void> {
    const wish = this.#wishes.get(name);
    this.#wishes.delete(name);
    wish?.held?.end();
    await wish?.running;
  }

  async #unlock(name: string): Promise<void> {
    await this.#session
      ?.query('select pg_advisory_unlock($1)', [lockKey(`xenolith/lease/${name}`)])
      .catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#work.wake();
    await this.#loop;
    if (this.#session) await closeSession(this.#session);
    this.#endAll();
  }

  #endAll(): void {
    for (const wish of this.#wishes.values()) {
      wish.held?.end();
      wish.held = undefined;
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        this.#session ??= await this.#connect();
        await this.#tryAll(this.#session);
      } catch (fault) {
        this.#report('warn', 'leases can not be held: no connection to the database', { fault });
      }
      await this.#work.wait(TRY_MS);
    }
  }

  async #connect(): Promise<pg.Client> {
    const guards = { applicationName: `${this.#name} leases`, statementTimeoutMs: READ_LIMIT_MS };
    const session = await openSession(this.#databaseUrl, guards);
    session.once('end', () => {
      if (this.#session !== session) return;
      this.#session = undefined;
      this.#endAll();
      this.#work.wake();
    });
    return session;
  }

  async #tryAll(session: pg.Client): Promise<void> {
    const wishes = [...this.#wishes.values()].filter(({ running }) => !running);
    if (wishes.length === 0) return;
    const { rows } = await session.query<{ place: string }>(
      `select k.place from unnest($1::bigint[]) with ordinality as k(key, place) where pg_try_advisory_lock(k.key)`,
      [wishes.map(({ name }) => lockKey(`xenolith/lease/${name}`))],
    );
    for (const { place } of rows) {
      const wish = wishes[Number(place) - 1];
      if (!wish) continue;
      if (this.#session !== session || this.#wishes.get(wish.name) !== wish) {
        await this.#unlock(wish.name);
        continue;
      }
      wish.running = this.#hold(wish, new HeldLease(wish.name));
    }
  }

  async #hold(wish: Wish, lease: HeldLease): Promise<void> {
    const session = this.#session;
    wish.held = lease;
    await wish.run(lease).catch((fault: unknown) => {
      this.#report('error', `${wish.name} ended by a fault`, { fault });
    });
    lease.end();
    // Of another session, the lock went with it.
    if (wish.held === lease && this.#session === session) await this.#unlock(wish.name);
    wish.held = undefined;
    wish.running = undefined;
  }
}
