import { dataFolder } from '../folders.js';
import { identityOf, isAlive } from '../process-identity.js';
import { countProfiled, createDataFolder } from '../settings.js';
import { messageOf, UserError } from '../terminal.js';
import { lockDataFolder } from './data-folder-lock.js';
import { supervisorOrder, toSupervisor, type FromSupervisor, type StartOrder } from './messages.js';
import { prepare, startPlatform, type Preparation } from './platform.js';
import { Supervisor } from './supervisor.js';

const order: StartOrder = {
  ...supervisorOrder.parse(JSON.parse(process.argv[2] ?? '{}')),
  databaseUrl: process.env['DATABASE_URL'] || undefined,
  natsUrl: process.env['NATS_URL'] || undefined,
};
const folder = dataFolder(order.data);
let supervisor: Supervisor | null = null;
let preparing: Promise<Preparation> | null = null;
let stopping: Promise<void> | null = null;
let detached = false;

const isStopping = (): boolean => stopping !== null;

const tell = (message: FromSupervisor): void => {
  // The starter may be gone at any moment; nobody is left to be told then.
  if (process.connected) process.send?.(message, () => undefined);
};

const leave = (code: number): void => {
  if (process.connected) process.disconnect();
  process.exit(code);
};

const endEverything = async (): Promise<void> => {
  // A database that is being created is finished first: it takes a second, and half of one would be in the way.
  await preparing?.catch(() => undefined);
  await supervisor?.stop((names) => tell({ type: 'stopping', text: names.join(', ') }));
};

const stop = async (code: number): Promise<void> => {
  stopping ??= endEverything();
  await stopping;
  leave(code);
};

const stopOnSignal = (): void => {
  // Asked a second time: at once. Postgres and NATS recover at their next start.
  if (isStopping()) supervisor?.kill();
  void stop(0);
};

process.on('SIGTERM', stopOnSignal);
process.on('SIGINT', stopOnSignal);
process.on('SIGHUP', () => undefined);
process.on('disconnect', () => {
  if (!detached) stopOnSignal();
});
process.on('message', (raw) => {
  const message = toSupervisor.parse(raw);
  if (message.type === 'stop') stopOnSignal();
  else {
    detached = true;
    process.disconnect();
  }
});

const OWNER_POLL_MS = 1_000;

/** Ends the platform when its owner has ended, in whatever way. */
const followOwner = (pid: number): void => {
  const owner = identityOf(pid);
  setInterval(() => {
    if (!isAlive(owner) && !isStopping()) stopOnSignal();
  }, OWNER_POLL_MS).unref();
};

const run = async (): Promise<void> => {
  preparing = prepare(folder, order, tell);
  const preparation = await preparing;
  if (isStopping()) return;
  const { port, hosts, kvmHosts = 0, hostProfiles } = preparation.settings;
  supervisor = new Supervisor(folder, { port, hosts, kvmHosts, profiledHosts: countProfiled(hostProfiles) });
  await startPlatform(folder, preparation, supervisor, tell);
  tell({ type: 'ready' });
};

const fail = async (thrown: unknown): Promise<void> => {
  if (isStopping()) return;
  const advice = thrown instanceof UserError ? thrown.advice : [];
  const message = thrown instanceof UserError || !(thrown instanceof Error) ? messageOf(thrown) : (thrown.stack ?? '');
  process.stderr.write(`${message}\n`);
  tell({ type: 'failed', message, advice: [...advice] });
  await stop(1);
};

try {
  await createDataFolder(folder);
  // The lock is held for the life of the process.
  const lock = await lockDataFolder(folder.root);
  if (order.ownerPid !== undefined) followOwner(order.ownerPid);
  if (lock === null) tell({ type: 'taken' });
  else await run();
  if (lock === null) leave(1);
} catch (thrown) {
  await fail(thrown);
}
