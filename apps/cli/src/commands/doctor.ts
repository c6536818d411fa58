import { existsSync } from 'node:fs';
import { givenOwnerUrl, ownerUrl } from '../backup/database-session.js';
import { busSkipped, lookAtBus } from '../doctor/bus.js';
import { lookAtDatabase } from '../doctor/database.js';
import { lookAtFiles } from '../doctor/files.js';
import { skipped, wrong, type Finding } from '../doctor/finding.js';
import { lookAtMachine } from '../doctor/machine.js';
import { lookAtProcesses } from '../doctor/processes.js';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { rolePrefix } from '../platform/database-roles.js';
import { readRunState, supervisorRuns, type RunState } from '../run-state.js';
import { readSettings, type Settings } from '../settings.js';
import { messageOf, say, table, UserError } from '../terminal.js';

const MARKS = { ok: 'ok', warning: 'WARNING', error: 'ERROR', skipped: '-' } as const;

const database = async (folder: DataFolder, settings: Settings, runs: boolean): Promise<readonly Finding[]> => {
  const again = `${commandFor(folder, 'down')}, then ${commandFor(folder, 'up')}: each start grants what is needed and takes away the rest.`;
  const place = { prefix: rolePrefix(settings), again };
  if (settings.database !== 'own') {
    if (!runs) return [skipped('postgres', 'it does not run')];
    return lookAtDatabase(ownerUrl(folder, settings), place);
  }
  const given = process.env['DATABASE_URL'];
  if (!given) return [skipped('postgres', 'a database of your own: set DATABASE_URL to have it looked at')];
  return lookAtDatabase(await givenOwnerUrl(given, process.env['DATABASE_PASSWORD_FILE'] || undefined), place);
};

const bus = async (folder: DataFolder, settings: Settings, state: RunState | null): Promise<readonly Finding[]> => {
  if (!supervisorRuns(state)) return busSkipped('it does not run');
  if (!state.processes.some(({ name }) => name === 'nats')) return busSkipped('a server of your own');
  return lookAtBus(settings.ports['nats-monitor'] ?? 0, commandFor(folder, 'logs'));
};

const examine = async (folder: DataFolder): Promise<readonly Finding[]> => {
  let settings: Settings | null;
  try {
    settings = await readSettings(folder);
  } catch (fault) {
    const advice = fault instanceof UserError ? fault.advice.join(' ') : '';
    return [wrong('settings', messageOf(fault), advice)];
  }
  if (settings === null || !existsSync(folder.root))
    throw new UserError(`there is no platform on ${folder.root}.`, [
      `Start one with ${commandFor(folder, 'up')}, or name its data folder with --data.`,
    ]);
  const state = await readRunState(folder);
  const runs = supervisorRuns(state);
  const own = { postgres: settings.database !== 'own', nats: !process.env['NATS_URL'] };
  return [
    ...(await lookAtMachine(folder, own, Date.now())),
    ...(await lookAtFiles(folder, Date.now())),
    ...(await lookAtProcesses(folder, settings, state)),
    ...(await database(folder, settings, runs)),
    ...(await bus(folder, settings, state)),
  ];
};

const print = (findings: readonly Finding[]): void => {
  const rows = findings.map(({ check, level, says }) => [MARKS[level], check, says]);
  const lines = table([['STATE', 'CHECK', 'FINDING'], ...rows]).split('\n');
  process.stdout.write(`${lines[0] ?? ''}\n`);
  findings.forEach(({ advice }, index) => {
    process.stdout.write(`${lines[index + 1] ?? ''}\n`);
    if (advice !== undefined) process.stdout.write(`         -> ${advice}\n`);
  });
};

/** Looks at an installation, running or not, and says what to do. The exit code is 1 when something is wrong; warnings alone give 0. */
export const doctor = async (options: {
  readonly data?: string | undefined;
  readonly output?: 'table' | 'json' | undefined;
}): Promise<number> => {
  const findings = await examine(dataFolder(options.data));
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length;
  if (options.output === 'json') process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
  else {
    print(findings);
    say(
      `${count('error')} errors, ${count('warning')} warnings, ${count('ok')} good, ${count('skipped')} not looked at.`,
    );
  }
  return count('error') > 0 ? 1 : 0;
};
