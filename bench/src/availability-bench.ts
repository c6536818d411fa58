import type { PlacementRequest } from '@xenolith/contracts';
import { randomFrom, type Random, type Uuid } from '@xenolith/kernel';
import type { Scenario } from '@xenolith/scheduling';
import { COVERED, FailoverFleet, HOST_GIB, slotsOf } from './failover-fleet.js';
import { flavourOf, GIB, LARGEST_GIB, type Flavour } from './fleet.js';
import { cpuMs, floorRow, limitRow, percentile, progress, rateRow, shareRow, type Row } from './report.js';

const GROUP = 'scheduling';

/** One machine in ten is to be far from others of its application. */
const rulesOf = (random: Random): Partial<PlacementRequest> => {
  if (!random.chance(0.1)) return {};
  const app = `app-${random.below(200)}`;
  const term = { labelSelector: { matchLabels: { app } }, topologyKey: 'kubernetes.io/hostname' };
  const far = { requiredDuringSchedulingIgnoredDuringExecution: [term] };
  return { labels: { app }, affinity: { virtualMachineAntiAffinity: far } };
};

const FULL = 0.85;

const filled = (hosts: number, random: Random): FailoverFleet => {
  const cluster = new FailoverFleet(hosts, { hostFailures: 1, eviction: 'Never' });
  for (let slot = 0; slot < hosts; slot += 1)
    for (;;) {
      const flavour = flavourOf(random);
      if (cluster.freeGib(slot) - flavour.gib < (1 - FULL) * HOST_GIB) break;
      cluster.place(cluster.request(flavour, rulesOf(random)), slot);
    }
  return cluster;
};

const CHANGES = 2_000;
const FROM_NOTHING = 5;

const planning = (): Row[] => {
  progress('plans for the loss of any of 1,000 hosts');
  const random = randomFrom('availability');
  const cluster = filled(1_000, random);
  const machines = cluster.machines.size.toLocaleString('en');
  const times: number[] = [];
  let covered = 0;
  for (let round = 0; round < FROM_NOTHING; round += 1) {
    const planner = cluster.anew();
    times.push(cpuMs(() => (covered = [...planner.all()].filter(COVERED).length)));
  }
  const changes: number[] = [];
  for (let change = 0; change < CHANGES; change += 1) {
    const slot = random.below(cluster.hosts);
    const names = change % 2 === 0 ? [...cluster.machines.keys()] : [];
    changes.push(
      cpuMs(() => {
        if (change % 2 === 0) cluster.release(names[random.below(names.length)] ?? '');
        else cluster.place(cluster.request({ vcpus: 2, gib: 4 }, rulesOf(random)), slot);
        cluster.planner.scenarioOf([slot]);
      }),
    );
  }
  changes.shift();
  const what = `1,000 hosts, ${machines} machines`;
  const row = { group: GROUP, unit: 'ms of CPU' };
  return [
    limitRow({ ...row, what: `failover plans from nothing, ${what}`, ours: percentile(times, 0.5), limit: 250 }),
    limitRow({ ...row, what: `failover plans, one change, p99, ${what}`, ours: percentile(changes, 0.99), limit: 5 }),
    shareRow({ ...row, what: `losses covered, ${what}`, ours: covered, unit: 'of', whole: 1_000 }),
  ];
};

/** What a rule says of one machine more, host by host. */
type Admission = (cluster: FailoverFleet, flavour: Flavour) => (slot: number) => boolean;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

const RULES: Readonly<Record<string, Admission>> = {
  exact: (cluster, flavour) => {
    const check = cluster.book.checkOf(cluster.request(flavour));
    return (slot) => check?.refusal(slot) === null;
  },
  // ocaml/xapi/binpack.ml, as for more than 32 hosts: all machines as large as the largest, the emptiest host and the one with most machines fail.
  'XAPI’s approximation':
    (cluster, { gib }) =>
    (slot) => {
      const there = slotsOf(cluster).map(() => 0);
      let largest = gib;
      for (const { slot: at, request } of cluster.machines.values()) {
        there[at] = (there[at] ?? 0) + 1;
        largest = Math.max(largest, request.memoryBytes / GIB);
      }
      there[slot] = (there[slot] ?? 0) + 1;
      const rooms = slotsOf(cluster)
        .map((at) => cluster.freeGib(at) - (at === slot ? gib : 0))
        .sort((left, right) => right - left);
      return sum(rooms.slice(1).map((room) => Math.floor(room / largest))) >= Math.max(...there);
    },
  // vSphere's slot policy with the largest machine as the slot: so many slots on all hosts but one.
  'VMware’s slots': (cluster) => () =>
    cluster.machines.size + 1 <= (cluster.hosts - 1) * Math.floor(HOST_GIB / LARGEST_GIB),
  // vSphere's percentage policy: one host's share of all memory stays free.
  'VMware’s percentage':
    (cluster, { gib }) =>
    () =>
      sum(slotsOf(cluster).map((slot) => cluster.freeGib(slot))) - gib >= HOST_GIB,
};

/** Machines are asked for until so many in a row were refused. */
const REFUSED_IN_A_ROW = 10;
const SEEDS = 5;

/** Emptiest host first, as XenServer and VMware place. */
const fillBy = (hosts: number, admits: Admission, seed: number): FailoverFleet => {
  const random = randomFrom(`admission ${seed}`);
  const cluster = new FailoverFleet(hosts, { hostFailures: 1, eviction: 'Never' });
  for (let refused = 0; refused < REFUSED_IN_A_ROW;) {
    const flavour = flavourOf(random);
    const slots = slotsOf(cluster)
      .filter((slot) => cluster.freeGib(slot) >= flavour.gib)
      .sort((left, right) => cluster.freeGib(right) - cluster.freeGib(left) || left - right);
    const slot = slots.find(admits(cluster, flavour));
    if (slot === undefined) refused += 1;
    else cluster.place(cluster.request(flavour), slot);
    if (slot !== undefined) refused = 0;
  }
  return cluster;
};

