import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { eventually, type Platform } from './platform.js';

export interface SecondScheduler {
  readonly pid: number;
  stop(): Promise<void>;
}

const words = async (file: string): Promise<readonly string[]> =>
  (await readFile(file, 'utf8')).split('\0').filter((word) => word !== '');

/** A scheduler beside the platform's own, started as that one was: what `scheduler.replicas: 2` of the chart gives. Settles when it is ready. */
export const startSecondScheduler = async (platform: Platform, port: number): Promise<SecondScheduler> => {
  const first = (await platform.processes()).find(({ name }) => name === 'scheduler');
  if (first === undefined) throw new Error('there is no process scheduler');
  const [command = '', ...args] = await words(`/proc/${first.pid}/cmdline`);
  const variables = await words(`/proc/${first.pid}/environ`);
  const env = Object.fromEntries(
    variables.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
  );
  const child = spawn(command, args, {
    cwd: platform.data,
    env: { ...env, INSTANCE: 'scheduler-1', HTTP_PORT: String(port) },
    // Without its parent, which the channel tells it of, it ends.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  await eventually('the second scheduler is ready', () =>
    fetch(`http://127.0.0.1:${port}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  if (child.pid === undefined) throw new Error('the second scheduler was not started');
  return {
    pid: child.pid,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
};
