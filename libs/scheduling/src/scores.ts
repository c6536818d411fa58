import { loadOf } from './capacity-buckets.js';
import type { FlavourMix } from './flavour-mix.js';
import type { Wish } from './filters.js';
import { cellFor, NO_CELL } from './host-cells.js';
import type { HostShare } from './host-share.js';
import { extensionSteps, type Lifetimes } from './lifetimes.js';
import { likingOf, type Fleet } from './machine-affinity.js';

/**
 * How a host is chosen among those that fit. `balance` takes the one that is least loaded afterwards, so that machines and their load spread;
 * `density` keeps hosts empty, and what is left of the others of use.
 */
export type SchedulingPolicy = 'balance' | 'density';

/** What scores look at beside the hosts' rows. */
export interface Outlook extends Fleet {
  readonly lifetimes: Lifetimes;
  readonly mix: FlavourMix;
  readonly share: HostShare;
}

/** A decision's own figures, found once. */
export interface Moment {
  readonly nowMs: number;
  /** When the machine is expected to be gone. */
  readonly exitAtMs: number;
}

/** A level of preference: of the hosts that are equal on the levels before, those with the lowest score stay. */
export interface Level {
  readonly name: string;
  /** What is said of the host that it decided for. */
  readonly says: string;
  /** Scores that are worse than the lowest by no more than this are as good; absent: only equal ones are. */
  readonly tolerance?: number;
  readonly score: (outlook: Outlook, slot: number, wish: Wish, moment: Moment) => number;
}

/** Loads and leftovers that differ by less than this count as equal, so that the next level has a say. */
const LOAD_STEPS = 256;
/** Schedulers that work side by side keep to hosts of their own where loads differ by no more than this. */
const SHARED_LOAD_DIFFERENCE = 1 / 16;
/** Coarse: on the Azure packing traces finer steps leave too little to density, and pack up to 0.5 points worse. */
const FRAGMENTATION_STEPS = 8;

const taints: Level = {
  name: 'taints',
  says: 'the fewest taints to avoid',
  score: ({ table }, slot, wish) => wish.class.dislike(table, slot),
};

const preference: Level = {
  name: 'preference',
  says: 'the most preferred',
  score: ({ table, affinity }, slot, wish) =>
    -wish.class.liking(table, slot) - (wish.machines ? likingOf(affinity, wish.machines, slot) : 0),
};

const numa: Level = {
  name: 'numa',
  says: 'one with room on one NUMA node',
  score: ({ table }, slot, wish) => (cellFor(table, slot, wish.request) === NO_CELL ? 1 : 0),
};

const lifetime: Level = {
  name: 'lifetime',
  says: 'the one that stays busy as long anyway',
  score: ({ lifetimes }, slot, _wish, { nowMs, exitAtMs }) => extensionSteps(exitAtMs - lifetimes.exitOf(slot, nowMs)),
};

const fragmentation: Level = {
  name: 'fragmentation',
  says: 'the one whose leftover is of most use',
  score: ({ table, mix }, slot, { request }) => {
    const memoryBytes = table.freeMemory(slot) - (table.offeredMemory[slot] ?? 0);
    const vcpus = table.freeVcpus(slot) - (table.offeredVcpus[slot] ?? 0);
    const host = { memoryBytes: table.memory[slot] ?? 1, vcpus: table.vcpus[slot] ?? 1 };
    const after = { memoryBytes: memoryBytes - request.memoryBytes, vcpus: vcpus - request.vcpus };
    const increase = mix.fragmentation(after, host) - mix.fragmentationOf(slot, { memoryBytes, vcpus }, host);
    return Math.floor(increase * FRAGMENTATION_STEPS);
  },
};

const balance: Level = {
  name: 'balance',
  says: 'the least loaded',
  score: ({ table }, slot, { request }) =>
    Math.floor(loadOf(table, slot, request.memoryBytes, request.vcpus) * LOAD_STEPS),
};

const nearlyBalanced: Level = {
  ...balance,
  tolerance: SHARED_LOAD_DIFFERENCE,
  score: ({ table }, slot, { request }) => loadOf(table, slot, request.memoryBytes, request.vcpus),
};

const share: Level = {
  name: 'share',
  says: 'one that no other scheduler looks after',
  score: ({ table, share: own }, slot) => (own.has(table.uids[slot] ?? '') ? 0 : 1),
};

const density: Level = {
  name: 'density',
  says: 'the fullest',
  score: ({ table }, slot, { request }) => {
    const memory = table.freeMemory(slot) - (table.offeredMemory[slot] ?? 0) - request.memoryBytes;
    const vcpus = table.freeVcpus(slot) - (table.offeredVcpus[slot] ?? 0) - request.vcpus;
    return Math.floor(Math.hypot(memory / (table.memory[slot] ?? 1), vcpus / (table.vcpus[slot] ?? 1)) * LOAD_STEPS);
  },
};

const ofPolicy: Readonly<Record<SchedulingPolicy, readonly Level[]>> = {
  balance: [balance],
  density: [lifetime, fragmentation, density],
};

const amongSeveral: typeof ofPolicy = {
  balance: [nearlyBalanced, share, balance],
  density: [lifetime, fragmentation, share, density],
};

/** The levels for a request, the one that counts most first; `preferring`: whether hosts may be liked differently. */
export const levelsFor = (
  wish: Wish,
  {
    policy,
    preferring,
    alone,
  }: { readonly policy: SchedulingPolicy; readonly preferring: boolean; readonly alone: boolean },
): readonly Level[] => {
  const levels = (alone ? ofPolicy : amongSeveral)[policy];
  if (!preferring && wish.request.numa !== 'best-effort') return levels;
  return [
    ...(preferring ? [taints, preference] : []),
    ...(wish.request.numa === 'best-effort' ? [numa] : []),
    ...levels,
  ];
};
