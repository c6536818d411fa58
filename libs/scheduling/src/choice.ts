import { HOSTNAME_LABEL } from '@xenolith/contracts';
import { fromEmptiest, fromTightest } from './capacity-buckets.js';
import { isNearer, VerdictBook, type Refusal } from './class-verdicts.js';
import { admits, asksAsItsClass, FILTERS, FITS, refusedBy, type Wish } from './filters.js';
import { cellToReserve } from './host-cells.js';
import { startedAtMs } from './placement-document.js';
import { levelsFor, type Level, type Moment, type Outlook, type SchedulingPolicy } from './scores.js';

/**
 * Hosts that fit and are compared: with so many the best is nearly as good as the best of all, and a decision touches tens of hosts. To balance it takes
 * fewer, as the index brings them in nearly the order of their score; on the Azure packing traces 16 pack 0.2 points worse than 32.
 */
export const COMPARED: Readonly<Record<SchedulingPolicy, number>> = { balance: 16, density: 32 };
/** With so few hosts that may do, all of them are looked at. */
const ALL_LOOKED_AT = 128;
/**
 * Where no more hosts are in use, density compares as many as are ever compared: on the Azure packing traces 128 pack 0.4 and 0.6 points better than
 * 32. Where more are, more machines come at once, and what a decision takes counts more.
 */
const IN_USE_COMPARED_WIDELY = 768;
/** Hosts of one bucket, and in all, that are looked at before all hosts are: buckets are coarse, and what does not fit is many. */
const LOOKED_AT_PER_BUCKET = 128;
const LOOKED_AT_MAX = 1_024;
/** Where less than one host in so many may do, those are gone through instead of the buckets of all. */
const RARE = 16;

export interface Choice {
  readonly slot: number;
  /** The NUMA node that is to be reserved, or `NO_CELL`. */
  readonly cell: number;
  readonly looked: number;
  readonly fitting: number;
  /** The score that decided; null: any of the hosts that were left, by the seed. */
  readonly level: Level | null;
}

export interface Asked {
  readonly policy: SchedulingPolicy;
  /** Of equals one is taken by the seed, so that the same command chooses alike everywhere and different ones spread. */
  readonly seed: number;
  readonly nowMs: number;
}

/** Chooses hosts: an index brings those that may fit, filters say which do, and the scores' levels decide among them. */
export class HostSearch {
  private readonly found = new Int32Array(ALL_LOOKED_AT);
  private readonly scores = new Float64Array(ALL_LOOKED_AT);
  private fitting = 0;
  private most = ALL_LOOKED_AT;
  /** The search that looked at a slot last: none looks twice. */
  private seen = new Uint32Array(64);
  private search = 0;
  private looked = 0;
  private readonly verdicts: VerdictBook;

  constructor(private readonly outlook: Outlook) {
    this.verdicts = new VerdictBook(outlook.table);
  }

  /** Null when no host fits. */
  choose(wish: Wish, asked: Asked): Choice | null {
    if (this.verdicts.fitsNowhere(wish.class)) return null;
    this.begin(asked.policy);
    this.collect(wish, asked);
    if (this.fitting === 0) return null;
    const { fitting, looked } = this;
    const level = this.decide(wish, asked);
    const slot = this.found[asked.seed % this.fitting] ?? 0;
    const prefer = asked.policy === 'balance' ? 'emptiest' : 'tightest';
    const cell = cellToReserve(this.outlook.table, slot, wish.request, { prefer });
    return { slot, cell, looked, fitting, level };
  }

  /** The reasons of every host. */
  refusal(wish: Wish): Refusal {
    const verdicts = this.verdicts.of(wish.class);
    if (asksAsItsClass(wish)) return verdicts.refusal();
    const { table } = this.outlook;
    const refused = new Int32Array(FILTERS.length);
    const example = new Int32Array(FILTERS.length).fill(-1);
    let considered = 0;
    for (let slot = 0; slot < table.length; slot += 1) {
      if (!verdicts.isPresent(slot)) continue;
      considered += 1;
      const filter = refusedBy(this.outlook, slot, wish, verdicts.of(slot));
      if (filter === FITS) continue;
      refused[filter] = (refused[filter] ?? 0) + 1;
      const shown = example[filter] ?? -1;
      if (shown < 0 || isNearer(table, filter, slot, shown)) example[filter] = slot;
    }
    return { considered, refused, example };
  }

  private begin(policy: SchedulingPolicy): void {
    this.fitting = this.looked = 0;
    this.most = COMPARED[policy];
    this.search = (this.search + 1) >>> 0;
    const { length } = this.outlook.table;
    if (this.seen.length < length || this.search === 0) {
      this.seen = new Uint32Array(Math.max(64, length * 2));
      this.search = 1;
    }
  }

  /** Leaves those with the lowest scores; answers the last level that told hosts apart. */
  private decide(wish: Wish, asked: Asked): Level | null {
    if (this.fitting === 1) return null;
    const { nowMs, policy } = asked;
    const { virtualMachine, vcpus, memoryBytes } = wish.request;
    const { lifetimes, share } = this.outlook;
    const flavour = { namespace: virtualMachine.namespace, vcpus, memoryBytes };
    const bornAtMs = startedAtMs(wish.request) ?? nowMs;
    const lives = policy === 'density' ? lifetimes.predicted(flavour, { bornAtMs, nowMs }) : 0;
    const moment: Moment = { nowMs, exitAtMs: nowMs + lives };
    let decider: Level | null = null;
    for (const level of levelsFor(wish, { policy, preferring: this.prefers(wish), alone: share.isWhole })) {
      if (this.keepLowest(level, wish, moment)) decider = level;
      if (this.fitting === 1) break;
    }
    return decider;
  }

