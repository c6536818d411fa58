import { isMigrated } from './schema-check.js';

/**
 * Brings the schema `es` up to date. Safe to call from several processes at once: one migrates, the others wait for it. Each migration is a
 * transaction of at most a second, as an open one holds every reader of the log back. Throws a `SchemaMismatch` when a newer release was here.
 */
export const migrateEventStore = async (databaseUrl: string): Promise<void> => {
  if (await isMigrated(databaseUrl)) return;
  // Loaded only where there is something to migrate: TypeORM costs a start 0.3 s and 28 MiB.
  const { migrate } = await import('./schema-migrations.js');
  await migrate(databaseUrl);
};
