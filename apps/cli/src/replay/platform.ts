import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { commandFor, dataFolder } from '../folders.js';
import { readRunState, supervisorRuns } from '../run-state.js';
import { say, UserError } from '../terminal.js';

/** The platform that a replay works on. */
export interface ChosenPlatform {
  readonly kubeconfig: string;
  /** It was started for the replay and goes with it. */
  readonly temporary: boolean;
  /** What a person can do when the replay does not end it. */
  readonly howToStop: string;
  close(): Promise<void>;
}

export interface PlatformChoice {
  readonly kubeconfig?: string | undefined;
  readonly data?: string | undefined;
  readonly hosts?: number | undefined;
}

const COMMAND_LINE = fileURLToPath(new URL('../main.js', import.meta.url));

const freePort = async (): Promise<number> => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
};

/** `up` ends with what to try next, which is of no use for a platform that goes with the replay. */
const ADVICE = 'Try next:';

/** Runs one of our own commands and shows what it says; standard output is the replay's own. The answer is its exit code. */
const runCommand = async (args: readonly string[]): Promise<number> => {
  // A group of its own: Ctrl-C is ours to handle.
  const child = spawn(process.execPath, [COMMAND_LINE, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  const forward = (): void => void child.kill('SIGINT');
  process.on('SIGINT', forward);
  process.on('SIGTERM', forward);
  const ended = once(child, 'close') as Promise<[number | null]>;
  let shown = true;
  const lines = createInterface({ input: child.stderr });
  lines.on('line', (line) => {
    shown &&= line.trim() !== ADVICE;
    if (shown && line.trim() !== '') say(line);
  });
  const [code] = await ended;
  process.off('SIGINT', forward);
  process.off('SIGTERM', forward);
  return code ?? 1;
};

const startTemporary = async (hosts: number): Promise<ChosenPlatform> => {
  const data = await mkdtemp(path.join(tmpdir(), 'xenolith-replay-'));
  say(`starting a platform of its own with ${hosts} hosts for the replay`);
  const close = async (): Promise<void> => {
    await runCommand(['down', '--data', data]);
    await rm(data, { recursive: true, force: true });
    say('The platform of its own is gone, with what it stored.');
  };
  const port = await freePort();
  const code = await runCommand([
    ...['up', '--detach', '--data', data, '--hosts', String(hosts)],
    ...['--port', String(port), '--boot-time', '0'],
  ]);
  if (code !== 0) {
    await close();
    throw new UserError('the platform for the replay did not start.', ['What it said stands above.'], code);
  }
  return {
    kubeconfig: dataFolder(data).kubeconfigFile,
    temporary: true,
    howToStop: commandFor(dataFolder(data), 'down'),
    close,
  };
};

const running = (kubeconfig: string): ChosenPlatform => ({
  kubeconfig,
  temporary: false,
  howToStop: '',
  close: () => Promise.resolve(),
});

/** `--kubeconfig` names a platform; else the one that runs on the data folder, if it has the wished hosts; else a temporary one. */
export const choosePlatform = async (choice: PlatformChoice): Promise<ChosenPlatform> => {
  const { kubeconfig, hosts } = choice;
  if (kubeconfig !== undefined) return running(kubeconfig);
  const folder = dataFolder(choice.data);
  const state = await readRunState(folder);
  if (supervisorRuns(state) && existsSync(folder.kubeconfigFile)) {
    if (hosts === undefined || state.hosts >= hosts) return running(folder.kubeconfigFile);
    say(`the platform that runs on ${folder.root} has ${state.hosts} hosts, fewer than ${hosts}`);
  }
  if (hosts !== undefined) return startTemporary(hosts);
  throw new UserError(`no platform runs on ${folder.root}.`, [
    `Start one with '${commandFor(folder, 'up --detach')}',`,
    'or say how many hosts a temporary one shall have with --hosts N,',
    'or name another with --kubeconfig FILE.',
  ]);
};
