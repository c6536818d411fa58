import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect, nkeys, PermissionViolationError, type NatsConnection } from '@nats-io/transport-node';
import { agentSubject, commandSubject, inboxPrefix, SERVICE_NAMES, telemetrySubject } from '@xenolith/contracts';
import { freePort } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dataFolder, type DataFolder } from '../folders.js';
import { lookAtBus } from '../doctor/bus.js';
import { AGENT_USER, ensureBusUsers, seedFile } from '../platform/bus-users.js';
import { authorityFile, ensureCertificates } from '../platform/certificates.js';
import { createDataFolder, writePrivateFile } from '../settings.js';
import { waitUntil } from '../waiting.js';
import { natsUrl, prepareNats } from './nats.js';

const START_LIMIT_MS = 20_000;
// As the program does, which has no use for it beside a server of its own.
const { connectionSecurity } = await import('@xenolith/messaging');

const HOSTS = 2;
const USERS = [...SERVICE_NAMES, AGENT_USER];

let folder: DataFolder;
let url: string;
let monitor: number;
let server: ChildProcess;
const connections = new Map<string, NatsConnection>();

const login = (user: string, more: object = {}): Promise<NatsConnection> =>
  connect({
    servers: url,
    reconnect: false,
    inboxPrefix: inboxPrefix(user),
    ...connectionSecurity(url, { caFile: authorityFile(folder), nkeyFile: seedFile(folder, user) }),
    ...more,
  });

beforeAll(async () => {
  folder = dataFolder(await mkdtemp(path.join(tmpdir(), 'xenolith-nats-users-')));
  await createDataFolder(folder);
  await ensureCertificates(folder);
  const ports = { clients: await freePort(), monitor: await freePort() };
  const plan = await prepareNats(folder, ports, await ensureBusUsers(folder, { hosts: HOSTS }));
  server = spawn(plan.command, plan.args, { cwd: plan.cwd, stdio: 'ignore' });
  url = natsUrl(ports.clients);
  monitor = ports.monitor;
  const ready = await waitUntil(async () => (await plan.checkReady()) === null, {
    timeoutMs: START_LIMIT_MS,
    everyMs: 20,
  });
  expect(ready).toBe(true);
  for (const user of USERS) connections.set(user, await login(user));
});

afterAll(async () => {
  for (const connection of connections.values()) await connection.close();
  const ended = once(server, 'exit');
  server.kill('SIGTERM');
  await ended;
  await rm(folder.root, { recursive: true, force: true });
});

/** Whether the server takes what the user does; it answers in order, so that a flush brings its refusal. */
const isRefused = async (user: string, act: (connection: NatsConnection) => void): Promise<boolean> => {
  const connection = connections.get(user);
  if (!connection) throw new Error(`nobody is ${user}`);
  let refused = false;
  const statuses = connection.status();
  const watching = (async () => {
    for await (const status of statuses)
      if (status.type === 'error' && status.error instanceof PermissionViolationError) refused = true;
  })();
  act(connection);
  await connection.flush();
  await connection.flush();
  (statuses as unknown as { stop(): void }).stop();
  await watching;
  return refused;
};

const mayPublish = async (subject: string): Promise<readonly string[]> => {
  const able: string[] = [];
  for (const user of USERS)
    if (!(await isRefused(user, (connection) => connection.publish(subject, 'x')))) able.push(user);
  return able;
};

const maySubscribe = async (subject: string): Promise<readonly string[]> => {
  const able: string[] = [];
  for (const user of USERS)
    if (!(await isRefused(user, (connection) => void connection.subscribe(subject, { callback: () => undefined }))))
      able.push(user);
  return able;
};

