import { uuidFrom } from '@xenolith/kernel';
import {
  emulatedHostModel,
  timingFor,
  type DomainSettings,
  type EmulatedHostState,
  type HostInput,
} from '@xenolith/xen';
import {
  beginSource,
  beginTarget,
  createXenstore,
  stepSource,
  stepTarget,
  Xenstore,
  type MigrationEffect,
  type MigrationMessage,
} from '@xenolith/xen/layers';
import { benchFleetMemory } from './fleet-memory.js';
import { floorRow, progress, type Row } from './report.js';

const GROUP = 'xen';
const GIBIBYTE = 2 ** 30;
const MS_PER_SECOND = 1_000;

/** One of each kind that shows in the figures, so that a host has something to compute. */
const WORKLOADS = ['idle', 'web', 'database'] as const;

const settingsOf = (name: string, nth: number): DomainSettings => ({
  name,
  guestType: 'pvh',
  vcpus: 2,
  maxVcpus: 2,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [{ name: 'root', volume: `${name}-root`, sizeBytes: 10 * GIBIBYTE, readOnly: false }],
  nics: [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: [] }],
  pvDrivers: true,
  ignoresShutdown: false,
  workload: WORKLOADS[nth % WORKLOADS.length] ?? 'idle',
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
});

// Busy hosts.

const HOSTS = 100;
const DOMAINS_PER_HOST = 10;
/** Each host gets a command this often, so that it starts, stops and reboots guests all the time. */
const COMMAND_EVERY_S = 10;
/** As its heartbeat asks. */
const FIGURES_EVERY_S = 10;
const SIMULATED_S = 600;
const BOOT_MS = 5_000;

interface BusyHost {
  readonly state: EmulatedHostState;
  readonly name: string;
  turn: number;
}

const model = emulatedHostModel(timingFor(BOOT_MS));

const startInput = (host: string, nth: number, incarnation: number): HostInput => ({
  do: 'start',
  ticket: `${host}/${nth}/${incarnation}`,
  uid: uuidFrom('bench', host, nth),
  incarnation,
  settings: settingsOf(`vm-${nth}`, nth),
  paused: false,
});

const busyHost = (nth: number): BusyHost => {
  const name = `host-${nth}`;
  const state = model.create({ name, seed: 'bench', profile: '2x8-128', at: 0, hypervisor: 'xen' });
  for (let domain = 0; domain < DOMAINS_PER_HOST; domain += 1) model.apply(state, startInput(name, domain, 1), 0);
  return { state, name, turn: 0 };
};

/** A machine at a time: it is rebooted, paused and let go on, ended, and started again as its next run. */
const nextCommand = (host: BusyHost): HostInput => {
  const round = Math.floor(host.turn / 5);
  const nth = round % DOMAINS_PER_HOST;
  const incarnation = 1 + Math.floor(round / DOMAINS_PER_HOST);
  const on = { ticket: `turn ${host.turn}`, uid: uuidFrom('bench', host.name, nth), incarnation };
  switch (host.turn % 5) {
    case 0:
      return { do: 'reboot', ...on, mode: 'clean', timeoutMs: 60_000 };
    case 1:
      return { do: 'pause', ...on };
    case 2:
      return { do: 'unpause', ...on };
    case 3:
      return { do: 'shutdown', ...on, mode: 'clean', timeoutMs: 60_000 };
    default:
      return startInput(host.name, nth, incarnation + 1);
  }
};

const simulate = (hosts: readonly BusyHost[], fromS: number, untilS: number): void => {
  for (let second = fromS; second < untilS; second += 1) {
    const at = second * MS_PER_SECOND;
    for (const [index, host] of hosts.entries()) {
      if ((second + index) % COMMAND_EVERY_S === 0) {
        model.apply(host.state, nextCommand(host), at);
        host.turn += 1;
      }
      if ((model.nextDue(host.state) ?? Infinity) <= at) model.advance(host.state, at);
      if ((second + index) % FIGURES_EVERY_S === 0) model.domainFigures(host.state, at);
    }
  }
};

/** Simulated seconds a second, of all hosts together on one core. */
const benchBusyHosts = (): Row => {
  progress(`${HOSTS} busy hosts for ${SIMULATED_S} simulated seconds`);
  const hosts = Array.from({ length: HOSTS }, (_, nth) => busyHost(nth));
  const warm = COMMAND_EVERY_S * 3;
  simulate(hosts, 1, warm);
  const began = performance.now();
  simulate(hosts, warm, warm + SIMULATED_S);
  const tookS = (performance.now() - began) / MS_PER_SECOND;
  return floorRow({
    group: GROUP,
    what: `${HOSTS} busy hosts, ${DOMAINS_PER_HOST} domains each, one core`,
    ours: SIMULATED_S / tookS,
    unit: 'simulated s/s',
    floor: 1,
  });
};

// xenstore.

