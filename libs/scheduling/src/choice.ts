import type { PlacementRequest } from '@xenolith/contracts';
import type { HostTable } from './host-table.js';

/**
 * How a host is chosen among those that fit. `balance` takes the one that is least loaded afterwards, so that machines and their load spread;
 * `pack` the fullest, so that hosts stay empty.
 */
export type SchedulingPolicy = 'balance' | 'pack';

/** Why a host is passed over, in the order in which hosts are asked. The first that refuses counts. */
export const FILTERS = [
  'host',
  'exceptHost',
  'cluster',
  'hypervisor',
  'ready',
  'unschedulable',
  'antiAffinity',
  'contended',
  'memory',
  'cpu',
] as const;
export type Filter = (typeof FILTERS)[number];

const PASSES = -1;
const code = (filter: Filter): number => FILTERS.indexOf(filter);
const [HOST, EXCEPT_HOST, CLUSTER, HYPERVISOR, READY, UNSCHEDULABLE, ANTI_AFFINITY, CONTENDED, MEMORY, CPU] =
  FILTERS.map(code) as [number, number, number, number, number, number, number, number, number, number];

/** Slots that must be avoided. */
export interface Slots {
  has(slot: number): boolean;
}

const NO_SLOTS: Slots = { has: () => false };

export interface Wish {
  readonly request: PlacementRequest;
  /** Hosts where a machine of the same word runs. */
  readonly antiAffine?: Slots;
  /** Hosts that refused this very command a moment ago. */
  readonly contended?: Slots;
}

/** The first filter that refuses a host, as its index in `FILTERS`, or -1. */
const refusedBy = (table: HostTable, slot: number, wish: Wish): number => {
  const { request } = wish;
  if (request.host !== undefined && table.names[slot] !== request.host) return HOST;
  if (request.exceptHost !== undefined && table.names[slot] === request.exceptHost) return EXCEPT_HOST;
  if (request.cluster !== undefined && table.clusters[slot] !== request.cluster) return CLUSTER;
  const kvm = table.kvm[slot] === 1;
  // Guests of Xen's own kinds need it whatever the machine says it can do with.
  if (kvm ? request.hypervisor === 'xen' || request.guestType !== 'hvm' : request.hypervisor === 'kvm')
    return HYPERVISOR;
  if (table.ready[slot] !== 1) return READY;
  if (table.unschedulable[slot] === 1) return UNSCHEDULABLE;
  if ((wish.antiAffine ?? NO_SLOTS).has(slot)) return ANTI_AFFINITY;
  if ((wish.contended ?? NO_SLOTS).has(slot)) return CONTENDED;
  if (table.freeMemory(slot) < request.memoryBytes) return MEMORY;
  if (table.freeVcpus(slot) < request.vcpus) return CPU;
  return PASSES;
};

/** Whether one host would do now, with `spoken` more of it spoken for. */
export const fitsOn = (
  table: HostTable,
  slot: number,
  wish: Wish,
  spoken: { readonly memoryBytes: number; readonly vcpus: number } = { memoryBytes: 0, vcpus: 0 },
): boolean =>
  table.present[slot] === 1 &&
  refusedBy(table, slot, wish) === PASSES &&
  table.freeMemory(slot) - spoken.memoryBytes >= wish.request.memoryBytes &&
  table.freeVcpus(slot) - spoken.vcpus >= wish.request.vcpus;

/** Loads that differ by less than this count as equal, so that hosts of one kind share out machines evenly. */
const LOAD_STEPS = 256;

/** Lower is better. Commands under way count, so that those side by side do not all choose one host. */
const scoreOf = (table: HostTable, slot: number, wish: Wish, policy: SchedulingPolicy): number => {
  const { memoryBytes, vcpus } = wish.request;
  const memory =
    ((table.usedMemory[slot] ?? 0) + (table.offeredMemory[slot] ?? 0) + memoryBytes) / (table.memory[slot] ?? 1);
  const cpu = ((table.usedVcpus[slot] ?? 0) + (table.offeredVcpus[slot] ?? 0) + vcpus) / (table.vcpus[slot] ?? 1);
  if (policy === 'balance') return Math.floor(Math.max(memory, cpu) * LOAD_STEPS);
  return Math.floor(Math.hypot(1 - memory, 1 - cpu) * LOAD_STEPS);
};

/** What was found, host by host: numbers only, to be explained when somebody asks. */
export interface Choice {
  /** -1 when no host fits. */
  readonly slot: number;
  readonly considered: number;
  readonly fitting: number;
  /** Hosts that each filter refused, by its index in `FILTERS`, and one of them: for memory and CPU the one that has most. */
  readonly refused: Int32Array;
  readonly example: Int32Array;
}

const better = (table: HostTable, filter: number, slot: number, than: number): boolean => {
  if (filter === MEMORY) return table.freeMemory(slot) > table.freeMemory(than);
  return filter === CPU && table.freeVcpus(slot) > table.freeVcpus(than);
};

/**
 * Chooses a host: filters, then the lowest score. Of equals the first from where `seed` begins, so that the same command chooses alike everywhere and
 * different ones start at different hosts.
 */
export const chooseHost = (
  table: HostTable,
  wish: Wish,
  options: { readonly policy: SchedulingPolicy; readonly seed: number },
): Choice => {
  const refused = new Int32Array(FILTERS.length);
  const example = new Int32Array(FILTERS.length).fill(-1);
  let [chosen, lowest, fitting, considered] = [-1, Number.POSITIVE_INFINITY, 0, 0];
  for (let step = 0; step < table.length; step += 1) {
    const slot = (options.seed + step) % table.length;
    if (table.present[slot] !== 1) continue;
    considered += 1;
    const filter = refusedBy(table, slot, wish);
    if (filter !== PASSES) {
      refused[filter] = (refused[filter] ?? 0) + 1;
      const shown = example[filter] ?? -1;
      if (shown < 0 || better(table, filter, slot, shown)) example[filter] = slot;
      continue;
    }
    fitting += 1;
    const score = scoreOf(table, slot, wish, options.policy);
    if (score < lowest) [chosen, lowest] = [slot, score];
  }
  return { slot: chosen, considered, fitting, refused, example };
};
