import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { queryOnce } from '@xenolith/testing';
import type { Platform } from './platform.js';

interface Settings {
  readonly databasePassword: string;
  readonly ports: { readonly postgres: number };
}

/** Runs a statement as the owner of a platform's database, as an administrator of it would. */
export const asOwner = async (platform: Platform, statement: string): Promise<void> => {
  const { databasePassword, ports } = JSON.parse(
    await readFile(join(platform.data, 'settings.json'), 'utf8'),
  ) as Settings;
  const trust = `sslmode=verify-full&sslrootcert=${encodeURIComponent(join(platform.data, 'tls', 'ca.crt'))}`;
  const url = `postgresql://xenolith:${databasePassword}@127.0.0.1:${ports.postgres}/postgres?${trust}`;
  if (!(await queryOnce(url, statement))) throw new Error(`the database did not take: ${statement}`);
};
