import { existsSync } from 'node:fs';
import { readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { importLog, SCHEMA_REVISION } from '@xenolith/event-store';
import { readArchive, verifyArchive } from '../backup/archive.js';
import { givenOwnerUrl, ownerUrl, withPostgres } from '../backup/database-session.js';
import { agentFileOf, tableOf, type Manifest } from '../backup/format.js';
import { ByteProgress, interruptible } from '../backup/interruption.js';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { ensureCertificates } from '../platform/certificates.js';
import { createDataFolder, mergeSettings, settingsSchema, writeSettings, type Settings } from '../settings.js';
import { lockDataFolder } from '../supervisor/data-folder-lock.js';
import { migrateDatabase, platformDatabase } from '../supervisor/database.js';
import { checkDatabase, type OwnDatabase } from '../supervisor/own-servers.js';
import { assignPorts } from '../supervisor/ports.js';
import { say, seconds, UserError } from '../terminal.js';

/** Everything is made in a folder beside its place, which takes the name when it is whole. */
const draftOf = (folder: DataFolder): DataFolder => dataFolder(`${folder.root}.restoring`);

const requireEmpty = async (folder: DataFolder): Promise<void> => {
  const found = existsSync(folder.root) ? await readdir(folder.root) : [];
  if (found.length > 0)
    throw new UserError(`${folder.root} is not empty: it holds ${found.slice(0, 5).join(', ')}.`, [
      'A backup is restored into an empty folder: name another one with --data, or move this one away.',
    ]);
};

const requireKnown = (file: string, manifest: Manifest): void => {
  if (manifest.schemaRevision > SCHEMA_REVISION)
    throw new UserError(
      `${file} holds a log of schema revision ${manifest.schemaRevision}, and this release knows ${SCHEMA_REVISION} at most.`,
      ['A newer release wrote it: restore it with that one.'],
    );
};

/** The log's pieces as they come; the agent's files are put where they belong on the way. */
async function* piecesOf(file: string, folder: DataFolder, signal: AbortSignal) {
  const progress = new ByteProgress('restored');
  for await (const { name, content } of readArchive(file)) {
    signal.throwIfAborted();
    progress.add(content.length);
    const table = tableOf(name);
    const journal = agentFileOf(name);
    if (table !== undefined) yield { table, content };
    else if (journal !== undefined) await writeFile(path.join(folder.agent, journal), content, { mode: 0o600 });
  }
}

interface Restore {
  readonly file: string;
  readonly manifest: Manifest;
  readonly signal: AbortSignal;
}

const newSettings = async (manifest: Manifest, database: NonNullable<Settings['database']>): Promise<Settings> => {
  const base = mergeSettings(null, {});
  const ports = await assignPorts(['postgres'], {}, [manifest.settings.port]);
  return settingsSchema.parse({ ...base, ...manifest.settings, database, ports });
};

const fill = async (draft: DataFolder, own: OwnDatabase | null, { file, manifest, signal }: Restore): Promise<void> => {
  const settings = await newSettings(manifest, own === null ? 'embedded' : 'own');
  await ensureCertificates(draft);
  const load = async (url: string): Promise<void> => {
    await migrateDatabase(draft, await platformDatabase(draft, settings, own), {
      PATH: process.env['PATH'] ?? '',
    });
    signal.throwIfAborted();
    say('  the schema is made');
    await importLog(url, manifest, piecesOf(file, draft, signal));
  };
  if (own === null) await withPostgres(draft, settings, () => load(ownerUrl(draft, settings)));
  else await load(await givenOwnerUrl(own.url, process.env['DATABASE_PASSWORD_FILE'] || undefined));
  await writeSettings(draft, settings);
};

const restoreInto = async (folder: DataFolder, restoring: Restore): Promise<void> => {
  const draft = draftOf(folder);
  const given = process.env['DATABASE_URL'];
  const own = given ? await checkDatabase(given) : null;
  await createDataFolder(draft);
  const lock = await lockDataFolder(draft.root);
  if (lock === null) throw new UserError(`another restore is at work on ${folder.root}.`, ['Wait for its end.']);
  try {
    // What a restore left that was killed.
    await rm(draft.root, { recursive: true, force: true });
    await createDataFolder(draft);
    await fill(draft, own, restoring);
    restoring.signal.throwIfAborted();
    if (existsSync(folder.root)) await rmdir(folder.root);
    await rename(draft.root, folder.root);
  } catch (fault) {
    await rm(draft.root, { recursive: true, force: true });
    throw fault;
  } finally {
    if (lock !== 'unlocked') lock.close();
  }
};

/** Makes a platform of a backup, in an empty folder. It does not start it. */
export const restore = async (file: string, options: { readonly data?: string | undefined }): Promise<number> => {
  const folder = dataFolder(options.data);
  if (!existsSync(file)) throw new UserError(`there is no file ${file}.`, ['Name the file that backup has written.']);
  await requireEmpty(folder);
  return interruptible(async (signal) => {
    const started = performance.now();
    const reading = new ByteProgress('checked');
    const manifest = await verifyArchive(file, (bytes) => {
      signal.throwIfAborted();
      reading.add(bytes);
    });
    requireKnown(file, manifest);
    say(
      `  the backup is whole: ${manifest.events} events up to position ${manifest.position}, of ${manifest.createdAt}`,
    );
    await restoreInto(folder, { file, manifest, signal });
    say(`Restored into ${folder.root} in ${seconds(performance.now() - started)}.`);
    say(`Its certificates, tokens and passwords are new. Start it with: ${commandFor(folder, 'up')}`);
    return 0;
  });
};
