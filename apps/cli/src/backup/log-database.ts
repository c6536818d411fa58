import { commandFor, type DataFolder } from '../folders.js';
import { readRunState, supervisorRuns } from '../run-state.js';
import type { Settings } from '../settings.js';
import { lockDataFolder } from '../supervisor/data-folder-lock.js';
import { checkDatabase } from '../supervisor/own-servers.js';
import { say, UserError } from '../terminal.js';
import { givenOwnerUrl, ownerUrl, withPostgres } from './database-session.js';

/** Whose log, and what for, as a sentence says it. */
export interface LogPlace {
  readonly folder: DataFolder;
  readonly settings: Settings;
  readonly purpose: string;
}

/** Runs `work` on the platform's own Postgres: as it runs, or for that long alone. */
const onOwnPostgres = async (
  { folder, settings, purpose }: LogPlace,
  work: (databaseUrl: string) => Promise<number>,
): Promise<number> => {
  const url = ownerUrl(folder, settings);
  if (supervisorRuns(await readRunState(folder))) return work(url);
  const lock = await lockDataFolder(folder.root);
  if (lock === null)
    throw new UserError(`the platform on ${folder.root} is just being started or stopped.`, ['Try again when it is.']);
  try {
    say(`The platform does not run; Postgres is started for ${purpose} alone.`);
    return await withPostgres(folder, settings, () => work(url));
  } finally {
    if (lock !== 'unlocked') lock.close();
  }
};

/** Runs `work` with the owner's URL of a platform's log, whoever keeps it, and whether the platform runs or not. Throws a UserError. */
export const onLogDatabase = async (
  place: LogPlace,
  work: (databaseUrl: string) => Promise<number>,
): Promise<number> => {
  const { folder, settings } = place;
  if (settings.database === 'embedded') return onOwnPostgres(place, work);
  const given = process.env['DATABASE_URL'];
  if (!given)
    throw new UserError(`the log of ${folder.root} is in a database of your own, but DATABASE_URL is not set.`, [
      `Set it as you did for ${commandFor(folder, 'up')}.`,
    ]);
  await checkDatabase(given);
  return work(await givenOwnerUrl(given, process.env['DATABASE_PASSWORD_FILE'] || undefined));
};