describe('publishing', () => {
  it.each([
    ['only compute commands hosts', agentSubject('host-0001', 'StartDomain'), ['compute']],
    ['tools of hosts are run by the gateway, too', agentSubject('host-0001', 'RunTool'), ['gateway', 'compute']],
    [
      'hosts of a migration talk to each other',
      agentSubject('host-0002', 'DeliverMigrationMessage'),
      ['compute', AGENT_USER],
    ],
    ['only its agent speaks for a host', telemetrySubject('host-0001'), [AGENT_USER]],
    ['an agent speaks for no host of another', telemetrySubject('host-0003'), []],
    ['hosts register with compute', commandSubject('compute', 'RegisterHost'), ['compute', AGENT_USER]],
    [
      'users change machines through the gateway',
      commandSubject('compute', 'ChangeVirtualMachine'),
      ['gateway', 'compute'],
    ],
    ['volumes are provisioned by compute', commandSubject('storage', 'ProvisionVolume'), ['compute', 'storage']],
    ['ports are provisioned by compute', commandSubject('network', 'ProvisionPort'), ['compute', 'network']],
    ['places are given by the scheduler', commandSubject('scheduler', 'PlaceVirtualMachine'), ['compute', 'scheduler']],
    ['operations are begun by the scheduler', commandSubject('compute', 'StartOperation'), ['compute', 'scheduler']],
    ['nobody else decides about tenants', commandSubject('gateway', 'AnythingAtAll'), ['gateway']],
    ['schedulers tell each other that they are there', 'membership.scheduler', ['scheduler']],
    ['agents do not write the feed', 'log.batches', [...SERVICE_NAMES]],
    ['agents make no stream', '$JS.API.STREAM.CREATE.LOG', [...SERVICE_NAMES]],
    ['nobody makes other streams', '$JS.API.STREAM.CREATE.OTHER', []],
    ['nobody reads other streams', '$JS.API.CONSUMER.CREATE.OTHER.x', []],
    ['nobody purges the feed', '$JS.API.STREAM.PURGE.LOG', []],
    [
      'compute is replied to by whom it asks',
      '_INBOX.compute.x',
      ['compute', 'storage', 'network', 'scheduler', AGENT_USER],
    ],
    ['the scheduler is replied to by whom it asks', '_INBOX.scheduler.x', ['compute', 'scheduler']],
    ['anything else is refused', 'whatever', []],
  ])('%s: %s', async (_fact, subject, users) => {
    expect(await mayPublish(subject)).toEqual(users);
  });
});

describe('listening', () => {
  it.each([
    ['cmd.compute.*', ['compute']],
    ['cmd.storage.ProvisionVolume', ['storage']],
    ['cmd.>', []],
    ['query.scheduler.*', ['scheduler']],
    ['agent.host-0001.*', [AGENT_USER]],
    ['agent.host-0003.*', []],
    ['agent.>', []],
    ['telemetry.*', ['gateway', 'compute', 'scheduler']],
    ['log.appended', [...SERVICE_NAMES]],
    ['log.batches', []],
    ['_INBOX.compute.>', ['compute']],
    ['_INBOX.agent.>', []],
    ['_INBOX.agent.default.>', [AGENT_USER]],
    ['_INBOX.>', []],
    ['>', []],
    ['$SYS.>', []],
    ['$JS.EVENT.>', []],
  ])('to %s is for %j', async (subject, users) => {
    expect(await maySubscribe(subject)).toEqual(users);
  });
});

describe('the doctor', () => {
  it('finds that the feed is missing', async () => {
    expect((await lookAtBus(monitor, 'logs')).map(({ level, says }) => `${level}: ${says}`)).toEqual([
      expect.stringMatching(/^error: the feed of the log is not there/),
      "ok: 0 % of JetStream's memory is used",
    ]);
  });

  it('finds a server that does not answer', async () => {
    expect((await lookAtBus(await freePort(), 'logs')).map(({ level }) => level)).toEqual(['error']);
  });
});

describe('the door', () => {
  it('is closed to who proves nothing', async () => {
    await expect(connect({ servers: url, reconnect: false, tls: { caFile: authorityFile(folder) } })).rejects.toThrow(
      /authorization/i,
    );
  });

  it('is closed to a key that the server does not know', async () => {
    const stranger = path.join(folder.secrets, 'stranger.nk');
    await writePrivateFile(stranger, new TextDecoder().decode(nkeys.createUser().getSeed()));
    const security = connectionSecurity(url, { caFile: authorityFile(folder), nkeyFile: stranger });
    await expect(connect({ servers: url, reconnect: false, ...security })).rejects.toThrow(/authorization/i);
  });

  it('is not entered when the server proves to be another', async () => {
    const security = connectionSecurity(url, { nkeyFile: seedFile(folder, 'compute') });
    await expect(connect({ servers: url, reconnect: false, ...security })).rejects.toThrow(/certificate/i);
  });

  it('keeps seeds from other users, and holds none in the configuration', async () => {
    const configuration = await readFile(path.join(folder.nats, 'nats.conf'), 'utf8');
    for (const user of USERS) {
      const file = seedFile(folder, user);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect(configuration).not.toContain((await readFile(file, 'utf8')).trim());
    }
    expect((await stat(folder.secrets)).mode & 0o777).toBe(0o700);
  });

  it('keeps its keys over starts, and makes anew those that are damaged', async () => {
    const before = await ensureBusUsers(folder, { hosts: HOSTS });
    await writePrivateFile(seedFile(folder, 'storage'), 'nonsense');
    const after = await ensureBusUsers(folder, { hosts: HOSTS });
    const changed = after.filter(({ publicKey }, index) => publicKey !== before[index]?.publicKey);
    expect(changed.map(({ name }) => name)).toEqual(['storage']);
  });
});
