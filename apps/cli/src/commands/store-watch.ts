import { setTimeout as pause } from 'node:timers/promises';
import { UserError } from '../terminal.js';
import type { ToolRunner } from './host-tools-client.js';

/** How often the store is looked at: what is written and taken back in between is not seen. */
const LOOK_MS = 500;

/** Nodes below a watched path with their values, as `xenstore-ls -f` prints them. */
export type Snapshot = ReadonlyMap<string, string>;

const LINE = /^(\/[^ ]*) = (.*)$/;

export const snapshotOf = (listing: string): Snapshot =>
  new Map(
    listing.split('\n').flatMap((line): [string, string][] => {
      const match = LINE.exec(line);
      return match ? [[match[1] ?? '', match[2] ?? '']] : [];
    }),
  );

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));

/**
 * Paths at which a watch would have fired between the two: nodes that are new or have another value, and of those that are gone the topmost, as xenstored tells
 * of a removal once.
 */
export const firedBetween = (before: Snapshot, after: Snapshot): readonly string[] => {
  const gone = [...before.keys()].filter(
    (path) => !after.has(path) && (!before.has(parentOf(path)) || after.has(parentOf(path))),
  );
  const written = [...after].filter(([path, value]) => before.get(path) !== value).map(([path]) => path);
  return [...gone, ...written];
};

interface WatchRequest {
  readonly paths: readonly string[];
  /** Ends after so many lines; null: never. */
  readonly events: number | null;
}

const USAGE = 'Usage: ./xenolith xenstore HOST watch [-n NR] PATH...';

export const parseWatch = (args: readonly string[]): WatchRequest => {
  const counted = args[0] === '-n';
  const count = Number(args[1]);
  if (counted && !(Number.isInteger(count) && count > 0)) throw new UserError('-n takes a number of events.', [USAGE]);
  const paths = counted ? args.slice(2) : args;
  const wrong = paths.find((path) => !path.startsWith('/'));
  if (paths.length === 0) throw new UserError('name a path to watch.', [USAGE]);
  if (wrong !== undefined) throw new UserError(`${wrong} is no whole path; paths begin with "/".`, [USAGE]);
  return { paths, events: counted ? count : null };
};

const look = async (tools: ToolRunner, host: string, path: string): Promise<Snapshot> => {
  // A path may be watched before it is there.
  const { stdout } = await tools.run(host, 'xenstore', ['ls', '-f', path]);
  const { stdout: own, exitCode } = await tools.run(host, 'xenstore', ['read', path]);
  const nodes = new Map(snapshotOf(stdout));
  if (exitCode === 0) nodes.set(path, JSON.stringify(own));
  return nodes;
};

/** Prints the paths at which watches fire, as `xenstore-watch` does: first each watched path itself, then changes until Ctrl-C. */
export const watchStore = async (tools: ToolRunner, host: string, args: readonly string[]): Promise<number> => {
  const { paths, events } = parseWatch(args);
  let left = events ?? Number.POSITIVE_INFINITY;
  const tell = (path: string): void => {
    if (left <= 0) return;
    left -= 1;
    process.stdout.write(`${path}\n`);
  };
  const seen = new Map<string, Snapshot>();
  for (const path of paths) seen.set(path, await look(tools, host, path));
  // A new watch fires once, so that nobody misses what came before it (docs/misc/xenstore.txt).
  for (const path of paths) tell(path);
  while (left > 0) {
    await pause(LOOK_MS);
    for (const path of paths) {
      const now = await look(tools, host, path);
      for (const fired of firedBetween(seen.get(path) ?? new Map<string, string>(), now)) tell(fired);
      seen.set(path, now);
    }
  }
  return 0;
};
