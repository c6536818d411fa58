import pg from 'pg';
import { DataSource, type MigrationInterface, type QueryRunner } from 'typeorm';
import { lockKey, READ_LIMIT_MS, WRITE_LIMIT_MS } from './connection.js';
import { readSchemaState, refuseNewer } from './schema-check.js';
import { FUNCTIONS, OLDEST_REVISION, SCHEMA_REVISION, schemaHash } from './schema-hash.js';
import { ARCHIVE_REVISION, createArchive } from './sql/archive.sql.js';
import { createChronicle, createShapeTurns } from './sql/chronicle.sql.js';
import { createTables, forbidChanges } from './sql/schema.sql.js';

const refuseDown = async (): Promise<void> =>
  Promise.reject(new Error('the event store is never migrated down: restore a backup'));

class CreateTables1763760000001 implements MigrationInterface {
  readonly name = 'CreateTables1763760000001';
  async up(runner: QueryRunner): Promise<void> {
    for (const statement of createTables) await runner.query(statement);
  }
  readonly down = refuseDown;
}

class ForbidChanges1763760000002 implements MigrationInterface {
  readonly name = 'ForbidChanges1763760000002';
  async up(runner: QueryRunner): Promise<void> {
    for (const statement of forbidChanges) await runner.query(statement);
  }
  readonly down = refuseDown;
}

class CreateChronicle1764000000003 implements MigrationInterface {
  readonly name = 'CreateChronicle1764000000003';
  async up(runner: QueryRunner): Promise<void> {
    for (const statement of createChronicle) await runner.query(statement);
  }
  readonly down = refuseDown;
}

class CreateArchive1764100000004 implements MigrationInterface {
  readonly name = 'CreateArchive1764100000004';
  async up(runner: QueryRunner): Promise<void> {
    for (const statement of createArchive) await runner.query(statement);
  }
  readonly down = refuseDown;
}

class CreateShapeTurns1764200000005 implements MigrationInterface {
  readonly name = 'CreateShapeTurns1764200000005';
  async up(runner: QueryRunner): Promise<void> {
    for (const statement of createShapeTurns) await runner.query(statement);
  }
  readonly down = refuseDown;
}

/** Functions are code: whenever their text differs from what was applied, they are made anew. A changed signature makes another one, so that older processes keep theirs. */
const applyFunctions = async (runner: QueryRunner): Promise<void> => {
  const hash = schemaHash();
  await runner.query('create table if not exists es.applied (name text primary key, hash text not null)');
  for (const statement of FUNCTIONS) await runner.query(statement);
  // The revision last: a migration that was cut short counts as not done.
  await runner.query(
    `insert into es.applied select 'functions', $1::text
     union all select 'oldest_revision', greatest($2::int, (select ${ARCHIVE_REVISION} from es.archive))::text
     union all select 'revision', $3::text
     on conflict (name) do update set hash = excluded.hash`,
    [hash, String(OLDEST_REVISION), String(SCHEMA_REVISION)],
  );
};

const MIGRATION_LOCK = lockKey('xenolith/migrations');

/** Waiting for another process's migration is bounded by this and no open transaction. */
const WAIT_LIMIT_MS = READ_LIMIT_MS;

/**
 * Brings the schema `es` up to date. Safe to call from several processes at once: one migrates, the others wait for it. Each migration is a
 * transaction of at most a second, as an open one holds every reader of the log back.
 */
export const migrate = async (databaseUrl: string): Promise<void> => {
  const source = new DataSource({
    type: 'postgres',
    // Left alone, TypeORM looks for it among installed packages; a bundled program has none.
    driver: pg,
    url: databaseUrl,
    applicationName: 'xenolith-migrate',
    schema: 'public',
    migrations: [
      CreateTables1763760000001,
      ForbidChanges1763760000002,
      CreateChronicle1764000000003,
      CreateArchive1764100000004,
      CreateShapeTurns1764200000005,
    ],
    migrationsTableName: 'xenolith_event_store_migrations',
    migrationsTransactionMode: 'each',
    // One connection waits with the lock, one migrates.
    poolSize: 2,
    extra: {
      options: `-c statement_timeout=${WRITE_LIMIT_MS} -c idle_in_transaction_session_timeout=${WRITE_LIMIT_MS}`,
    },
  });
  await source.initialize();
  const guard = source.createQueryRunner();
  try {
    await guard.query(`set statement_timeout = ${WAIT_LIMIT_MS}`);
    await guard.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const state = await readSchemaState(databaseUrl);
    refuseNewer(state);
    // A newer schema that older code can live with stays as it is.
    if (state.revision <= SCHEMA_REVISION) {
      await source.runMigrations({ transaction: 'each' });
      await applyFunctions(guard);
    }
    await guard.query('select pg_advisory_unlock($1)', [MIGRATION_LOCK]);
  } finally {
    await guard.release();
    await source.destroy();
  }
};