const STORE_RUN_MS = 3_000;
const STORE_BATCH = 1_000;
/** xenstored in C answers about so many on a core, over its ring; a toolstack with thousands of domains needs less. Assumption. */
const STORE_FLOOR = 20_000;

const writesOf = (store: Xenstore, turn: number): void => {
  const domid = 1 + (turn % 64);
  const path = `/local/domain/${domid}/device/vbd/${51_712 + (turn % 4) * 16}/state`;
  store.write(0, path, String(turn % 6));
  store.read(domid, path);
  store.directory(0, `/local/domain/${domid}/device/vbd`);
};
const OPERATIONS_PER_TURN = 3;

const benchStore = (): Row => {
  progress(`xenstore for ${STORE_RUN_MS / MS_PER_SECOND} s`);
  const store = new Xenstore(createXenstore());
  // Watches as back-ends and a toolstack have them.
  for (let domid = 1; domid <= 64; domid += 1) store.watch(0, `/local/domain/${domid}/device`, `token-${domid}`);
  let turn = 0;
  for (; turn < 10 * STORE_BATCH; turn += 1) writesOf(store, turn);
  const began = performance.now();
  const first = turn;
  while (performance.now() - began < STORE_RUN_MS)
    for (const end = turn + STORE_BATCH; turn < end; turn += 1) writesOf(store, turn);
  const tookS = (performance.now() - began) / MS_PER_SECOND;
  return floorRow({
    group: GROUP,
    what: 'xenstore: writes with watches, reads, lists',
    ours: ((turn - first) * OPERATIONS_PER_TURN) / tookS,
    unit: 'operations/s',
    floor: STORE_FLOOR,
  });
};

// Migration.

const MIGRATION_RUN_MS = 3_000;
/** A host moves two at once, and each takes some tens of steps. */
const MIGRATION_FLOOR = 10_000;
/** Pages that the guest leaves dirty in the rounds that follow each other: the last is few enough to stop. */
const DIRTY_PAGES = [60_000, 20_000, 4_000, 30];

/** One machine moved from end to end; answers the steps that the two ends took. */
const migrateOnce = (nth: number): number => {
  const machine = uuidFrom('bench', 'migration', nth);
  let steps = 0;
  let rounds = 0;
  const begun = beginSource({ machine, memoryPages: 262_144, policy: { name: 'xen-v2' } });
  let [source, target] = [begun.state, beginTarget(machine)];
  const toTarget: MigrationMessage[] = [...begun.messages];
  const toSource: MigrationMessage[] = [];
  const work: { readonly by: 'source' | 'target'; readonly effects: readonly MigrationEffect[] }[] = [];
  const tellSource = (input: Parameters<typeof stepSource>[1]): void => {
    const step = stepSource(source, input);
    source = step.state;
    toTarget.push(...step.messages);
    if (step.effects.length > 0) work.push({ by: 'source', effects: step.effects });
    steps += 1;
  };
  const tellTarget = (input: Parameters<typeof stepTarget>[1]): void => {
    const step = stepTarget(target, input);
    target = step.state;
    toSource.push(...step.messages);
    if (step.effects.length > 0) work.push({ by: 'target', effects: step.effects });
    steps += 1;
  };
  for (;;) {
    const message = toTarget.shift();
    if (message) {
      tellTarget({ type: 'message', message });
      continue;
    }
    const back = toSource.shift();
    if (back) {
      tellSource({ type: 'message', message: back });
      continue;
    }
    const done = work.shift();
    if (!done) break;
    if (done.by === 'target') tellTarget({ type: 'done' });
    else if (done.effects.at(-1)?.do === 'sendRound') {
      tellSource({ type: 'roundFinished', dirtyPages: DIRTY_PAGES[rounds] ?? 0, linkPagesPerSecond: 305_176 });
      rounds += 1;
    } else tellSource({ type: 'done' });
  }
  if (source.phase !== 'migrated') throw new Error(`a migration without faults ended ${source.phase}`);
  return steps;
};

const benchMigration = (): Row => {
  progress(`migrations for ${MIGRATION_RUN_MS / MS_PER_SECOND} s`);
  for (let nth = 0; nth < 200; nth += 1) migrateOnce(nth);
  const began = performance.now();
  let steps = 0;
  for (let nth = 0; performance.now() - began < MIGRATION_RUN_MS; nth += 1) steps += migrateOnce(nth);
  return floorRow({
    group: GROUP,
    what: 'live migration, steps of both ends',
    ours: (steps * MS_PER_SECOND) / (performance.now() - began),
    unit: 'steps/s',
    floor: MIGRATION_FLOOR,
  });
};

/** The emulated hosts: speed, memory, and two of their layers alone. */
export const benchXen = async (): Promise<readonly Row[]> => [
  benchBusyHosts(),
  benchStore(),
  benchMigration(),
  ...(await benchFleetMemory(GROUP)),
];
