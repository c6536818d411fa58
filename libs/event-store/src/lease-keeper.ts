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
  readonly onHeld: (lease: Lease) => void;
  held: HeldLease | undefined;
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

  /** Calls `onHeld` each time this process gets the lease. One wish for a name in a process. */
  want(name: string, onHeld: (lease: Lease) => void): void {
    this.#wishes.set(name, { name, onHeld, held: undefined });
    this.#loop ??= this.#run();
    this.#work.wake();
  }

  /** Gives the lease back so that another may take it; this process tries for it again. Does nothing when it is over already. */
  async release(lease: Lease): Promise<void> {
    const wish = this.#wishes.get(lease.name);
    if (!wish?.held || wish.held !== lease) return;
    wish.held.end();
    wish.held = undefined;
    await this.#unlock(lease.name);
  }

  /** Does not want the lease any more: ends it, waits until its runner has `finished`, then lets others have it. */
  async withdraw(name: string, finished: () => Promise<void>): Promise<void> {
    const wish = this.#wishes.get(name);
    this.#wishes.delete(name);
    wish?.held?.end();
    await finished();
    if (wish?.held) await this.#unlock(name);
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
    const wishes = [...this.#wishes.values()].filter(({ held }) => !held);
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
      const lease = new HeldLease(wish.name);
      wish.held = lease;
      wish.onHeld(lease);
    }
  }
}
