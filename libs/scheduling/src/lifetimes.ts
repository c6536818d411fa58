import type { Uuid } from '@xenolith/kernel';

/** Ages in milliseconds fall into buckets of which two make a doubling, from one second to 35 years. */
const STEPS_PER_DOUBLING = 2;
const FIRST_EXPONENT = 10;
const BUCKETS = 60;
/** Nothing is known of how long machines live: a day, between tests that last minutes and servers that last years. */
const UNKNOWN_LIFETIME_MS = 86_400_000;
/** Deaths that a group must have shown before it is believed rather than the next wider one. */
const DEATHS_TO_BELIEVE = 8;
/** A group's table is made anew after so many deaths, or a quarter of those that live. */
const DEATHS_PER_REFRESH = 16;
/** Groups kept; more than that are taken for their flavour alone. */
const GROUPS_MAX = 16_384;

const bucketOf = (ageMs: number): number =>
  ageMs <= 0
    ? 0
    : Math.min(BUCKETS - 1, Math.max(0, Math.floor((Math.log2(ageMs) - FIRST_EXPONENT) * STEPS_PER_DOUBLING)));

const startOf = (bucket: number): number => (bucket === 0 ? 0 : 2 ** (FIRST_EXPONENT + bucket / STEPS_PER_DOUBLING));
const STARTS = Float64Array.from({ length: BUCKETS + 1 }, (_, bucket) => startOf(bucket));

/** How long machines of one group live: an empirical survival function (Kaplan and Meier's, over buckets of age), those that still live included. */
class Survival {
  deaths = 0;
  private readonly diedAt = new Float64Array(BUCKETS);
  /** Ages at which machines were first seen: those who died younger were never seen, so they say nothing of younger ages. */
  private readonly enteredAt = new Float64Array(BUCKETS);
  private readonly living = new Map<Uuid, number>();
  private readonly remaining = new Float64Array(BUCKETS);
  private fresh = false;
  private unseen = 0;

  get size(): number {
    return this.living.size;
  }

  born(machine: Uuid, bornAtMs: number, nowMs: number): void {
    this.living.set(machine, bornAtMs);
    const bucket = bucketOf(nowMs - bornAtMs);
    this.enteredAt[bucket] = (this.enteredAt[bucket] ?? 0) + 1;
  }

  /** It was heard of at a later age, yet would have been heard of had it died before. */
  seenFromBirth(machine: Uuid, heardAtMs: number): void {
    const bucket = bucketOf(heardAtMs - (this.living.get(machine) ?? heardAtMs));
    this.enteredAt[bucket] = (this.enteredAt[bucket] ?? 0) - 1;
    this.enteredAt[0] = (this.enteredAt[0] ?? 0) + 1;
    this.fresh = false;
  }

  died(machine: Uuid, atMs: number): void {
    const bornAt = this.living.get(machine);
    if (bornAt === undefined) return;
    this.living.delete(machine);
    const bucket = bucketOf(atMs - bornAt);
    this.diedAt[bucket] = (this.diedAt[bucket] ?? 0) + 1;
    this.deaths += 1;
    this.unseen += 1;
    if (this.unseen >= DEATHS_PER_REFRESH && this.unseen * 4 >= this.living.size) this.fresh = false;
  }

  /** Milliseconds that a machine of this age is expected to live on. */
  expected(ageMs: number, nowMs: number): number {
    if (!this.fresh) this.refresh(nowMs);
    const bucket = bucketOf(ageMs);
    const left = this.remaining[bucket] ?? ageMs;
    // The table says it of those who have just come to the bucket.
    return Math.max(left - (ageMs - (STARTS[bucket] ?? 0)), left / 4);
  }

  private refresh(nowMs: number): void {
    const reached = new Float64Array(BUCKETS + 1);
    for (const bornAt of this.living.values()) {
      const bucket = bucketOf(nowMs - bornAt);
      reached[bucket] = (reached[bucket] ?? 0) + 1;
    }
    let atRisk = 0;
    let beyond = STARTS[BUCKETS] ?? 0;
    for (let bucket = BUCKETS - 1; bucket >= 0; bucket -= 1) {
      const died = this.diedAt[bucket] ?? 0;
      // Those that live in this bucket have come half way through it.
      atRisk += died + (reached[bucket] ?? 0) / 2;
      const [start, width] = [STARTS[bucket] ?? 0, (STARTS[bucket + 1] ?? 0) - (STARTS[bucket] ?? 0)];
      const hazard = atRisk > 0 ? Math.min(1, died / atRisk) : 0;
      // Nobody has been that old: what has lived long lives as long again.
      const onward = atRisk > 0 ? hazard * (width / 2) + (1 - hazard) * (width + beyond) : Math.max(start, width);
      this.remaining[bucket] = beyond = onward;
      atRisk += (reached[bucket] ?? 0) / 2 - (this.enteredAt[bucket] ?? 0);
    }
    this.fresh = true;
    this.unseen = 0;
  }
}

export interface Flavour {
  readonly namespace: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
}

interface Living {
  readonly bornAtMs: number;
  readonly heardAtMs: number;
  readonly groups: readonly Survival[];
  readonly slot: number;
  /** When it was expected to go when that was last asked. */
  exitMs: number;
}

/**
 * Predicts how long machines live from those of the same namespace and flavour that have finished, else of the same flavour, else of all; and from that when
 * a host will be empty. A host's exit is predicted anew, each machine by its age, when one of them has gone or the moment has passed.
 * (LAVA, arXiv 2412.09840: NILAS.)
 */
