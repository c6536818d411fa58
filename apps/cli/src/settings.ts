import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hostProfiles, type HostProfile } from '@xenolith/contracts';
import { z } from 'zod';
import type { DataFolder } from './folders.js';
import { messageOf, UserError } from './terminal.js';

/** What a platform keeps between two starts. The file holds the database's password, so only its owner may read it. */
export const settingsSchema = z.strictObject({
  formatVersion: z.literal(1),
  id: z.uuid(),
  hosts: z.int().min(0),
  /** Emulated KVM hosts beside them; absent: none. */
  kvmHosts: z.int().min(0).optional(),
  /** Emulated Xen hosts of other kinds; absent: none. */
  hostProfiles: hostProfiles.optional(),
  port: z.int().min(1).max(65_535),
  /** Seconds that an emulated guest takes to boot; absent: the agent's own figure. */
  bootTimeSeconds: z.number().min(0).optional(),
  seed: z.int(),
  databasePassword: z.string(),
  /** Whose Postgres holds the log: a folder goes on with the one that it began with. Absent: it has not begun. */
  database: z.enum(['embedded', 'own']).optional(),
  /** Loopback ports by process name, kept so that clients and restarted servers meet again. */
  ports: z.record(z.string(), z.int()),
  /** Hash of the starter inventory that was loaded; what a user deletes from it stays deleted. */
  starterInventory: z.string().optional(),
});
export type Settings = z.infer<typeof settingsSchema>;

/** What `up` was asked for; absent means "as before". */
export interface WishedSettings {
  readonly hosts?: number | undefined;
  readonly kvmHosts?: number | undefined;
  readonly hostProfiles?: readonly HostProfile[] | undefined;
  readonly port?: number | undefined;
  readonly bootTimeSeconds?: number | undefined;
  readonly seed?: number | undefined;
}

export const DEFAULT_HOSTS = 4;
export const DEFAULT_PORT = 7443;

export const mergeSettings = (stored: Settings | null, wished: WishedSettings): Settings => {
  const base: Settings = stored ?? {
    formatVersion: 1,
    id: randomUUID(),
    hosts: DEFAULT_HOSTS,
    port: DEFAULT_PORT,
    seed: 1,
    databasePassword: randomBytes(24).toString('base64url'),
    ports: {},
  };
  const stated = Object.entries(wished).filter(([, value]) => value !== undefined);
  return settingsSchema.parse({ ...base, ...Object.fromEntries(stated) });
};

export const countProfiled = (profiles: readonly HostProfile[] = []): number =>
  profiles.reduce((sum, { count }) => sum + count, 0);

/** Writes beside the file, then renames: a reader sees the old or the new content, never a part. */
export const writePrivateFile = async (file: string, content: string): Promise<void> => {
  const draft = `${file}.${process.pid}.new`;
  await writeFile(draft, content, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, file);
};

export const readSettings = async (folder: DataFolder): Promise<Settings | null> => {
  let text: string;
  try {
    text = await readFile(folder.settingsFile, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new UserError(`cannot read ${folder.settingsFile}: ${messageOf(cause)}`, [
      'Run this as the user who started the platform, or choose another folder with --data.',
    ]);
  }
  try {
    return settingsSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new UserError(`${folder.settingsFile} is damaged or from another version: ${messageOf(cause)}`, [
      'Restore the file, or choose another folder with --data.',
    ]);
  }
};

export const writeSettings = (folder: DataFolder, settings: Settings): Promise<void> =>
  writePrivateFile(folder.settingsFile, `${JSON.stringify(settings, null, 2)}\n`);

/** Makes the data folder, or says which folder is in the way. */
export const createDataFolder = async (folder: DataFolder): Promise<void> => {
  try {
    await mkdir(folder.root, { recursive: true, mode: 0o755 });
    await mkdir(folder.logs, { recursive: true, mode: 0o755 });
    await mkdir(folder.tls, { recursive: true, mode: 0o700 });
    await mkdir(folder.secrets, { recursive: true, mode: 0o700 });
    await mkdir(folder.agent, { recursive: true, mode: 0o755 });
    const probe = path.join(folder.root, '.writable');
    await writePrivateFile(probe, '');
    await rm(probe);
  } catch (cause) {
    throw new UserError(`cannot write to the data folder ${folder.root}: ${messageOf(cause)}`, [
      'Choose a folder that you may write to with --data DIR.',
    ]);
  }
};
