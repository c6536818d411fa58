import { verifyLog, type ChainAnchor } from '@xenolith/event-store';
import { onLogDatabase } from '../backup/log-database.js';
import { dataFolder } from '../folders.js';
import { readSettings } from '../settings.js';
import { say, seconds, UserError } from '../terminal.js';

const EXIT_ALTERED = 1;
const TELL_EVERY_MS = 1_000;

/** `1234:9f86d081…`, as an earlier run printed it. Throws a UserError. */
export const anchorOf = (text: string): ChainAnchor => {
  const [, position, link] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (position === undefined || link === undefined)
    throw new UserError(`"${text}" is no anchor.`, [
      'Write the line that an earlier verify printed, such as 1234:9f86d0…',
    ]);
  return { position: Number(position), link };
};

const showProgress = (): ((position: number, head: number) => void) => {
  let told = performance.now();
  return (position, head) => {
    if (performance.now() - told < TELL_EVERY_MS) return;
    told = performance.now();
    say(`  ${Math.floor((100 * position) / head)} %: ${position} of ${head} events`);
  };
};

const check = async (databaseUrl: string, anchor: ChainAnchor | undefined): Promise<number> => {
  const started = performance.now();
  const verdict = await verifyLog({ databaseUrl, anchor, onProgress: showProgress() });
  if (!verdict.sound) {
    say(`The log was altered. The first event that is not as it was recorded: position ${verdict.position}.`);
    say(`  ${verdict.message}`);
    return EXIT_ALTERED;
  }
  const { head, unlinked } = verdict;
  say(`All ${head.position} events are as they were recorded (${seconds(performance.now() - started)}).`);
  if (unlinked > 0) say(`  ${unlinked} more came just now and are not in the chain yet.`);
  say('Keep the next line where nobody who can write to the database can; verify --anchor compares the log with it.');
  process.stdout.write(`${head.position}:${head.link}\n`);
  return 0;
};

/** Goes through the whole log and its chain of hashes. The exit code is 0 when every event is as it was recorded, 1 when not. */
export const verify = async (options: {
  readonly data?: string | undefined;
  readonly anchor?: string | undefined;
}): Promise<number> => {
  const folder = dataFolder(options.data);
  const anchor = options.anchor === undefined ? undefined : anchorOf(options.anchor);
  const settings = await readSettings(folder);
  if (settings === null || settings.database === undefined)
    throw new UserError(`there is no platform on ${folder.root}.`, ['Name its data folder with --data.']);
  return onLogDatabase({ folder, settings, purpose: 'the verification' }, (url) => check(url, anchor));
};
