import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { isAlive, signalProcess } from '../process-identity.js';
import { endLeftovers, readRunState, removeRunState, supervisorRuns, type RunState } from '../run-state.js';
import { isDataFolderLocked } from '../supervisor/data-folder-lock.js';
import { say, seconds, UserError } from '../terminal.js';
import { waitUntil } from '../waiting.js';

/** Longer than every process' own limit, one tier after the other. */
const STOP_TIMEOUT_MS = 90_000;
const POLL_MS = 50;

/** What runs there; waits for a supervisor that has only just begun. */
const settledState = async (folder: DataFolder): Promise<RunState | null> => {
  let state = await readRunState(folder);
  if (supervisorRuns(state) || !(await isDataFolderLocked(folder.root))) return state;
  say(`The platform on ${folder.root} is being started; waiting until it can be stopped.`);
  const settled = async (): Promise<boolean> => {
    state = await readRunState(folder);
    return supervisorRuns(state) || !(await isDataFolderLocked(folder.root));
  };
  await waitUntil(settled, { timeoutMs: STOP_TIMEOUT_MS, everyMs: POLL_MS });
  return state;
};

const belongsToAnother = (folder: DataFolder, cause: unknown): UserError =>
  new UserError(`may not stop what runs on ${folder.root}: it belongs to another user.`, [
    `Run '${commandFor(folder, 'down')}' as that user. (${String(cause)})`,
  ]);

/** Ends what a supervisor left that was killed. */
const endOrphans = async (folder: DataFolder, state: RunState): Promise<number> => {
  const ended = await endLeftovers(state).catch((cause: unknown) => {
    throw belongsToAnother(folder, cause);
  });
  await removeRunState(folder);
  const what = ended === 0 ? 'nothing was left' : `ended what was left: ${ended} of its processes`;
  say(`The supervisor of ${folder.root} had been killed; ${what}. What it stored stays.`);
  return 0;
};

/** Stops the platform that runs on this data folder; does nothing when none does. */
export const down = async (options: { readonly data?: string | undefined }): Promise<number> => {
  const folder = dataFolder(options.data);
  const started = performance.now();
  const state = await settledState(folder);
  if (state === null) {
    say(`Nothing runs on ${folder.root}.`);
    return 0;
  }
  if (!supervisorRuns(state)) return endOrphans(folder, state);
  say(`Stopping the platform on ${folder.root} ...`);
  try {
    signalProcess(state.supervisor, 'SIGTERM');
  } catch (cause) {
    throw belongsToAnother(folder, cause);
  }
  if (!(await waitUntil(() => !isAlive(state.supervisor), { timeoutMs: STOP_TIMEOUT_MS, everyMs: POLL_MS }))) {
    signalProcess(state.supervisor, 'SIGKILL');
    await endLeftovers((await readRunState(folder)) ?? state);
  }
  say(`Stopped in ${seconds(performance.now() - started)}. What it stored stays in ${folder.root}.`);
  return 0;
};
