import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { SERVICE_NAMES } from '@xenolith/contracts';
import type { DataFolder } from '../folders.js';
import { writePrivateFile, type Settings } from '../settings.js';

const PASSWORD_BYTES = 32;

/** Folder of the services' passwords, a file for each. */
export const rolesFolder = (folder: DataFolder): string => path.join(folder.secrets, 'postgres');

export const passwordFile = (folder: DataFolder, service: string): string => path.join(rolesFolder(folder), service);

/** The password of the role that owns the schema, for the migration; the settings hold it, too. */
export const ownerPasswordFile = (folder: DataFolder): string => path.join(folder.secrets, 'postgres-owner');

/** In a cluster of the platform's own the plain names are free; elsewhere another platform may have them. */
export const rolePrefix = ({ id, database }: Pick<Settings, 'id' | 'database'>): string =>
  database === 'own' ? `xenolith_${id.slice(0, 8)}_` : 'xenolith_';

const isThere = async (file: string): Promise<boolean> => {
  try {
    return (await readFile(file, 'utf8')).trim() !== '';
  } catch {
    return false;
  }
};

/** Passwords of the services' roles, made where there are none; the migration tells the database. */
export const ensurePasswords = async (folder: DataFolder): Promise<void> => {
  await mkdir(rolesFolder(folder), { recursive: true, mode: 0o700 });
  for (const service of SERVICE_NAMES) {
    const file = passwordFile(folder, service);
    if (!(await isThere(file))) await writePrivateFile(file, `${randomBytes(PASSWORD_BYTES).toString('base64url')}\n`);
  }
};
