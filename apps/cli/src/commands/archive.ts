import {
  ArchiveDamaged,
  archiveLog,
  ArchiveRefused,
  ArchiveUnavailable,
  openArchiveStore,
  type ArchiveProgress,
} from '@xenolith/event-store';
import { interruptible } from '../backup/interruption.js';
import { onLogDatabase } from '../backup/log-database.js';
import { dataFolder } from '../folders.js';
import { momentOf } from '../plugin/when.js';
import { readSettings } from '../settings.js';
import { say, seconds, UserError } from '../terminal.js';

const TELL_EVERY_MS = 1_000;
const MIB = 2 ** 20;

export interface ArchiveCommandOptions {
  readonly data?: string | undefined;
  readonly olderThan: string;
  readonly to: string;
  readonly keep: number;
}

/** `30d`, `12h`, `1d12h`: the moment that long before `now`, in milliseconds. Throws a UserError. */
export const cutOf = (age: string, now: number): number => {
  if (!/^(\d+(\.\d+)?[smhd])+$/.test(age))
    throw new UserError(`"${age}" is no age.`, ['Write days, hours, minutes or seconds, such as 30d or 1d12h.']);
  return Date.parse(momentOf(age, now));
};

const showProgress = (): ((progress: ArchiveProgress) => void) => {
  let told = performance.now();
  return ({ archived, removed, position, upTo }) => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    say(`  ${archived} events copied, ${removed} removed; archived up to position ${position} of ${upTo}`);
  };
};

const asUserError = (fault: unknown): unknown => {
  if (fault instanceof ArchiveRefused || fault instanceof ArchiveUnavailable)
    return new UserError(`nothing more was archived: ${fault.message}.`);
  if (fault instanceof ArchiveDamaged)
    return new UserError(`the archive is not what was put there: ${fault.message}.`, [
      'Nothing more was archived or removed. Bring the file back from a copy of the archive; ./xenolith verify says whether it is the right one.',
    ]);
  return fault;
};

const run = async (databaseUrl: string, options: ArchiveCommandOptions, signal: AbortSignal): Promise<number> => {
  const started = performance.now();
  try {
    const result = await archiveLog({
      ownerUrl: databaseUrl,
      store: await openArchiveStore(options.to),
      before: cutOf(options.olderThan, Date.now()),
      keepNewest: options.keep,
      signal,
      onProgress: showProgress(),
    });
    const { archived, removed, bytes, position, heldBackBy } = result;
    say(
      archived === 0 && removed === 0
        ? `There was nothing to archive; the archive ends at position ${position}.`
        : `Archived ${archived} events (${(bytes / MIB).toFixed(1)} MiB) and removed ${removed} from the database, up to position ${position}, ` +
            `in ${seconds(performance.now() - started)}.`,
    );
    if (heldBackBy !== undefined)
      say(`  Events as old as ${options.olderThan} go on behind it; they are held back by ${heldBackBy}.`);
    return 0;
  } catch (fault) {
    throw asUserError(fault);
  }
};

/** Copies old events into an archive and removes what nobody loads any more, while the platform runs or not. */
export const archive = async (options: ArchiveCommandOptions): Promise<number> => {
  const folder = dataFolder(options.data);
  cutOf(options.olderThan, Date.now());
  const settings = await readSettings(folder);
  if (settings === null || settings.database === undefined)
    throw new UserError(`there is no platform on ${folder.root}.`, ['Name its data folder with --data.']);
  return interruptible(
    (signal) =>
      onLogDatabase({ folder, settings, purpose: 'the archive' }, (databaseUrl) => run(databaseUrl, options, signal)),
    'Stopped. What was archived stays; the same command goes on from there.',
  );
};