  private keepLowest(level: Level, wish: Wish, moment: Moment): boolean {
    const { found, scores, fitting } = this;
    let lowest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < fitting; index += 1) {
      const score = level.score(this.outlook, found[index] ?? 0, wish, moment);
      scores[index] = score;
      if (score < lowest) lowest = score;
    }
    let kept = 0;
    const highest = lowest + (level.tolerance ?? 0);
    for (let index = 0; index < fitting; index += 1)
      if ((scores[index] ?? 0) <= highest) found[kept++] = found[index] ?? 0;
    this.fitting = kept;
    return kept < fitting;
  }

  private prefers(wish: Wish): boolean {
    return wish.class.prefers(this.outlook.table) || (wish.machines?.liked.length ?? 0) > 0;
  }

  private collect(wish: Wish, asked: Asked): void {
    const { table } = this.outlook;
    const { host } = wish.request;
    if (host !== undefined) {
      this.look(table.slotNamed(host) ?? -1, wish);
      return;
    }
    const together = wish.machines?.near.find((term) => term.topologyKey === HOSTNAME_LABEL);
    if (together) {
      for (const slot of together.matching.keys()) if (this.look(Number(slot), wish)) return;
      return;
    }
    const eligible = wish.class.eligible(table);
    if (eligible.hosts === 0) return;
    if (eligible.hosts <= ALL_LOOKED_AT) {
      this.most = ALL_LOOKED_AT;
      for (const group of eligible.groups) this.lookAll(group, wish, 0);
      return;
    }
    const inUse = table.hosts - table.unusedHosts;
    if (asked.policy === 'density' && inUse <= IN_USE_COMPARED_WIDELY) this.most = ALL_LOOKED_AT;
    this.collectLiked(wish);
    if (wish.class.prefers(table) || eligible.hosts * RARE < table.hosts)
      for (const group of eligible.groups) if (this.lookAll(group, wish, asked.seed)) break;
    if (this.fitting < this.most) {
      // What others take shows late: the hosts that look best are soon mostly theirs.
      if (!this.outlook.share.isWhole) this.walk(wish, asked, { own: true, until: this.most / 2 });
      this.walk(wish, asked, { own: false, until: this.most });
    }
    // Buckets are coarse and other filters many: before it is said that nothing fits, every host has been asked.
    if (this.fitting === 0) this.lookEverywhere(wish, asked.seed);
  }

  /** Hosts of machines that this one likes to be near to: an index by what is free would hardly bring them. */
  private collectLiked(wish: Wish): void {
    for (const { weight, term } of wish.machines?.liked ?? []) {
      if (weight < 0 || term.topologyKey !== HOSTNAME_LABEL) continue;
      for (const slot of term.matching.keys()) {
        if (this.fitting >= this.most / 2) return;
        this.look(Number(slot), wish);
      }
    }
  }

  /** `own`: hosts of this scheduler's share only; ends when so many fit. */
  private walk(
    wish: Wish,
    { policy, seed }: Asked,
    { own, until }: { readonly own: boolean; readonly until: number },
  ): void {
    const { table, share } = this.outlook;
    const { request } = wish;
    const visit = (buckets: typeof table.byFree, bucket: number): boolean => {
      const count = buckets.counts[bucket] ?? 0;
      if (count === 0) return false;
      const slots = buckets.list(bucket);
      const first = seed % count;
      const most = Math.min(count, LOOKED_AT_PER_BUCKET);
      for (let step = 0; step < most; step += 1) {
        const at = first + step;
        const slot = slots[at < count ? at : at - count] ?? -1;
        if (own && !share.has(table.uids[slot] ?? '')) continue;
        if (this.look(slot, wish) || this.fitting >= until) return true;
      }
      return this.looked > LOOKED_AT_MAX;
    };
    if (policy === 'density') {
      fromTightest(table.byFree.occupied, request, (bucket) => visit(table.byFree, bucket));
      return;
    }
    const { partitions } = wish.class.eligible(table);
    const next = (bucket: number): number => table.byLoad.next(bucket);
    fromEmptiest(partitions, next, (bucket) => visit(table.byLoad, bucket));
  }

  private lookAll(group: number, wish: Wish, seed: number): boolean {
    const { byTraits } = this.outlook.table;
    const count = byTraits.counts[group] ?? 0;
    const slots = byTraits.list(group);
    for (let step = 0; step < count; step += 1) if (this.look(slots[(seed + step) % count] ?? -1, wish)) return true;
    return this.looked > LOOKED_AT_MAX;
  }

  /** Every host that the class lets through, from the seed's on, around. */
  private lookEverywhere(wish: Wish, seed: number): void {
    const verdicts = this.verdicts.of(wish.class);
    const first = seed % this.outlook.table.length;
    for (let slot = verdicts.nextFit(first); slot >= 0; slot = verdicts.nextFit(slot + 1))
      if (this.look(slot, wish)) return;
    for (let slot = verdicts.nextFit(0); slot >= 0 && slot < first; slot = verdicts.nextFit(slot + 1))
      if (this.look(slot, wish)) return;
  }

  /** Takes a host if it fits; true when there are enough. */
  private look(slot: number, wish: Wish): boolean {
    if (slot < 0 || this.seen[slot] === this.search) return false;
    this.seen[slot] = this.search;
    this.looked += 1;
    if (!this.outlook.table.isOpen(slot) || !admits(this.outlook, slot, wish)) return false;
    this.found[this.fitting] = slot;
    this.fitting += 1;
    return this.fitting === this.most;
  }
}
