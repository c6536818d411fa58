import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import {
  GenericContainer,
  getContainerRuntimeClient,
  type StartedTestContainer,
  type WaitStrategy,
} from 'testcontainers';
import { freePort, queryOnce, type TestServer } from './test-server.js';

/** The versions that `./xenolith up` brings; deploy/docker/bases makes them where they can't be pulled. */
export const POSTGRES_IMAGE = 'postgres:18.4';
export const NATS_IMAGE = 'nats:2.14.0';

/** Starting a container took 8 s at most on a loaded two-core machine; beyond this it is broken. */
const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 10_000;
const POLL_MS = 50;
const LOG_LINES_SHOWN = 40;
const PASSWORD = 'xenolith';

const pause = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Removes what bears the label when our standard input closes, in a session of its own: Ctrl-C and a killed test process end with it, too. */
const CLEANER = `read -r _
"$0" ps -aq --filter "label=$1" | xargs -r "$0" rm -fv
"$0" network ls -q --filter "label=$1" | xargs -r "$0" network rm`;

let runLabel: Readonly<Record<string, string>> | undefined;

/** The label of all that this process starts. Whatever bears it ends when the process does, however it does. */
export const testRunLabel = (): Readonly<Record<string, string>> => {
  if (runLabel !== undefined) return runLabel;
  const id = randomUUID();
  const docker = process.env['DOCKER'] ?? 'docker';
  const cleaner = spawn('/bin/sh', ['-c', CLEANER, docker, `dev.xenolith.test-run=${id}`], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  cleaner.on('error', (fault) => {
    throw new Error('nothing would remove the containers of these tests', { cause: fault });
  });
  cleaner.unref();
  // The pipe must not keep the process that it watches.
  (cleaner.stdin as unknown as { unref?: () => void }).unref?.();
  runLabel = { 'dev.xenolith.test-run': id };
  return runLabel;
};

/** The engine's stream in frames: a header of eight bytes, the last four of them the length, then so much text. */
const FRAME_HEADER_BYTES = 8;

const textOf = (stream: Buffer): string => {
  const parts: string[] = [];
  for (let at = 0; at + FRAME_HEADER_BYTES <= stream.length;) {
    const start = at + FRAME_HEADER_BYTES;
    at = start + stream.readUInt32BE(at + 4);
    parts.push(stream.toString('utf8', start, at));
  }
  return parts.join('');
};

/** The last lines that a container wrote, its image before each: what a failure shows. */
export const logEnd = async (containerId: string): Promise<string> => {
  const { container } = await getContainerRuntimeClient();
  const handle = container.getById(containerId);
  const { Config, State } = await container.inspect(handle);
  const raw = await handle.logs({ stdout: true, stderr: true, tail: LOG_LINES_SHOWN });
  const text = textOf(raw);
  const lines = text.trimEnd().split('\n');
  return [`${State.Status}, exit code ${State.ExitCode}`, ...lines]
    .map((line) => `${Config.Image}: ${line}`)
    .join('\n');
};

/** Ready when `ready` says so; fails with the container's last lines when it ends before that, or takes too long. */
export class ReadyWhen implements WaitStrategy {
  private limitMs = START_LIMIT_MS;

  constructor(private readonly ready: () => Promise<boolean>) {}

  async waitUntilReady(container: { readonly id: string }): Promise<void> {
    const client = await getContainerRuntimeClient();
    const until = Date.now() + this.limitMs;
    while (!(await this.ready())) {
      const { State } = await client.container.inspect(client.container.getById(container.id));
      if (!State.Running) throw new Error(`the container ended while it started\n${await logEnd(container.id)}`);
      if (Date.now() > until) throw new Error(`the container was not ready in time\n${await logEnd(container.id)}`);
      await pause(POLL_MS);
    }
  }

  withStartupTimeout(startupTimeoutMs: number): this {
    this.limitMs = startupTimeoutMs;
    return this;
  }

  isStartupTimeoutSet(): boolean {
    return true;
  }

  getStartupTimeout(): number {
    return this.limitMs;
  }
}

/** A container whose ports this machine alone can reach: tests use passwords that everybody knows. */
export class LoopbackContainer extends GenericContainer {
  /** Ports of the container, each with the one of this machine that it keeps over restarts. */
  withLoopbackPorts(ports: Readonly<Record<number, number>>): this {
    const all = Object.entries(ports);
    this.withExposedPorts(...all.map(([container, host]) => ({ container: Number(container), host })));
    this.hostConfig.PortBindings = Object.fromEntries(
      all.map(([container, host]) => [`${container}/tcp`, [{ HostIp: '127.0.0.1', HostPort: String(host) }]]),
    );
    return this;
  }
}

/** SIGKILL; settles when the container has ended. */
export const killContainer = async (containerId: string): Promise<void> => {
  const { container } = await getContainerRuntimeClient();
  const handle = container.getById(containerId);
  if (!(await container.inspect(handle)).State.Running) return;
  const ended = handle.wait();
  await handle.kill({ signal: 'SIGKILL' });
  await ended;
};

const serverOf = (url: string, container: StartedTestContainer): TestServer => ({
  url,
  pid: () => undefined,
  kill: () => killContainer(container.getId()),
  restart: () => container.restart({ timeout: STOP_LIMIT_MS }),
  stop: async () => {
    await container.stop({ timeout: STOP_LIMIT_MS });
  },
});

/** NATS speaks first; the engine's proxy takes connections before the server does, so that only the greeting tells. */
const greets = async (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const settle = (greeted: boolean): void => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once('data', (greeting) => settle(greeting.toString().startsWith('INFO ')));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
  });

/** PostgreSQL in a container, on a port that it keeps over restarts; its data end with it. */
export const startPostgresContainer = async (settings: Readonly<Record<string, string>>): Promise<TestServer> => {
  const port = await freePort();
  const url = `postgresql://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`;
  const container = await new LoopbackContainer(POSTGRES_IMAGE)
    .withLabels(testRunLabel())
    // A killed container loses nothing that was not flushed; a killed machine would.
    .withEnvironment({ POSTGRES_PASSWORD: PASSWORD, POSTGRES_INITDB_ARGS: '--no-sync' })
    .withCommand(['postgres', ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])])
    .withLoopbackPorts({ 5432: port })
    .withWaitStrategy(new ReadyWhen(() => queryOnce(url, 'select 1')))
    .start();
  return serverOf(url, container);
};

/** nats-server with JetStream in a container, on a port that it keeps over restarts. */
export const startNatsContainer = async (): Promise<TestServer> => {
  const port = await freePort();
  const container = await new LoopbackContainer(NATS_IMAGE)
    .withLabels(testRunLabel())
    .withCommand(['--jetstream', '--store_dir', '/jetstream'])
    .withLoopbackPorts({ 4222: port })
    .withWaitStrategy(new ReadyWhen(() => greets(port)))
    .start();
  return serverOf(`nats://127.0.0.1:${port}`, container);
};