const admission = (hosts: number): Row[] => {
  const found = Object.entries(RULES).map(([name, admits]) => {
    progress(`admission to ${hosts} hosts by ${name}`);
    const clusters = Array.from({ length: SEEDS }, (_, seed) => fillBy(hosts, admits, seed));
    const used = sum(clusters.map((cluster) => sum(slotsOf(cluster).map((slot) => HOST_GIB - cluster.freeGib(slot)))));
    const covered = clusters.filter((cluster) => [...cluster.anew().all()].every(COVERED)).length;
    return { name, admitted: (used * 100) / (hosts * HOST_GIB * SEEDS), covered };
  });
  const [exact, ...others] = found;
  if (!exact) return [];
  const admitted = { group: GROUP, what: `memory admitted so that any of ${hosts} hosts may be lost`, unit: '%' };
  return [
    ...others.map(({ name, admitted: theirs }) =>
      rateRow({
        ...admitted,
        ours: exact.admitted,
        against: name,
        theirs,
        atLeast: name.endsWith('percentage') ? 0 : 1,
      }),
    ),
    ...found.map(({ name, covered }) => {
      const row = {
        group: GROUP,
        what: `fleets of ${hosts} hosts with a plan for every loss, by ${name}`,
        ours: covered,
      };
      return name === 'exact'
        ? floorRow({ ...row, unit: 'of', floor: SEEDS })
        : shareRow({ ...row, unit: 'of', whole: SEEDS });
    }),
  ];
};

/** `--full` plays ten times as many. */
const DRILLS = process.argv.includes('--full') ? 100_000 : 10_000;
const DRILLED_HOSTS = 12;
const DRILLED_GIB = 64;

/** Whether a plan, played through with sums of its own, puts too much on a host, leaves somebody out, or seats two side by side that are to be far. */
const isBroken = (cluster: FailoverFleet, { lost, plan }: Scenario): boolean => {
  if (plan.verdict !== 'covered') return false;
  const gone = new Set(lost);
  const hosts = new Map<number, { gib: number; vcpus: number; apps: string[] }>();
  const put = (request: PlacementRequest, slot: number): void => {
    const there = hosts.get(slot) ?? { gib: 0, vcpus: 0, apps: [] };
    there.gib += request.memoryBytes / GIB;
    there.vcpus += request.vcpus;
    if (request.labels?.['app'] !== undefined) there.apps.push(request.labels['app']);
    hosts.set(slot, there);
  };
  const dead = new Set<Uuid>();
  for (const { placement, request, slot } of cluster.machines.values())
    if (gone.has(slot)) dead.add(placement);
    else put(request, slot);
  for (const { machine, slot } of plan.seats) {
    if (gone.has(slot) || !dead.delete(machine.placement)) return true;
    put(machine.request, slot);
  }
  return (
    dead.size > 0 ||
    [...hosts.values()].some(
      ({ gib, vcpus, apps }) => gib > DRILLED_GIB || vcpus > DRILLED_GIB * 2 || new Set(apps).size < apps.length,
    )
  );
};

const DRILLS_PER_FLEET = 1_000;

const drills = (): Row[] => {
  progress(`${DRILLS.toLocaleString('en')} failure drills`);
  const random = randomFrom('drills');
  let [broken, covered] = [0, 0];
  for (let drill = 0; drill < DRILLS;) {
    const hostFailures = random.chance(0.5) ? 1 : 2;
    const cluster = new FailoverFleet(DRILLED_HOSTS, { hostFailures, eviction: 'Never' }, DRILLED_GIB);
    for (let turn = 0; turn < DRILLS_PER_FLEET; turn += 1, drill += 1) {
      const slot = random.below(DRILLED_HOSTS);
      const { gib, vcpus } = flavourOf(random);
      const request = cluster.request({ gib: Math.min(gib, 16), vcpus: Math.min(vcpus, 16) }, rulesOf(random));
      const app = request.labels?.['app'];
      const alone = [...cluster.machines.values()].every(
        (other) => other.slot !== slot || app === undefined || other.request.labels?.['app'] !== app,
      );
      const fits = alone && cluster.table.freeMemory(slot) >= request.memoryBytes;
      const full = sum(slotsOf(cluster).map((at) => cluster.freeGib(at))) < DRILLED_GIB * (hostFailures + 1);
      if (full) cluster.release([...cluster.machines.keys()][random.below(cluster.machines.size)] ?? '');
      else if (fits && cluster.table.freeVcpus(slot) >= request.vcpus) cluster.place(request, slot);
      const other = (slot + 1 + random.below(DRILLED_HOSTS - 1)) % DRILLED_HOSTS;
      const pair = [slot, other].sort((left, right) => left - right);
      const scenario = cluster.planner.scenarioOf(hostFailures === 2 ? pair : [slot]);
      if (!scenario) continue;
      if (COVERED(scenario)) covered += 1;
      if (isBroken(cluster, scenario)) broken += 1;
    }
  }
  return [
    floorRow({
      group: GROUP,
      what: 'failure drills in which no plan broke',
      ours: DRILLS - broken,
      unit: 'of',
      floor: DRILLS,
    }),
    shareRow({ group: GROUP, what: 'drills with a plan', ours: covered, unit: 'of', whole: DRILLS }),
  ];
};

/** Plans for the loss of hosts: what they cost, what they admit beside other rules, and whether they hold. */
export const benchAvailability = (): readonly Row[] => [...planning(), ...[40, 16].flatMap(admission), ...drills()];
