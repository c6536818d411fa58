import type { DataFolder } from '../folders.js';
import { ensureTokens, kubeconfig, type Access } from '../platform/access.js';
import { ensureBusUsers } from '../platform/bus-users.js';
import { ensureCertificates } from '../platform/certificates.js';
import { applyInventory, readInventory, starterFolder } from '../platform/starter-inventory.js';
import { endLeftovers, readRunState } from '../run-state.js';
import {
  createDataFolder,
  mergeSettings,
  readSettings,
  writePrivateFile,
  writeSettings,
  type Settings,
} from '../settings.js';
import { UserError } from '../terminal.js';
import { migrateDatabase, platformDatabase } from './database.js';
import type { FromSupervisor, StartOrder } from './messages.js';
import { natsUrl, prepareNats } from './nats.js';
import { checkDatabase, checkNats, requireSameDatabase, type OwnDatabase } from './own-servers.js';
import { assignPorts, isPortFree } from './ports.js';
import { preparePostgres } from './postgres.js';
import type { ProcessPlan } from './process-plan.js';
import { NODE_PROCESSES, servicePlan } from './services.js';
import type { Supervisor } from './supervisor.js';

/** What is not ready and says the same for so long won't be; on a slow disk Postgres' recovery after a crash may take as long. */
const PATIENCE_MS = 120_000;
/** One that ends this often before it was ever ready will not become so by trying on. */
const HOPELESS_RESTARTS = 5;

/** A start that takes longer than this has something to say for itself. */
const REPORT_EVERY_MS = 10_000;

export type Tell = (message: FromSupervisor) => void;

/** All that is needed to start the processes. */
export interface Preparation {
  readonly settings: Settings;
  readonly access: Access;
  readonly servers: readonly ProcessPlan[];
  /** Brings the database up to this release; between servers and services. */
  readonly migrate: () => Promise<void>;
  readonly services: readonly ProcessPlan[];
}

const timed = async <Value>(tell: Tell, text: string, work: () => Promise<Value>): Promise<Value> => {
  const started = performance.now();
  tell({ type: 'waiting', text });
  const value = await work();
  tell({ type: 'step', text, durationMs: performance.now() - started });
  return value;
};

const requireFreePort = async (port: number): Promise<void> => {
  if (await isPortFree(port)) return;
  throw new UserError(`port ${port} is taken by another program.`, [
    `Choose another one with --port, or find out who has it with: ss -ltnp 'sport = :${port}'`,
  ]);
};

const endOldProcesses = async (folder: DataFolder, tell: Tell): Promise<void> => {
  const before = await readRunState(folder);
  if (before === null) return;
  const ended = await endLeftovers(before);
  if (ended > 0)
    tell({ type: 'warning', text: `the last run was cut short; ended what was left of it (processes: ${ended})` });
};

/** Servers that people bring are looked at first: what is wrong with them is said at once, not by each service in turn. */
const checkOwnServers = async (order: StartOrder, variables: Record<string, string>): Promise<OwnDatabase | null> => {
  const [database] = await Promise.all([
    order.databaseUrl === undefined ? null : checkDatabase(order.databaseUrl),
    order.natsUrl === undefined ? null : checkNats(order.natsUrl, variables),
  ]);
  return database;
};

const variablesFrom = (environment: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );

