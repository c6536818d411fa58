import {
  ArchiveDamaged,
  archiveLog,
  ArchiveRefused,
  ArchiveUnavailable,
  openArchiveStore,
  type ArchiveProgress,
  type ArchiveStore,
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

const adviceFor = (to: string): string =>
  to.startsWith('s3://')
    ? 'Look at the name of the bucket, at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3, and whether this login may get and put objects there.'
    : 'Name a folder with --to that this user may write to. The folder above it must be there: if it is on a disk of its own, mount that first.';

/** The place of the archive, once it is known that it can be written to. Throws a UserError. */
const openWritable = async (to: string): Promise<ArchiveStore> => {
  try {
    const store = await openArchiveStore(to);
    await store.checkWritable();
    return store;
  } catch (fault) {
    if (!(fault instanceof ArchiveUnavailable)) throw fault;
    throw new UserError(`nothing was archived: ${fault.message}.`, [adviceFor(to)]);
  }
};

interface Run {
  readonly options: ArchiveCommandOptions;
  readonly store: ArchiveStore;
  readonly signal: AbortSignal;
}

const run = async (databaseUrl: string, { options, store, signal }: Run): Promise<number> => {
  const started = performance.now();
  try {
    const result = await archiveLog({
      ownerUrl: databaseUrl,
      store,
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
  const store = await openWritable(options.to);
  return interruptible(
    (signal) =>
      onLogDatabase({ folder, settings, purpose: 'the archive' }, (databaseUrl) =>
        run(databaseUrl, { options, store, signal }),
      ),
    'Stopped. What was archived stays; the same command goes on from there.',
  );
};
