import type { PlacementRequest } from '@xenolith/contracts';
import { randomFrom, type JsonObject, type Random, type Uuid } from '@xenolith/kernel';
import type { SchedulingPolicy } from '@xenolith/scheduling';
import { benchAvailability } from './availability-bench.js';
import { benchCapacity } from './capacity-bench.js';
import { BenchFleet, flavourOf, GIB, hostDocument, START_MS, type HostShape } from './fleet.js';
import { benchPacking } from './packing-bench.js';
import { benchRebalancing } from './rebalance-bench.js';
import { floorRow, limitRow, percentile, progress, shareRow, type Row } from './report.js';

const GROUP = 'scheduling';
const OVERCOMMIT = 4;
const FULL = 0.85;
const GPU = 'example.com/gpu';

/** Three sizes of hosts, the middle one twice as often; one in eight of the largest has accelerators. */
const SHAPES: readonly HostShape[] = [
  { threads: 32, memoryBytes: 128 * GIB, nodes: 2, features: ['vmx', 'ept'] },
  { threads: 64, memoryBytes: 256 * GIB, nodes: 2, features: ['vmx', 'ept', 'avx2'] },
  { threads: 64, memoryBytes: 256 * GIB, nodes: 2, features: ['vmx', 'ept', 'avx2'] },
  { threads: 128, memoryBytes: 512 * GIB, nodes: 4, features: ['svm', 'npt', 'avx2', 'avx512f'] },
];

const shapeOf = (number: number, size: number): HostShape => {
  const shape = SHAPES[number % SHAPES.length] as HostShape;
  return { ...shape, threads: shape.threads * size, memoryBytes: shape.memoryBytes * size };
};

const hostOf = (number: number, size: number): JsonObject => {
  const gpu = number % 4 === 3;
  const labels = { 'topology.kubernetes.io/zone': `zone-${number % 4}`, rack: `rack-${Math.floor(number / 40) % 256}` };
  const taints = number % 20 === 7 ? [{ key: 'dedicated', value: 'db', effect: 'NoSchedule' }] : [];
  return hostDocument(
    `host-${number}`,
    { ...shapeOf(number, size), ...(gpu ? { resources: { [GPU]: 16 } } : {}) },
    { labels, taints },
  );
};

const flavour = (random: Random, large: number): { vcpus: number; memoryBytes: number } => {
  const { vcpus, gib } = flavourOf(random);
  return { vcpus: vcpus * large, memoryBytes: gib * large * GIB };
};

/** What one request in five asks beside its size: a NUMA node, rules about hosts or machines, or counted things. */
const rules = (random: Random, number: number): Partial<PlacementRequest> => {
  if (!random.chance(0.2)) return {};
  const app = `app-${random.below(40)}`;
  const term = (topologyKey: string) => ({ labelSelector: { matchLabels: { app } }, topologyKey });
  switch (number % 6) {
    case 0:
    case 1:
      return { numa: 'single-numa-node' };
    case 2: {
      const far = { requiredDuringSchedulingIgnoredDuringExecution: [term('kubernetes.io/hostname')] };
      return { labels: { app }, affinity: { virtualMachineAntiAffinity: far } };
    }
    case 3: {
      const liked = { weight: 10, virtualMachineAffinityTerm: term('rack') };
      const near = { preferredDuringSchedulingIgnoredDuringExecution: [liked] };
      return { labels: { app }, affinity: { virtualMachineAffinity: near } };
    }
    case 4:
      return { resources: { [GPU]: 1 }, cpuFeatures: ['avx512f'] };
    default:
      return {
        hostSelector: { 'topology.kubernetes.io/zone': `zone-${random.below(4)}` },
        tolerations: [{ key: 'dedicated', operator: 'Exists', value: '' }],
      };
  }
};

class Churn {
  readonly running: Uuid[] = [];
  /** What each decision took by the clock. */
  readonly microseconds: number[] = [];
  /** What all of them took of the CPU; the kernel counts it in ticks, so that one alone tells nothing. */
  cpuMicroseconds = 0;
  private readonly random = randomFrom('scheduling bench');
  private readonly plain = new Map<string, PlacementRequest>();
  private atMs = START_MS;
  private used = 0;
  private readonly sizes = new Map<Uuid, number>();
  private readonly capacity: number;
  refused = 0;
  private readonly fleet: BenchFleet;

  constructor(
    hosts: number,
    private readonly options: Pick<Case, 'policy' | 'size' | 'large'>,
  ) {
    const { policy, size } = options;
    const numbers = Array.from({ length: hosts }, (_, number) => number);
    this.fleet = new BenchFleet(
      policy,
      numbers.map((number) => hostOf(number, size)),
      OVERCOMMIT,
    );
    this.capacity = numbers.reduce((sum, number) => sum + shapeOf(number, size).memoryBytes, 0);
  }

  /** Machines come until so much of the memory is promised. */
  fill(): void {
    while (this.used < FULL * this.capacity) this.place();
  }

  /** One goes, one comes, so that the fleet stays as full. */
  turn(): void {
    while (this.used >= FULL * this.capacity) this.release();
    this.place();
  }

