import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../terminal.js';

/** How a program that refuses to run as root is started. `prefix` comes before its command line. */
export interface Unprivileged {
  readonly prefix: readonly string[];
  /** Absent: as who we are. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  /** Who must own its files. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

const NOBODY = 65_534;
const EXECUTE_FOR_OTHERS = 0o001;

/** Debian's own account for Postgres if there is one, else nobody. */
const accountFor = (passwd: string): { readonly uid: number; readonly gid: number } => {
  for (const wanted of ['postgres', 'nobody']) {
    const fields = passwd
      .split('\n')
      .map((line) => line.split(':'))
      .find(([name]) => name === wanted);
    const [uid, gid] = [Number(fields?.[2]), Number(fields?.[3])];
    if (Number.isInteger(uid) && uid > 0 && Number.isInteger(gid)) return { uid, gid };
  }
  return { uid: NOBODY, gid: NOBODY };
};

/** The first folder on the way to `target` that others may not enter, or null. */
export const firstClosedFolder = (target: string): string | null => {
  const parts = path.resolve(target).split(path.sep);
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const folder = parts.slice(0, depth).join(path.sep) || path.sep;
    if ((statSync(folder).mode & EXECUTE_FOR_OTHERS) === 0) return folder;
  }
  return null;
};

// In a user namespace root appears under another number, yet owns its files: enough for a program that only looks at its uid.
const NAMESPACE = ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, '--'] as const;

const namespacesWork = (): boolean => {
  try {
    const uid = execFileSync(NAMESPACE[0], [...NAMESPACE.slice(1), 'id', '-u'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return uid.toString().trim() === String(NOBODY);
  } catch {
    return false;
  }
};

/**
 * How to run a program from `programFolder` with its data in `dataRoot`, when it refuses root: as ourselves if we are somebody else;
 * as an unprivileged user if that one can enter both folders; else in a user namespace, where the system allows one.
 */
export const unprivileged = (programFolder: string, dataRoot: string): Unprivileged => {
  const [uid, gid] = [process.getuid?.() ?? NOBODY, process.getgid?.() ?? NOBODY];
  if (uid !== 0) return { prefix: [], owner: { uid, gid } };
  const closed = firstClosedFolder(programFolder) ?? firstClosedFolder(dataRoot);
  if (closed === null) {
    const account = accountFor(readFileSync('/etc/passwd', 'utf8'));
    return { prefix: [], runAs: account, owner: account };
  }
  if (namespacesWork()) return { prefix: NAMESPACE, owner: { uid, gid } };
  throw new UserError(`Postgres does not run as root, and only root can enter ${closed}.`, [
    'Run ./xenolith as another user, or from a folder that others may enter (such as /opt or /srv) with --data in such a folder too,',
    'or set DATABASE_URL to a PostgreSQL server (15 or newer) of your own.',
  ]);
};
