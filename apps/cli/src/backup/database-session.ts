import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { DataFolder } from '../folders.js';
import { DATABASE_USER, databaseUrl, preparePostgres } from '../supervisor/postgres.js';
import type { ProcessPlan } from '../supervisor/process-plan.js';
import type { Settings } from '../settings.js';
import { waitUntil } from '../waiting.js';

/** Recovery after a crash may take this long on a slow disk. */
const START_LIMIT_MS = 120_000;
const POLL_MS = 50;

/** The owner's URL, password and all: for memory only. */
export const ownerUrl = (folder: DataFolder, settings: Settings): string => {
  const url = new URL(databaseUrl(folder, settings.ports['postgres'] ?? 0, DATABASE_USER));
  url.password = encodeURIComponent(settings.databasePassword);
  return url.toString();
};

/** The owner's URL of a database that the user brought: as the user gives it, with the password out of its file if it is there. */
export const givenOwnerUrl = async (url: string, passwordFile: string | undefined): Promise<string> => {
  if (passwordFile === undefined) return url;
  const whole = new URL(url);
  whole.password = encodeURIComponent((await readFile(passwordFile, 'utf8')).trim());
  return whole.toString();
};

const run = (plan: ProcessPlan): { readonly child: ChildProcess; readonly ended: Promise<unknown> } => {
  const child = spawn(plan.command, plan.args, {
    cwd: plan.cwd,
    env: plan.env,
    // A session of its own: Ctrl-C is for us, who end it in order.
    detached: true,
    stdio: 'ignore',
    ...plan.runAs,
  });
  return { child, ended: once(child, 'exit') };
};

/** Runs the platform's own Postgres for as long as `work` takes; nobody else may run it. */
export const withPostgres = async <Value>(
  folder: DataFolder,
  settings: Settings,
  work: () => Promise<Value>,
): Promise<Value> => {
  const plan = await preparePostgres(folder, settings.ports['postgres'] ?? 0, settings.databasePassword);
  const { child, ended } = run(plan);
  try {
    const ready = await waitUntil(async () => child.exitCode !== null || (await plan.checkReady()) === null, {
      timeoutMs: START_LIMIT_MS,
      everyMs: POLL_MS,
    });
    if (!ready || child.exitCode !== null) throw new Error(`Postgres did not start on ${folder.postgres}`);
    return await work();
  } finally {
    if (child.exitCode === null) child.kill(plan.stopSignal);
    await ended;
  }
};