  private release(): void {
    const at = this.random.below(this.running.length);
    const gone = this.running[at];
    const last = this.running.pop();
    if (gone === undefined || last === undefined) return;
    if (at < this.running.length) this.running[at] = last;
    this.used -= this.sizes.get(gone) ?? 0;
    this.sizes.delete(gone);
    this.fleet.released(gone, this.atMs);
  }

  private place(): void {
    this.atMs += 200;
    const placement = this.fleet.next();
    const request = this.request(this.sizes.size + this.refused);
    const [cpuBefore, start] = [process.threadCpuUsage(), performance.now()];
    const found = this.fleet.propose(placement, request, this.atMs);
    this.microseconds.push((performance.now() - start) * 1_000);
    const { user, system } = process.threadCpuUsage(cpuBefore);
    this.cpuMicroseconds += user + system;
    if (!found.fits) {
      this.refused += 1;
      return;
    }
    this.fleet.placed(placement, request, found, { atMs: this.atMs });
    this.running.push(placement);
    this.sizes.set(placement, request.memoryBytes);
    this.used += request.memoryBytes;
  }

  private request(number: number): PlacementRequest {
    const size = flavour(this.random, this.options.large);
    const asked = rules(this.random, number);
    const request: PlacementRequest = {
      virtualMachine: { uid: `machine-${number}`, name: 'vm', namespace: `tenant-${number % 50}` },
      hypervisor: 'any',
      guestType: 'pvh',
      ...size,
      ...asked,
    };
    if (Object.keys(asked).length > 0) return request;
    // Plain machines of one size are one object: what a million of them weighs is not what is measured here.
    const key = `${size.vcpus}/${size.memoryBytes}/${number % 50}`;
    const known = this.plain.get(key) ?? request;
    this.plain.set(key, known);
    return known;
  }
}

interface Case {
  readonly hosts: number;
  /** Hosts are so many times as large as their shapes say, machines so many times as large as their flavours. */
  readonly size: number;
  readonly large: number;
  readonly policy: SchedulingPolicy;
  readonly floor: number;
  readonly limitUs: number;
  readonly turns: number;
}

const decisions = ({ hosts, size, large, policy, floor, limitUs, turns }: Case): Row[] => {
  progress(`decisions, ${hosts} hosts, ${policy}`);
  const churn = new Churn(hosts, { policy, size, large });
  churn.fill();
  for (let turn = 0; turn < turns / 4; turn += 1) churn.turn();
  churn.microseconds.length = 0;
  churn.cpuMicroseconds = 0;
  churn.refused = 0;
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) churn.turn();
  const elapsedMs = performance.now() - start;
  const { microseconds, running, refused } = churn;
  const what = `${hosts.toLocaleString('en')} hosts, ${running.length.toLocaleString('en')} machines, ${policy}`;
  const decided = (microseconds.length * 1e6) / churn.cpuMicroseconds;
  return [
    floorRow({ group: GROUP, what: `decisions in a second of CPU, ${what}`, ours: decided, unit: '/s', floor }),
    limitRow({
      group: GROUP,
      what: `decision p99, ${what}`,
      ours: percentile(microseconds, 0.99),
      unit: 'µs',
      limit: limitUs,
    }),
    shareRow({
      group: GROUP,
      what: `with the index kept, ${what}`,
      ours: (microseconds.length * 1_000) / elapsedMs,
      unit: '/s',
      whole: decided,
    }),
    shareRow({ group: GROUP, what: `refused, ${what}`, ours: refused, unit: 'of', whole: microseconds.length }),
  ];
};

const CASES: readonly Case[] = (['balance', 'density'] as const).flatMap((policy) => [
  { hosts: 1_000, size: 1, large: 1, policy, floor: 50_000, limitUs: 100, turns: 100_000 },
  // Hosts of half as much again hold 570,000 machines, as the target says.
  { hosts: 10_000, size: 1.5625, large: 1, policy, floor: 50_000, limitUs: 100, turns: 100_000 },
  // Larger machines: what is measured is the number of hosts, and half a million machines are enough to hold.
  { hosts: 50_000, size: 1, large: 4, policy, floor: 20_000, limitUs: 250, turns: 50_000 },
]);

/** What is measured, by the names that `--part` takes. */
const PARTS: Readonly<Record<string, () => readonly Row[]>> = {
  decisions: () => CASES.flatMap(decisions),
  balance: benchRebalancing,
  failovers: benchAvailability,
  capacity: benchCapacity,
  density: benchPacking,
};

/**
 * Decisions of the function that the service calls, at 85 % full with every filter on; how hosts are evened out; plans for their loss; how much more fits; and how densely the
 * public traces are packed.
 */
export const benchScheduling = (): Promise<readonly Row[]> => {
  const at = process.argv.indexOf('--part');
  const names = at < 0 ? Object.keys(PARTS) : (process.argv[at + 1] ?? '').split(',');
  const wrong = names.filter((name) => !(name in PARTS));
  if (wrong.length > 0) throw new Error(`no part "${wrong.join(', ')}"; there are: ${Object.keys(PARTS).join(', ')}`);
  return Promise.resolve(names.flatMap((name) => PARTS[name]?.() ?? []));
};
