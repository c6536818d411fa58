import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../../..');
/** The program, as users call it. */
export const XENOLITH = join(ROOT, 'xenolith');
/** A first start unpacks and builds; later ones take seconds. */
const UP_LIMIT_MS = 540_000;
const COMMAND_LIMIT_MS = 300_000;
const POLL_MS = 100;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessStatus {
  readonly name: string;
  readonly pid: number;
}

/** A platform of its own: another data folder, another port. */
export interface Platform {
  readonly data: string;
  readonly kubeconfig: string;
  readonly port: number;
  /** Runs kubectl; throws with its output when it fails. */
  kubectl(...args: readonly string[]): Promise<string>;
  /** Runs kubectl with `input` on its standard input. */
  apply(manifest: string, ...args: readonly string[]): Promise<string>;
  /** Runs kubectl and gives its exit code and output, whatever they are. */
  tryKubectl(...args: readonly string[]): Promise<Finished>;
  /** Runs `./xenolith` on this platform. */
  xenolith(...args: readonly string[]): Promise<Finished>;
  json<Value>(...args: readonly string[]): Promise<Value>;
  processes(): Promise<readonly ProcessStatus[]>;
  down(): Promise<void>;
}

export const finish = (
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; input?: string; limitMs?: number } = {},
): Promise<Finished> =>
  new Promise((done) => {
    const child = execFile(
      command,
      [...args],
      {
        cwd: ROOT,
        env: { ...process.env, ...options.env },
        timeout: options.limitMs ?? COMMAND_LIMIT_MS,
        maxBuffer: 256 * 2 ** 20,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        done({ code, stdout, stderr });
      },
    );
    child.stdin?.end(options.input ?? '');
  });

export const freePort = (): Promise<number> =>
  new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        done(address !== null && typeof address === 'object' ? address.port : 0);
      });
    });
  });

const orThrow = (what: string, finished: Finished): string => {
  if (finished.code !== 0)
    throw new Error(`${what} ended with ${finished.code}\n${finished.stdout}\n${finished.stderr}`);
  return finished.stdout;
};

/** Starts a platform as a user does, with `./xenolith up --detach`. */
export const startPlatform = async (
  options: { hosts: number; args?: readonly string[]; env?: NodeJS.ProcessEnv } = { hosts: 4 },
): Promise<Platform> => {
  const data = await mkdtemp(join(tmpdir(), 'xenolith-e2e-'));
  const port = await freePort();
  const xenolith = XENOLITH;
  const env = { ...options.env };
  const up = await finish(
    xenolith,
    [
      'up',
      '--hosts',
      String(options.hosts),
      '--port',
      String(port),
      '--data',
      data,
      '--detach',
      ...(options.args ?? []),
    ],
    {
      env,
      limitMs: UP_LIMIT_MS,
    },
  );
  orThrow('xenolith up', up);
  const kubeconfig = join(data, 'kubeconfig');
  const run = (args: readonly string[], input?: string): Promise<Finished> =>
    finish(xenolith, ['kubectl', '--data', data, ...args], {
      env: { ...env, KUBECONFIG: kubeconfig },
      ...(input === undefined ? {} : { input }),
    });
  const platform: Platform = {
    data,
    kubeconfig,
    port,
    kubectl: async (...args) => orThrow(`kubectl ${args.join(' ')}`, await run(args)),
    apply: async (manifest, ...args) => orThrow('kubectl apply', await run(['apply', '-f', '-', ...args], manifest)),
    tryKubectl: (...args) => run(args),
    xenolith: (...args) => finish(xenolith, [...args, '--data', data], { env }),
    json: async <Value>(...args: readonly string[]) =>
      JSON.parse(await platform.kubectl(...args, '-o', 'json')) as Value,
    processes: async () => {
      const status = await finish(xenolith, ['status', '-o', 'json', '--data', data], { env });
      return (JSON.parse(status.stdout) as { processes: ProcessStatus[] }).processes;
    },
    down: async () => {
      orThrow('xenolith down', await finish(xenolith, ['down', '--data', data], { env }));
      await rm(data, { recursive: true, force: true });
    },
  };
  return platform;
};

/** Settles when `condition` holds; fails with `what` after `limitMs`. */
export const eventually = async (what: string, condition: () => Promise<boolean>, limitMs = 120_000): Promise<void> => {
  const until = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > until) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
};

/** Follows a command's output until it is stopped. */
export const follow = (
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): { readonly lines: string[]; stop(): Promise<void> } => {
  const child = spawn(command, [...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const lines: string[] = [];
  child.stdout
    .setEncoding('utf8')
    .on('data', (chunk: string) => lines.push(...chunk.split('\n').filter((line) => line !== '')));
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  return {
    lines,
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
};

export { readFile, ROOT };
