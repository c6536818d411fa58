import { closeSession, openSession, READ_LIMIT_MS } from './connection.js';
import { schemaHash } from './schema-hash.js';

const isCurrent = async (databaseUrl: string): Promise<boolean> => {
  const session = await openSession(databaseUrl, {
    applicationName: 'xenolith-migrate',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    const { rows } = await session.query<{ made: boolean }>(`select to_regclass('es.applied') is not null as made`);
    if (rows[0]?.made !== true) return false;
    const known = await session.query<{ hash: string }>(`select hash from es.applied where name = 'functions'`);
    return known.rows[0]?.hash === schemaHash();
  } finally {
    await closeSession(session);
  }
};

/**
 * Brings the schema `es` up to date. Safe to call from several processes at once: one migrates, the others wait for it. Each migration is a
 * transaction of at most a second, as an open one holds every reader of the log back.
 */
export const migrateEventStore = async (databaseUrl: string): Promise<void> => {
  if (await isCurrent(databaseUrl)) return;
  // Loaded only where there is something to migrate: TypeORM costs a start 0.3 s and 28 MiB.
  const { migrate } = await import('./schema-migrations.js');
  await migrate(databaseUrl);
};
