import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { configOf } from '@xenolith/agent/conformance';
import { AGENT_SOCKET, agentSubject, commandSubject } from '@xenolith/contracts';
import { ok, uuidFrom, type CommandMessage, type JsonObject } from '@xenolith/kernel';
import { openMessageBus, type NatsMessageBus } from '@xenolith/messaging';
import { startNats, type TestServer } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const AGENT = path.resolve(import.meta.dirname, '../../dist/agent.js');
const LIMIT_MS = 30_000;
const VM = uuidFrom('host-socket', 'vm');
let nats: TestServer;
let bus: NatsMessageBus;
let folder: string;
let agent: ChildProcess;
const reports: CommandMessage[] = [];

const until = (condition: () => Promise<void>): Promise<void> =>
  vi.waitFor(condition, { timeout: LIMIT_MS, interval: 20 });

const ask = async (
  method: 'GET' | 'POST',
  target: string,
  body?: string,
): Promise<{ status: number | undefined; body: Record<string, unknown> }> => {
  const asked = request({ socketPath: path.join(folder, AGENT_SOCKET), path: target, method });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
  return { status: response.statusCode, body: JSON.parse(text) as Record<string, unknown> };
};

const xl = async (...args: string[]): Promise<Record<string, unknown>> =>
  (await ask('POST', '/hosts/host-0001/xl', JSON.stringify({ args }))).body;

/** A real process, as `up` starts it; it answers directly when this settles. */
const begin = async (): Promise<void> => {
  agent = fork(AGENT, {
    // It runs what is built, as a platform does.
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: {
      PATH: process.env['PATH'],
      NATS_URL: nats.url,
      AGENT_DATA_DIR: folder,
      AGENT_HOSTS: '2',
      AGENT_BOOT_TIME: '3',
    },
  });
  await until(async () => {
    expect((await ask('GET', '/hosts')).status).toBe(200);
  });
};

const kill = async (): Promise<void> => {
  if (agent.exitCode !== null) return;
  const gone = once(agent, 'exit');
  agent.kill('SIGKILL');
  await gone;
};

const command = (type: string, data: JsonObject): CommandMessage => {
  const commandId = uuidFrom('host-socket', type);
  const ids = { commandId, correlationId: commandId, causationId: commandId };
  return { ...ids, type, streamId: VM, data, actor: 'process:operation', at: Date.now() };
};

const serveCompute = async (): Promise<void> => {
  bus = await openMessageBus({ natsUrl: nats.url, name: 'compute' });
  await bus.serve(commandSubject('compute', 'RegisterHost'), () => Promise.resolve(ok({})));
  await bus.serve(commandSubject('compute', 'ReportDomainStopped'), (message) => {
    reports.push(message);
    return Promise.resolve(ok({}));
  });
};

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'xenolith-socket-'));
  nats = await startNats();
  await serveCompute();
  await begin();
});
afterAll(async () => {
  await kill();
  await bus.close();
  await nats.stop();
  await rm(folder, { recursive: true });
});

describe("the agent's own socket", () => {
  it('is for its owner alone', async () => {
    expect((await stat(path.join(folder, AGENT_SOCKET))).mode & 0o777).toBe(0o600);
  });

  it('lists the hosts, and refuses what it does not know', async () => {
    expect((await ask('GET', '/hosts')).body).toEqual({
      hosts: [
        { name: 'host-0001', up: true },
        { name: 'host-0002', up: true },
      ],
    });
    const call = JSON.stringify({ args: ['list'] });
    const statuses = await Promise.all([
      ask('POST', '/hosts/host-9/xl', call),
      ask('POST', '/hosts/host-0001/rm', call),
      ask('POST', '/hosts/host-0001/xl', 'no JSON'),
      ask('POST', '/hosts/host-0001/xl', JSON.stringify({ args: 'list' })),
      ask('GET', '/hosts/host-0001/xl'),
      ask('POST', '/hosts/%zz/xl', call),
    ]);
    expect(statuses.map(({ status }) => status)).toEqual([404, 404, 400, 400, 404, 404]);
  });

  it('shuts a machine down that the control plane started, tells of it once, and is there though it was killed and has no bus', async () => {
    const start = command('StartDomain', { incarnation: 1, paused: false, config: configOf('web-1') });
    await until(async () => {
      const reply = await bus.request(agentSubject('host-0001', 'StartDomain'), start, { timeoutMs: LIMIT_MS });
      expect(reply.ok).toBe(true);
    });
    await bus.close();
    await nats.kill();
    expect(await xl('shutdown', 'web-1')).toEqual({
      stdout: '',
      stderr: 'Shutting down domain 1\n',
      exitCode: 0,
    });
    await kill();
    // The socket of the killed one lies there still.
    expect((await stat(path.join(folder, AGENT_SOCKET))).isSocket()).toBe(true);
    await begin();
    await until(async () => {
      expect((await xl('list', 'web-1'))['stderr']).toBe('web-1 is an invalid domain identifier (rc=-6)\n');
    });
    await nats.restart();
    await serveCompute();
    await until(() => {
      expect(reports).not.toEqual([]);
      return Promise.resolve();
    });
    expect(new Set(reports.map(({ commandId }) => commandId)).size).toBe(1);
    expect(reports[0]).toMatchObject({
      streamId: VM,
      data: { incarnation: 1, reason: 'poweroff', direct: { command: 'xl shutdown', hard: false } },
    });
  });
});
