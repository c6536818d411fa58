import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { programFile } from '../programs.js';
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

/** Runs one of our own commands and shows what it says, but for lines that begin like `hidden`; standard output is the replay's own. The answer is its exit code. */
const runCommand = async (args: readonly string[], hidden: readonly string[] = []): Promise<number> => {
  // A group of its own: Ctrl-C is ours to handle.
  const child = spawn(process.execPath, [programFile('xenolith'), ...args], {
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
    if (shown && line.trim() !== '' && !hidden.some((start) => line.startsWith(start))) say(line);
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
    // That what it stored stays is not so here.
    await runCommand(['down', '--data', data], ['Stopped in']);
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

const TOO_FEW = 'Start it with as many (up --hosts), or leave --hosts out to replay on those that there are.';

/** `--data` names the platform: another one in its place would not be what was asked for. */
const namedByFolder = (folder: DataFolder, runningHosts: number | null, hosts: number | undefined): ChosenPlatform => {
  if (runningHosts === null)
    throw new UserError(`no platform runs on ${folder.root}.`, [
      `Start it with '${commandFor(folder, `up --detach${hosts === undefined ? '' : ` --hosts ${hosts}`}`)}',`,
      'or leave --data out and say with --hosts N how many hosts a temporary one shall have.',
    ]);
  if (hosts !== undefined && runningHosts < hosts)
    throw new UserError(`the platform on ${folder.root} has ${runningHosts} hosts, fewer than ${hosts}.`, [TOO_FEW]);
  return running(folder.kubeconfigFile);
};

/** Refuses a platform that has fewer hosts than the replay was told to need. */
export const checkHosts = (platform: ChosenPlatform, found: number, hosts: number | undefined): void => {
  if (hosts !== undefined && found < hosts)
    throw new UserError(`the platform of ${platform.kubeconfig} has ${found} hosts, fewer than ${hosts}.`, [TOO_FEW]);
};

/** `--kubeconfig` or `--data` name a platform; else the one that runs on the default folder, if it has the wished hosts; else a temporary one. */
export const choosePlatform = async (choice: PlatformChoice): Promise<ChosenPlatform> => {
  const { kubeconfig, data, hosts } = choice;
  if (kubeconfig !== undefined && data !== undefined)
    throw new UserError('--kubeconfig and --data both name a platform.', ['Leave one of them out.']);
  if (kubeconfig !== undefined) return running(kubeconfig);
  const folder = dataFolder(data);
  const state = await readRunState(folder);
  const runningHosts = supervisorRuns(state) && existsSync(folder.kubeconfigFile) ? state.hosts : null;
  if (data !== undefined) return namedByFolder(folder, runningHosts, hosts);
  if (runningHosts !== null) {
    if (hosts === undefined || runningHosts >= hosts) return running(folder.kubeconfigFile);
    say(`the platform that runs on ${folder.root} has ${runningHosts} hosts, fewer than ${hosts}`);
  }
  if (hosts !== undefined) return startTemporary(hosts);
  throw new UserError(`no platform runs on ${folder.root}.`, [
    `Start one with '${commandFor(folder, 'up --detach')}',`,
    'or say how many hosts a temporary one shall have with --hosts N,',
    'or name another with --kubeconfig FILE.',
  ]);
};
