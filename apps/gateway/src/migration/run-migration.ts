import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { SERVICE_NAMES } from '@xenolith/contracts';
import { ensureServiceRoles, migrateEventStore, SchemaMismatch, type ServiceRole } from '@xenolith/event-store';
import { databaseUrlOf, EXIT_CONFIG, openLog, readConfig, serviceConfig, takeCharge, waitFor } from '@xenolith/runtime';
import { z } from 'zod';

/** What the migration is told by its environment. */
const migrationConfig = serviceConfig
  .pick({ DATABASE_URL: true, DATABASE_PASSWORD_FILE: true, LOG_LEVEL: true, INSTANCE: true })
  .extend({
    DATABASE_ROLES_DIR: z
      .string()
      .min(1)
      .optional()
      .describe(
        'folder that holds a file for each service, named after it, with its password; absent: no roles are made',
      ),
    DATABASE_ROLE_PREFIX: z
      .string()
      .regex(/^[a-z][a-z0-9_]{0,30}$/, 'must be lower-case letters, digits and underscores')
      .default('xenolith_')
      .describe("what the names of the services' roles begin with"),
  });

/** Roles of the services that a password is there for. Throws when the folder can't be read, or holds none. */
const rolesIn = async (folder: string, prefix: string): Promise<readonly ServiceRole[]> => {
  const files = new Set(await readdir(folder));
  const roles: ServiceRole[] = [];
  for (const service of SERVICE_NAMES) {
    if (!files.has(service)) continue;
    const password = (await readFile(path.join(folder, service), 'utf8')).trim();
    if (password === '') throw new Error(`${path.join(folder, service)} is empty: it must hold a password`);
    roles.push({ role: `${prefix}${service}`, password });
  }
  if (roles.length === 0) throw new Error(`${folder} holds no file named ${SERVICE_NAMES.join(', ')}`);
  return roles;
};

/**
 * Brings the database up to this release, as its owner, and gives each service a login of its own. Waits for a database that is not there yet; ends with
 * code 0 when services can begin, 78 when a newer release was here, 1 for anything else.
 */
export const runMigration = async (): Promise<void> => {
  const config = readConfig(migrationConfig);
  const log = openLog({ service: 'migrate', instance: config.INSTANCE, level: config.LOG_LEVEL });
  const lifecycle = takeCharge(log);
  const databaseUrl = await databaseUrlOf(config);
  const migrate = async (): Promise<void> => {
    await migrateEventStore(databaseUrl).catch((error: unknown) => {
      if (!(error instanceof SchemaMismatch)) throw error;
      log.fatal(error.message);
      process.exit(EXIT_CONFIG);
    });
  };
  try {
    await waitFor('PostgreSQL', migrate, { log, signal: lifecycle.stopping });
    log.info('the schema is that of this release');
    if (config.DATABASE_ROLES_DIR !== undefined) {
      const roles = await rolesIn(config.DATABASE_ROLES_DIR, config.DATABASE_ROLE_PREFIX);
      await ensureServiceRoles(databaseUrl, roles);
      log.info({ roles: roles.map(({ role }) => role) }, 'the services have their roles');
    }
    await lifecycle.stop('the migration is done');
  } catch (error) {
    lifecycle.fail(error, 'the migration failed');
  }
};
