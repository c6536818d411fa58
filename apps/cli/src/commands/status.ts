import { existsSync } from 'node:fs';
import { endingCertificates } from '../doctor/files.js';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { livingProcesses, readRunState, supervisorRuns, type Leftover, type RunState } from '../run-state.js';
import { isDataFolderLocked } from '../supervisor/data-folder-lock.js';
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

const HEADER = ['NAME', 'READY', 'PID', 'RESTARTS', 'AGE', 'NOTE'];
const UNSUPERVISED = 'not supervised';

const EXIT_NOT_READY = 1;
const EXIT_NOTHING_RUNS = 3;

/** What one answer shows, on a terminal and to scripts. */
interface Shown {
  readonly document: object;
  /** Rows below the header; none when nothing runs. */
  readonly rows: readonly (readonly string[])[];
  readonly sentence: string;
  readonly exitCode: number;
}

const supervised = (folder: DataFolder, state: RunState): Shown => ({
  document: {
    ready: state.ready,
    phase: state.phase,
    supervisor: state.supervisor.pid,
    url: `https://127.0.0.1:${state.port}`,
    kubeconfig: folder.kubeconfigFile,
    processes: state.processes.map(({ name, pid, ready, restarts, note }) => ({ name, pid, ready, restarts, note })),
  },
  rows: state.processes.map(({ name, ready, pid, restarts, startedAt, note }) => [
    name,
    ready ? 'yes' : 'no',
    pid === null ? '-' : String(pid),
    String(restarts),
    age(startedAt),
    note,
  ]),
  sentence: state.ready ? `Ready: https://127.0.0.1:${state.port}` : `Not ready yet (${state.phase}).`,
  exitCode: state.ready ? 0 : EXIT_NOT_READY,
});

/** What a killed supervisor left: its sentinel ends it within seconds, unless that was killed too. */
const orphaned = (folder: DataFolder, left: readonly Leftover[]): Shown => ({
  document: {
    ready: false,
    phase: 'orphaned',
    processes: left.map(({ name, pid }) => ({ name, pid, ready: false, restarts: 0, note: UNSUPERVISED })),
  },
  rows: left.map(({ name, pid, startedAt }) => [name, 'no', String(pid), '-', age(startedAt), UNSUPERVISED]),
  sentence: [
    `The supervisor was killed; what it left on ${folder.root} is ending.`,
    `Start again with: ${commandFor(folder, 'up')}     End what is left now: ${commandFor(folder, 'down')}`,
  ].join('\n'),
  exitCode: EXIT_NOT_READY,
});

const starting = (folder: DataFolder): Shown => ({
  document: { ready: false, phase: 'starting', processes: [] },
  rows: [],
  sentence: `Being started on ${folder.root}: nothing runs yet.`,
  exitCode: EXIT_NOT_READY,
});

const nothing = (folder: DataFolder): Shown => ({
  document: { ready: false, phase: 'stopped', processes: [] },
  rows: [],
  sentence: `Nothing runs on ${folder.root}. Start it with: ${commandFor(folder, 'up')}`,
  exitCode: EXIT_NOTHING_RUNS,
});

/** What `status` shows of a data folder with this run file, that a supervisor has or not. */
export const shownOf = (folder: DataFolder, state: RunState | null, locked: boolean): Shown => {
  const left = state === null ? [] : livingProcesses(state);
  if (supervisorRuns(state)) return supervised(folder, state);
  if (locked) return starting(folder);
  return left.length > 0 ? orphaned(folder, left) : nothing(folder);
};

/** What runs. The exit code is 0 when everything is ready, 1 when something is not, 3 when nothing runs (as LSB says). */
export const status = async (options: {
  readonly data?: string | undefined;
  readonly output?: 'table' | 'json' | undefined;
}): Promise<number> => {
  const folder = dataFolder(options.data);
  const shown = shownOf(folder, await readRunState(folder), await isDataFolderLocked(folder.root));
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(shown.document, null, 2)}\n`);
  else {
    if (shown.rows.length > 0) process.stdout.write(`${table([HEADER, ...shown.rows])}\n`);
    say(shown.sentence);
    for (const { says, advice = '' } of existsSync(folder.kubeconfigFile)
      ? await endingCertificates(folder, Date.now())
      : [])
      say(`Warning: ${says}. ${advice}`);
  }
  return shown.exitCode;
};
