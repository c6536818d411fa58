import { commandFor, dataFolder } from '../folders.js';
import { isAlive, signalProcess } from '../process-identity.js';
import { endLeftovers, readRunState, removeRunState, supervisorRuns } from '../run-state.js';
import { say, seconds, UserError } from '../terminal.js';
import { waitUntil } from '../waiting.js';

/** Longer than every process' own limit, one tier after the other. */
const STOP_TIMEOUT_MS = 90_000;
const POLL_MS = 50;

/** Stops the platform that runs on this data folder; does nothing when none does. */
export const down = async (options: { readonly data?: string | undefined }): Promise<number> => {
  const folder = dataFolder(options.data);
  const started = performance.now();
  const state = await readRunState(folder);
  if (state === null) {
    say(`Nothing runs on ${folder.root}.`);
    return 0;
  }
  if (!supervisorRuns(state)) {
    const ended = await endLeftovers(state);
    await removeRunState(folder);
    say(`The platform on ${folder.root} had ended without cleaning up; ended ${ended} processes that were left.`);
    return 0;
  }
  say(`Stopping the platform on ${folder.root} ...`);
  try {
    signalProcess(state.supervisor, 'SIGTERM');
  } catch (cause) {
    throw new UserError(`may not stop it: process ${state.supervisor.pid} belongs to another user.`, [
      `Run '${commandFor(folder, 'down')}' as that user. (${String(cause)})`,
    ]);
  }
  if (!(await waitUntil(() => !isAlive(state.supervisor), { timeoutMs: STOP_TIMEOUT_MS, everyMs: POLL_MS }))) {
    signalProcess(state.supervisor, 'SIGKILL');
    await endLeftovers((await readRunState(folder)) ?? state);
  }
  say(`Stopped in ${seconds(performance.now() - started)}. What it stored stays in ${folder.root}.`);
  return 0;
};
