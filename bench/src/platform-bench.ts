import { ApiClient } from './api-client.js';
import { Machines } from './machines.js';
import { ContainerPlatform } from './container-platform.js';
import { Platform } from './platform.js';
import { cpuMsByProcess, type NamedProcess } from './process-cpu.js';
import { atMostRow, closedLoop, floorRow, limitRow, percentile, progress, shareRow, type Row } from './report.js';

const GROUP = 'platform';
/** Enough vCPUs for all machines of the run at twice the rate that is aimed at. */
const HOSTS = 160;
const WARM_UP_MACHINES = 40;
const UNLOADED_MACHINES = 200;
/** Machines on their way at once: latency under load stays far below the limit of a request. */
const CALLERS = 64;
const WARM_UP_MS = 10_000;
const RUN_MS = 30_000;
/** What 200 machines a second on two cores leave for each. */
const CPU_PER_MACHINE_MS = 10;

/** `--brief`: a tenth of the machines and of the time, to see that it works. The figures mean nothing then. */
const brief = process.argv.includes('--brief');
const some = (whole: number): number => (brief ? whole / 10 : whole);

/** What is measured: its API, and the processes whose CPU is counted, where they are this machine's to see. */
interface Measured {
  readonly kubeconfig: string;
  processes(): Promise<readonly NamedProcess[]>;
}

/**
 * Machines created one at a time and many at once on a platform of its own, over HTTPS; and how soon it is back after a stop. `--kubeconfig FILE` measures
 * the platform that the file names, of containers or elsewhere: its hosts need room for all the machines. `--containers` measures the chart's Pods as
 * containers, too, after the processes, and holds them against each other.
 */
export const benchPlatform = async (): Promise<readonly Row[]> => {
  const at = process.argv.indexOf('--kubeconfig');
  const kubeconfig = at < 0 ? undefined : process.argv[at + 1];
  if (kubeconfig !== undefined) return benchMachines({ kubeconfig, processes: () => Promise.resolve([]) });
  const ours = await benchProcesses();
  return [...ours, ...(process.argv.includes('--containers') ? await benchContainers(ours) : [])];
};

const benchProcesses = async (): Promise<readonly Row[]> => {
  progress(`starting a platform of ${HOSTS} hosts`);
  const platform = await Platform.start(HOSTS);
  try {
    return [...(await benchMachines(platform)), await benchSecondStart(platform)];
  } finally {
    await platform.remove();
  }
};

/** The same rows of the chart's Pods, each against its limit and against the processes that `up` starts. */
const benchContainers = async (processes: readonly Row[]): Promise<readonly Row[]> => {
  progress(`starting containers with ${HOSTS} hosts`);
  const platform = await ContainerPlatform.start(HOSTS);
  try {
    const rows = await benchMachines(platform);
    return rows.flatMap((row) => {
      const what = `${row.what}, in containers`;
      const peer = processes.find((other) => other.what === row.what);
      const named = { ...row, what };
      if (peer === undefined || row.target === 'none') return [named];
      return [named, atMostRow({ ...named, against: 'processes', theirs: peer.ours, atMost: Infinity })];
    });
  } finally {
    await platform.remove();
  }
};

const benchMachines = async (platform: Measured): Promise<readonly Row[]> => {
  const client = await ApiClient.open(platform.kubeconfig, CALLERS);
  try {
    const machines = new Machines(client);
    await machines.start();
    for (let index = 0; index < some(WARM_UP_MACHINES); index += 1) await machines.create(`warm-${index}`);
    progress(`${some(UNLOADED_MACHINES)} machines, one at a time`);
    const tookMs: number[] = [];
    for (let index = 0; index < some(UNLOADED_MACHINES); index += 1)
      tookMs.push(await machines.create(`single-${index}`));
    progress(`machines by ${CALLERS} callers for ${some(RUN_MS) / 1000} s`);
    const loadedMs: number[] = [];
    await closedLoop(CALLERS, some(WARM_UP_MS), (caller, turn) => machines.create(`warm-${caller}-${turn}`));
    const processes = await platform.processes();
    const before = await cpuMsByProcess(processes);
    const rate = await closedLoop(CALLERS, some(RUN_MS), async (caller, turn) => {
      loadedMs.push(await machines.create(`many-${caller}-${turn}`));
    });
    const after = await cpuMsByProcess(processes);
    const perMachine = processes.map(({ name }) => ({
      name,
      ms: ((after.get(name) ?? 0) - (before.get(name) ?? 0)) / loadedMs.length,
    }));
    const what = 'create VM to Running, one at a time';
    return [
      limitRow({ group: GROUP, what: `${what}, p50`, ours: percentile(tookMs, 0.5), unit: 'ms', limit: 50 }),
      limitRow({ group: GROUP, what: `${what}, p99`, ours: percentile(tookMs, 0.99), unit: 'ms', limit: 200 }),
      floorRow({ group: GROUP, what: `VMs to Running, ${CALLERS} callers`, ours: rate, unit: '/s', floor: 200 }),
      limitRow({
        group: GROUP,
        what: `create VM to Running, ${CALLERS} callers, p99`,
        ours: percentile(loadedMs, 0.99),
        unit: 'ms',
        limit: 1000,
      }),
      ...cpuRows(perMachine),
    ];
  } finally {
    client.close();
  }
};

/** CPU for each machine moves less than rates and delays do when others use the machine too. */
const cpuRows = (perMachine: readonly { readonly name: string; readonly ms: number }[]): readonly Row[] => {
  if (perMachine.length === 0) return [];
  const whole = perMachine.reduce((sum, { ms }) => sum + ms, 0);
  return [
    limitRow({
      group: GROUP,
      what: 'CPU for each VM, all processes',
      ours: whole,
      unit: 'ms',
      limit: CPU_PER_MACHINE_MS,
    }),
    ...perMachine.map(({ name, ms }) =>
      shareRow({ group: GROUP, what: `CPU for each VM, ${name}`, ours: ms, unit: 'ms', whole }),
    ),
  ];
};

const benchSecondStart = async (platform: Platform): Promise<Row> => {
  progress('second start');
  await platform.down();
  const tookMs = await platform.up();
  return limitRow({ group: GROUP, what: 'second start, to ready', ours: tookMs / 1000, unit: 's', limit: 10 });
};
