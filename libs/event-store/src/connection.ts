import { createHash } from 'node:crypto';
import pg from 'pg';

/** Every write transaction of ours ends by then: as long as it is open it holds back every reader of the log. */
export const WRITE_LIMIT_MS = 1000;
/** Long enough to load 100,000 documents on a busy machine; a read holds nobody back. */
export const READ_LIMIT_MS = 60_000;
/** A server that does not answer a connection attempt by then is down. */
const CONNECT_LIMIT_MS = 5000;
const IDLE_CONNECTION_MS = 60_000;

export interface ConnectionGuards {
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly statementTimeoutMs: number;
  /** Checkpoints and leases may be lost by a crash of the server: what they guard is repeated, not lost. */
  readonly durable?: boolean;
}

const startupOptions = (guards: ConnectionGuards): string =>
  [
    `-c statement_timeout=${guards.statementTimeoutMs}`,
    `-c idle_in_transaction_session_timeout=${WRITE_LIMIT_MS}`,
    // Compiling a plan takes longer than any of our statements.
    '-c jit=off',
    // Every query of ours walks an index. Statistics lag behind tables that grow fast, and a plan made from them would scan the history.
    '-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off',
    // A named statement is planned once: its plan does not depend on its parameters, and making it anew takes longer than running it.
    '-c plan_cache_mode=force_generic_plan',
    ...(guards.durable === false ? ['-c synchronous_commit=off'] : []),
  ].join(' ');

/** PostgreSQL 17 bounds a whole transaction, too; older servers refuse the setting. */
const BOUND_TRANSACTION = `select set_config('transaction_timeout', $1, false)
  where current_setting('server_version_num')::int >= 170000`;

const clientConfig = (databaseUrl: string, guards: ConnectionGuards): pg.ClientConfig => ({
  connectionString: databaseUrl,
  application_name: guards.applicationName,
  options: startupOptions(guards),
  connectionTimeoutMillis: CONNECT_LIMIT_MS,
  keepAlive: true,
});

const boundTransaction = async (client: pg.ClientBase, guards: ConnectionGuards): Promise<void> => {
  await client.query(BOUND_TRANSACTION, [String(guards.statementTimeoutMs)]);
};

export const openPool = (databaseUrl: string, size: number, guards: ConnectionGuards): pg.Pool => {
  const pool = new pg.Pool({
    ...clientConfig(databaseUrl, guards),
    max: size,
    // Opening a connection costs a server process; an idle one costs a few MiB.
    idleTimeoutMillis: IDLE_CONNECTION_MS,
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- pg-pool waits for the promise; its types don't say so
    onConnect: (client) => boundTransaction(client, guards),
  });
  // An idle connection that breaks is replaced by the pool at the next use; a busy one fails its query.
  pool.on('error', () => undefined);
  return pool;
};

/** One connection of its own, for session locks. `onLost` is called once, when it breaks or is closed. */
export const openSession = async (
  databaseUrl: string,
  guards: ConnectionGuards,
  onLost: () => void = () => undefined,
): Promise<pg.Client> => {
  const client = new pg.Client(clientConfig(databaseUrl, guards));
  client.on('error', () => undefined);
  client.once('end', onLost);
  await client.connect();
  await boundTransaction(client, guards);
  return client;
};

/** Ends a session without waiting for a server that may be gone. */
export const closeSession = async (client: pg.Client): Promise<void> => {
  await client.end().catch(() => undefined);
};

/** The key of an advisory lock: the first 64 bits of the name's SHA-256, as a signed decimal. */
export const lockKey = (name: string): string =>
  createHash('sha256').update(name).digest().readBigInt64BE(0).toString();

/** The SQLSTATE of a fault that PostgreSQL reported; undefined for a broken connection and for everything else. */
export const sqlState = (fault: unknown): string | undefined =>
  fault instanceof pg.DatabaseError ? fault.code : undefined;

/** Something that runs SQL inside the caller's transaction: a `pg` client, or TypeORM's `EntityManager` or `QueryRunner`. */
export interface SqlRunner {
  query(text: string, values?: unknown[]): Promise<unknown>;
}

/** The rows of a SELECT, whichever driver ran it. */
export const rowsOf = (result: unknown): readonly Record<string, unknown>[] => {
  if (Array.isArray(result)) return result as Record<string, unknown>[];
  return (result as { rows: Record<string, unknown>[] }).rows;
};