/** Folder, settings, ports, certificates and database files: everything before the first process. */
export const prepare = async (folder: DataFolder, order: StartOrder, tell: Tell): Promise<Preparation> => {
  await createDataFolder(folder);
  await endOldProcesses(folder, tell);
  const stored = await readSettings(folder);
  const database = order.databaseUrl === undefined ? 'embedded' : 'own';
  requireSameDatabase(folder.root, stored?.database, database);
  const inherited = variablesFrom(process.env);
  const ownDatabase = await checkOwnServers(order, inherited);
  if (ownDatabase?.mayMakeRoles === false)
    tell({
      type: 'warning',
      text: 'the user of DATABASE_URL may not make roles (CREATEROLE): all services log in as that user, and may do what it may',
    });
  const { hosts, kvmHosts, hostProfiles, port, bootTimeSeconds, seed } = order;
  const merged = mergeSettings(stored, { hosts, kvmHosts, hostProfiles, port, bootTimeSeconds, seed });
  await requireFreePort(merged.port);
  const names = ['postgres', 'nats', 'nats-monitor', ...NODE_PROCESSES];
  const settings: Settings = { ...merged, database, ports: await assignPorts(names, merged.ports, [merged.port]) };
  await writeSettings(folder, settings);
  const portOf = (name: string): number => settings.ports[name] ?? 0;

  const authority = await ensureCertificates(folder);
  const access = { url: `https://127.0.0.1:${settings.port}`, authority, token: await ensureTokens(folder) };
  await writePrivateFile(folder.kubeconfigFile, kubeconfig(access));

  const servers: ProcessPlan[] = [];
  if (order.databaseUrl === undefined) {
    const text = stored === null ? 'creating the database' : 'looking at the database';
    servers.push(await timed(tell, text, () => preparePostgres(folder, portOf('postgres'), settings.databasePassword)));
  }
  if (order.natsUrl === undefined)
    servers.push(
      await prepareNats(
        folder,
        { clients: portOf('nats'), monitor: portOf('nats-monitor') },
        await ensureBusUsers(folder, settings),
      ),
    );
  const platform = await platformDatabase(folder, settings, ownDatabase);
  const context = {
    folder,
    settings,
    database: platform,
    natsUrl: order.natsUrl ?? natsUrl(portOf('nats')),
    ownNats: order.natsUrl === undefined,
    ...(order.otlpUrl === undefined ? {} : { otlpUrl: order.otlpUrl }),
    ports: settings.ports,
    inherited,
  };
  const migrate = (): Promise<void> => migrateDatabase(folder, platform, inherited);
  return { settings, access, servers, migrate, services: NODE_PROCESSES.map((name) => servicePlan(name, context)) };
};

/** Says now and then what a slow start waits for. */
const reportWaiting = (supervisor: Supervisor, names: readonly string[], tell: Tell): NodeJS.Timeout =>
  setInterval(() => {
    const missing = [...supervisor.notReady()].filter(([name]) => names.includes(name));
    if (missing.length > 0)
      tell({ type: 'waiting', text: `waiting for ${missing.map(([name, why]) => `${name} (${why})`).join(', ')}` });
  }, REPORT_EVERY_MS);

const bringUp = async (supervisor: Supervisor, plans: readonly ProcessPlan[], tell: Tell): Promise<void> => {
  const names = plans.map(({ name }) => name);
  await supervisor.start(plans);
  const hopeless = (): boolean => names.some((name) => supervisor.restartsOf(name) >= HOPELESS_RESTARTS);
  const reports = reportWaiting(supervisor, names, tell);
  const ready = await supervisor.waitForReady(names, { patienceMs: PATIENCE_MS, giveUp: hopeless });
  clearInterval(reports);
  if (ready) return;
  const missing = [...supervisor.notReady()].filter(([name]) => names.includes(name));
  throw new UserError(
    `not everything became ready: ${missing.map(([name, why]) => `${name} (${why})`).join(', ')}.`,
    missing.map(([name]) => `logs:${name}`),
  );
};

const loadStarterInventory = async (folder: DataFolder, preparation: Preparation, tell: Tell): Promise<void> => {
  const inventory = await readInventory(starterFolder);
  if (preparation.settings.starterInventory === inventory.hash) return;
  const refusals = await timed(tell, 'loading the starter inventory', () =>
    applyInventory(preparation.access, inventory),
  );
  for (const refusal of refusals)
    tell({ type: 'warning', text: `the starter inventory was not loaded whole: ${refusal}` });
  if (refusals.length === 0) await writeSettings(folder, { ...preparation.settings, starterInventory: inventory.hash });
};

/** Starts everything and settles when it is ready to use. */
export const startPlatform = async (
  folder: DataFolder,
  preparation: Preparation,
  supervisor: Supervisor,
  tell: Tell,
): Promise<void> => {
  const { servers, services } = preparation;
  if (servers.length > 0) {
    const names = servers.map(({ name }) => name).join(' and ');
    await timed(tell, `starting ${names}`, () => bringUp(supervisor, servers, tell));
  }
  await timed(tell, 'migrating the database', preparation.migrate);
  const names = services.map(({ name }) => name).join(', ');
  await timed(tell, `starting ${names}`, () => bringUp(supervisor, services, tell));
  await loadStarterInventory(folder, preparation, tell);
  await supervisor.watch();
};
