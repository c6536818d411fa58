import { commandFor, dataFolder } from '../folders.js';
import { readRunState, supervisorRuns, type RunState } from '../run-state.js';
import { say, table } from '../terminal.js';

const MINUTE_S = 60;
const HOUR_S = 3_600;

const age = (startedAt: string | null): string => {
  if (startedAt === null) return '-';
  const elapsed = Math.max(0, Math.floor((Date.now() - Date.parse(startedAt)) / 1000));
  if (elapsed < MINUTE_S) return `${elapsed}s`;
  if (elapsed < HOUR_S) return `${Math.floor(elapsed / MINUTE_S)}m${elapsed % MINUTE_S}s`;
  return `${Math.floor(elapsed / HOUR_S)}h${Math.floor((elapsed % HOUR_S) / MINUTE_S)}m`;
};

const asTable = (state: RunState): string =>
  table([
    ['NAME', 'READY', 'PID', 'RESTARTS', 'AGE', 'NOTE'],
    ...state.processes.map(({ name, ready, pid, restarts, startedAt, note }) => [
      name,
      ready ? 'yes' : 'no',
      pid === null ? '-' : String(pid),
      String(restarts),
      age(startedAt),
      note,
    ]),
  ]);

/** What runs. The exit code is 0 when everything is ready, 1 when something is not, 3 when nothing runs (as LSB says). */
export const status = async (options: {
  readonly data?: string | undefined;
  readonly output?: 'table' | 'json' | undefined;
}): Promise<number> => {
  const folder = dataFolder(options.data);
  const state = await readRunState(folder);
  const running = supervisorRuns(state);
  if (options.output === 'json') {
    const shown = running
      ? {
          ready: state.ready,
          phase: state.phase,
          supervisor: state.supervisor.pid,
          url: `https://127.0.0.1:${state.port}`,
          kubeconfig: folder.kubeconfigFile,
          processes: state.processes.map(({ name, pid, ready, restarts, note }) => ({
            name,
            pid,
            ready,
            restarts,
            note,
          })),
        }
      : { ready: false, phase: 'stopped', processes: [] };
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
  } else if (running) {
    process.stdout.write(`${asTable(state)}\n`);
    say(state.ready ? `Ready: https://127.0.0.1:${state.port}` : `Not ready yet (${state.phase}).`);
  } else say(`Nothing runs on ${folder.root}. Start it with: ${commandFor(folder, 'up')}`);
  if (!running) return 3;
  return state.ready ? 0 : 1;
};
