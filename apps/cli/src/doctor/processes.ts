import type { Settings } from '../settings.js';
import { commandFor, type DataFolder } from '../folders.js';
import { livingProcesses, supervisorRuns, type RunState } from '../run-state.js';
import { isPortFree } from '../supervisor/ports.js';
import { fine, skipped, warning, wrong, type Finding } from './finding.js';

const processes = (folder: DataFolder, state: RunState): readonly Finding[] => {
  const ill = state.processes.filter(({ ready }) => !ready);
  const restarted = state.processes.filter(({ restarts }) => restarts > 0);
  const health = ill.map(({ name, note }) =>
    wrong(
      'processes',
      `${name} is not ready: ${note || 'no reason is known'}`,
      `See ${commandFor(folder, 'logs')} ${name}.`,
    ),
  );
  const restarts = restarted.map(({ name, restarts: times }) =>
    warning(
      'processes',
      `${name} ended ${times} ${times === 1 ? 'time' : 'times'} by itself and was started again`,
      `See why in ${commandFor(folder, 'logs')} ${name}.`,
    ),
  );
  const all = [...health, ...restarts];
  return all.length > 0 ? all : [fine('processes', `all ${state.processes.length} are ready, none was restarted`)];
};

const leftovers = (folder: DataFolder, state: RunState | null): readonly Finding[] => {
  const left = state === null ? [] : livingProcesses(state);
  return left.length === 0
    ? [skipped('processes', 'the platform does not run')]
    : [
        wrong(
          'processes',
          `their supervisor is gone, but these run: ${left.map(({ name, pid }) => `${name} (${pid})`).join(', ')}`,
          `End them with ${commandFor(folder, 'down')}.`,
        ),
      ];
};

/** A stopped platform needs its port; the others it chooses anew if it must. */
const ports = async (folder: DataFolder, settings: Settings): Promise<Finding> =>
  (await isPortFree(settings.port))
    ? fine('ports', `port ${settings.port} is free for the next start`)
    : wrong(
        'ports',
        `port ${settings.port} is taken by another program`,
        `Start with another one: ${commandFor(folder, 'up')} --port N. Who has it: ss -ltnp 'sport = :${settings.port}'.`,
      );

/** What runs, and whether the next start has its port. */
export const lookAtProcesses = async (
  folder: DataFolder,
  settings: Settings,
  state: RunState | null,
): Promise<readonly Finding[]> => {
  if (supervisorRuns(state)) return processes(folder, state);
  const left = leftovers(folder, state);
  return left.some(({ level }) => level === 'error') ? left : [...left, await ports(folder, settings)];
};