export class Lifetimes {
  private readonly all = new Survival();
  private readonly groups = new Map<string, Survival>();
  private readonly living = new Map<Uuid, Living>();
  private readonly onSlot: Set<Living>[] = [];
  /** 0: to be predicted anew. */
  private exits = new Float64Array(64);

  /** `bornAtMs` is before `nowMs` when the machine ran before it was heard of. */
  placed(placement: Uuid, placed: Flavour & { slot: number; bornAtMs: number; nowMs: number }): void {
    this.forget(placement);
    const { slot, bornAtMs, nowMs, ...flavour } = placed;
    const groups = this.groupsOf(flavour, true);
    const machine: Living = { bornAtMs, heardAtMs: nowMs, groups, slot, exitMs: 0 };
    for (const group of groups) group.born(placement, bornAtMs, nowMs);
    this.living.set(placement, machine);
    (this.onSlot[slot] ??= new Set()).add(machine);
    if (slot >= this.exits.length) {
      const exits = new Float64Array(Math.max(slot + 1, this.exits.length * 2));
      exits.set(this.exits);
      this.exits = exits;
    }
    const exit = this.exits[slot] ?? 0;
    if (exit === 0) return;
    machine.exitMs = nowMs + expected(machine, nowMs);
    this.exits[slot] = Math.max(exit, machine.exitMs);
  }

  released(placement: Uuid, atMs: number): void {
    for (const group of this.living.get(placement)?.groups ?? []) group.died(placement, atMs);
    this.forget(placement);
  }

  /**
   * Takes in what happened from `sinceMs` on before anybody listened: the machines that came and went, and with them that those which came then and live still could have
   * gone as well. To be called once.
   */
  remember(
    sinceMs: number,
    gone: Iterable<{ placement: Uuid; flavour: Flavour; bornAtMs: number; diedAtMs: number }>,
  ): void {
    for (const { placement, flavour, bornAtMs, diedAtMs } of gone)
      for (const group of this.groupsOf(flavour, true)) {
        group.born(placement, bornAtMs, bornAtMs);
        group.died(placement, diedAtMs);
      }
    for (const [placement, { bornAtMs, heardAtMs, groups }] of this.living)
      if (bornAtMs >= sinceMs) for (const group of groups) group.seenFromBirth(placement, heardAtMs);
    this.exits.fill(0);
  }

  /** Milliseconds that a new machine is expected to live. */
  predicted(flavour: Flavour, nowMs: number): number {
    return expected({ bornAtMs: nowMs, groups: this.groupsOf(flavour, false) }, nowMs);
  }

  /** Milliseconds that a machine which runs is expected to live on; endless for one that is not known. */
  remaining(placement: Uuid, nowMs: number): number {
    const machine = this.living.get(placement);
    return machine ? expected(machine, nowMs) : Number.POSITIVE_INFINITY;
  }

  /** When a host's last machine is expected to go; now, when it has none. */
  exitOf(slot: number, nowMs: number): number {
    // One of the machines there is the last to go, so that a host without any has no exit that is still to come.
    const known = this.exits[slot] ?? 0;
    if (known > nowMs) return known;
    const machines = this.onSlot[slot];
    if (!machines || machines.size === 0) return nowMs;
    let exit = nowMs;
    for (const machine of machines) {
      machine.exitMs = nowMs + expected(machine, nowMs);
      if (machine.exitMs > exit) exit = machine.exitMs;
    }
    return (this.exits[slot] = exit);
  }

  isEmpty(slot: number): boolean {
    return (this.onSlot[slot]?.size ?? 0) === 0;
  }

  private forget(placement: Uuid): void {
    const machine = this.living.get(placement);
    if (!machine) return;
    this.living.delete(placement);
    this.onSlot[machine.slot]?.delete(machine);
    // Only the one that would have gone last changes when the host is empty.
    if (machine.exitMs >= (this.exits[machine.slot] ?? 0)) this.exits[machine.slot] = 0;
  }

  private groupsOf({ namespace, vcpus, memoryBytes }: Flavour, made: boolean): readonly Survival[] {
    const flavour = `${vcpus}/${memoryBytes}`;
    const found = [`${namespace}/${flavour}`, flavour].map((name) => {
      const known = this.groups.get(name);
      if (known || !made || this.groups.size >= GROUPS_MAX) return known;
      const group = new Survival();
      this.groups.set(name, group);
      return group;
    });
    return [...found.filter((group) => group !== undefined), this.all];
  }
}

const expected = (machine: Pick<Living, 'bornAtMs' | 'groups'>, nowMs: number): number => {
  const age = Math.max(0, nowMs - machine.bornAtMs);
  for (const group of machine.groups) if (group.deaths >= DEATHS_TO_BELIEVE) return group.expected(age, nowMs);
  return Math.max(UNKNOWN_LIFETIME_MS, age);
};

/** Differences of exit times that count as one: each step is twice the one before, from one minute. */
const FIRST_STEP_MS = 60_000;

/** By how many steps a machine would keep its host from being empty; 0: it will be gone before the others. */
export const extensionSteps = (extensionMs: number): number =>
  extensionMs <= 0 ? 0 : 1 + Math.max(0, Math.floor(Math.log2(extensionMs / FIRST_STEP_MS)));
