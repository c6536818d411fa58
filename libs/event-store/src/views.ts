import type { LoggedEvent, Subscription } from '@xenolith/kernel';
import { EventStoreFault } from './append-batcher.js';
import { openPool, type SqlRunner, WRITE_LIMIT_MS } from './connection.js';
import type { EventStore } from './event-store.js';
import type { StoreLogFeed } from './log-feed.js';
import type { Report } from './reporting.js';
import { stopOnce } from './stop-once.js';

/** A view that is as close to the head as this is caught up: it will be there before the next reader asks. */
const CAUGHT_UP_EVENTS = 500;

/** A table, or several, made from the log. A change of `create` or `apply` needs a new version: it is built beside the old one. */
export interface ViewDefinition {
  /** Lower-case words joined by underscores. */
  readonly name: string;
  /** A positive integer. */
  readonly version: number;
  /** Makes the tables. The schema is the first of the search path, in both functions. */
  readonly create: (sql: SqlRunner) => Promise<void>;
  /** Applies events in order, in one transaction with the view's checkpoint. It may take at most a second. */
  readonly apply: (sql: SqlRunner, events: readonly LoggedEvent[]) => Promise<void>;
}

const schemaOf = (name: string, version: number): string => {
  if (!/^[a-z][a-z0-9_]*$/.test(name) || !Number.isSafeInteger(version) || version < 1) {
    throw new EventStoreFault(`"${name}" version ${version} can't name a view's schema`);
  }
  return `view_${name}_v${version}`;
};

const consumerOf = (name: string, version: number): string => `view/${name}/v${version}`;

/** The schema that readers of a view use now; null before its first version has caught up. */
export const activeViewSchema = async (store: EventStore, name: string): Promise<string | null> => {
  const { rows } = await store.pool.query<{ version: number }>('select version from es.views where name = $1', [name]);
  const [row] = rows;
  return row ? schemaOf(name, row.version) : null;
};

/** Points readers to a version, forward or back. It must have been built. */
export const activateView = async (store: EventStore, name: string, version: number): Promise<void> => {
  const { rowCount } = await store.pool.query(
    `insert into es.views (name, version) select $1, $2 where exists (select from pg_namespace where nspname = $3)
     on conflict (name) do update set version = excluded.version`,
    [name, version, schemaOf(name, version)],
  );
  if (rowCount !== 1) throw new EventStoreFault(`view ${name} has no version ${version}`);
};

/** Removes a version that no reader uses, with its checkpoint. */
export const dropView = async (store: EventStore, name: string, version: number): Promise<void> => {
  const schema = schemaOf(name, version);
  if ((await activeViewSchema(store, name)) === schema) {
    throw new EventStoreFault(`version ${version} of view ${name} is in use: activate another one first`);
  }
  await store.pool.query(`drop schema if exists ${schema} cascade`);
  await store.pool.query('delete from es.checkpoints where consumer = $1', [consumerOf(name, version)]);
};

/**
 * Runs a version of a view, in one process at a time: makes its schema, replays the log from its checkpoint in batches while an older version goes
 * on serving, and points readers to it once it has caught up. An older version than the active one is kept up to date, but never activated.
 */
export const runView = async (options: {
  readonly store: EventStore;
  readonly feed: StoreLogFeed;
  readonly view: ViewDefinition;
  readonly report?: Report;
}): Promise<Subscription> => {
  const { store, feed, view } = options;
  const schema = schemaOf(view.name, view.version);
  const pool = openPool(store.databaseUrl, 1, {
    applicationName: `${store.name} ${schema}`,
    statementTimeoutMs: WRITE_LIMIT_MS,
  });
  const inTransaction = async (work: (sql: SqlRunner) => Promise<void>): Promise<void> => {
    const client = await pool.connect();
    try {
      await client.query(`begin; set local search_path to ${schema}, public`);
      await work(client);
      await client.query('commit');
      client.release();
    } catch (fault) {
      client.release(true);
      throw fault;
    }
  };
  const advance = async (): Promise<void> => {
    await store.pool.query(
      `insert into es.views as v (name, version) values ($1, $2)
       on conflict (name) do update set version = excluded.version where v.version < excluded.version`,
      [view.name, view.version],
    );
    options.report?.('info', `view ${view.name} is served by version ${view.version} now`);
  };
  let advanced = false;
  const subscription = await feed.followLeased({
    name: consumerOf(view.name, view.version),
    onLease: async (held) => {
      advanced = false;
      if (!held) return;
      await inTransaction(async (sql) => {
        const made = await store.pool.query('select 1 from pg_namespace where nspname = $1', [schema]);
        if (made.rowCount !== 0) return;
        await sql.query(`create schema ${schema}`);
        await view.create(sql);
      });
    },
    onBatch: async (events, lease) => {
      const last = events.at(-1)?.position ?? 0;
      await inTransaction(async (sql) => {
        await view.apply(sql, events);
        await lease.checkpointIn(sql, last);
      });
      if (advanced || feed.head() - last > CAUGHT_UP_EVENTS) return;
      await advance();
      advanced = true;
    },
  });
  return stopOnce(async () => {
    await subscription.stop();
    await pool.end();
  });
};
