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

/** One life of a machine: from its start until it is on no host any more. */
interface Life {
  readonly bornAtMs: number;
  readonly heardAtMs: number;
}

/** How long machines of one group live: an empirical survival function (Kaplan and Meier's, over buckets of age), those that still live included. */
class Survival {
  deaths = 0;
  private readonly diedAt = new Float64Array(BUCKETS);
  /** Ages at which machines were first seen: those who died younger were never seen, so they say nothing of younger ages. */
  private readonly enteredAt = new Float64Array(BUCKETS);
  private readonly living = new Set<Life>();
  private readonly remaining = new Float64Array(BUCKETS);
  private fresh = false;
  private unseen = 0;

  born(life: Life): void {
    this.living.add(life);
    const bucket = bucketOf(life.heardAtMs - life.bornAtMs);
    this.enteredAt[bucket] = (this.enteredAt[bucket] ?? 0) + 1;
  }

  /** It was heard of at a later age, yet would have been heard of had it died before. */
  seenFromBirth({ bornAtMs, heardAtMs }: Life): void {
    const bucket = bucketOf(heardAtMs - bornAtMs);
    this.enteredAt[bucket] = (this.enteredAt[bucket] ?? 0) - 1;
    this.enteredAt[0] = (this.enteredAt[0] ?? 0) + 1;
    this.fresh = false;
  }

  died(life: Life, atMs: number): void {
    this.living.delete(life);
    const bucket = bucketOf(atMs - life.bornAtMs);
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
    for (const { bornAtMs } of this.living) {
      const bucket = bucketOf(nowMs - bornAtMs);
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

interface Known extends Life {
  readonly groups: readonly Survival[];
  /** Placements that it has: two while it moves from one host to another. */
  places: number;
}

interface Stay {
  readonly machine: Uuid;
  readonly life: Known;
  readonly slot: number;
  /** When it was expected to go when that was last asked. */
  exitMs: number;
}

/** A life that began and ended. */
export interface PastLife {
  readonly machine: Uuid;
  readonly flavour: Flavour;
  readonly bornAtMs: number;
  readonly diedAtMs: number;
}

/**
 * Predicts how long machines live from those of the same namespace and flavour that have finished, else of the same flavour, else of all; and from that when
 * a host will be empty. A host's exit is predicted anew, each machine by its age, when one of them has gone or the moment has passed.
 * (LAVA, arXiv 2412.09840: NILAS.)
 */
export class Lifetimes {
  private readonly all = new Survival();
  private readonly groups = new Map<string, Survival>();
  private readonly machines = new Map<Uuid, Known>();
  /** By placement. */
  private readonly stays = new Map<Uuid, Stay>();
  private readonly onSlot: Set<Stay>[] = [];
  /** 0: to be predicted anew. */
  private exits = new Float64Array(64);

  /** `bornAtMs` is before `nowMs` when the machine ran before it was heard of. One that has another placement moves: it goes on living. */
  placed(placement: Uuid, placed: Flavour & { machine: Uuid; slot: number; bornAtMs: number; nowMs: number }): void {
    const { machine, slot, bornAtMs, nowMs, ...flavour } = placed;
    const life = this.machines.get(machine) ?? this.born(machine, flavour, { bornAtMs, heardAtMs: nowMs });
    life.places += 1;
    this.released(placement, nowMs);
    const stay: Stay = { machine, life, slot, exitMs: 0 };
    this.stays.set(placement, stay);
    (this.onSlot[slot] ??= new Set()).add(stay);
    if (slot >= this.exits.length) {
      const exits = new Float64Array(Math.max(slot + 1, this.exits.length * 2));
      exits.set(this.exits);
      this.exits = exits;
    }
    const exit = this.exits[slot] ?? 0;
    if (exit === 0) return;
    stay.exitMs = nowMs + expected(life, nowMs);
    this.exits[slot] = Math.max(exit, stay.exitMs);
  }

  /** The machine has died unless it has another placement. */
  released(placement: Uuid, atMs: number): void {
    const stay = this.stays.get(placement);
    if (!stay) return;
    const { machine, life, slot, exitMs } = stay;
    this.stays.delete(placement);
    this.onSlot[slot]?.delete(stay);
    // Only the one that would have gone last changes when the host is empty.
    if (exitMs >= (this.exits[slot] ?? 0)) this.exits[slot] = 0;
    life.places -= 1;
    if (life.places > 0) return;
    this.machines.delete(machine);
    for (const group of life.groups) group.died(life, atMs);
  }

  /**
   * Takes in what happened from `sinceMs` on before anybody listened: the machines that came and went, and with them that those which came then and live still could have
   * gone as well. To be called once.
   */
  remember(sinceMs: number, past: Iterable<PastLife>): void {
    for (const { machine, flavour, bornAtMs, diedAtMs } of past) {
      // It lived on: it only moved then.
      if ((this.machines.get(machine)?.bornAtMs ?? diedAtMs) < diedAtMs) continue;
      const life: Life = { bornAtMs, heardAtMs: bornAtMs };
      for (const group of this.groupsOf(flavour, true)) {
        group.born(life);
        group.died(life, diedAtMs);
      }
    }
    for (const life of this.machines.values())
      if (life.bornAtMs >= sinceMs) for (const group of life.groups) group.seenFromBirth(life);
    this.exits.fill(0);
  }

  /** Milliseconds that a machine is expected to live on; a new one is born now. */
  predicted(flavour: Flavour, { bornAtMs, nowMs }: { readonly bornAtMs: number; readonly nowMs: number }): number {
    return expected({ bornAtMs, groups: this.groupsOf(flavour, false) }, nowMs);
  }

  /** Milliseconds that a machine which runs is expected to live on; endless for one that is not known. */
  remaining(placement: Uuid, nowMs: number): number {
    const stay = this.stays.get(placement);
    return stay ? expected(stay.life, nowMs) : Number.POSITIVE_INFINITY;
  }

  /** When a host's last machine is expected to go; now, when it has none. */
  exitOf(slot: number, nowMs: number): number {
    // One of the machines there is the last to go, so that a host without any has no exit that is still to come.
    const known = this.exits[slot] ?? 0;
    if (known > nowMs) return known;
    const stays = this.onSlot[slot];
    if (!stays || stays.size === 0) return nowMs;
    let exit = nowMs;
    for (const stay of stays) {
      stay.exitMs = nowMs + expected(stay.life, nowMs);
      if (stay.exitMs > exit) exit = stay.exitMs;
    }
    return (this.exits[slot] = exit);
  }

  isEmpty(slot: number): boolean {
    return (this.onSlot[slot]?.size ?? 0) === 0;
  }

  private born(machine: Uuid, flavour: Flavour, life: Life): Known {
    const known: Known = { ...life, groups: this.groupsOf(flavour, true), places: 0 };
    for (const group of known.groups) group.born(known);
    this.machines.set(machine, known);
    return known;
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

const expected = ({ bornAtMs, groups }: Pick<Known, 'bornAtMs' | 'groups'>, nowMs: number): number => {
  const age = Math.max(0, nowMs - bornAtMs);
  for (const group of groups) if (group.deaths >= DEATHS_TO_BELIEVE) return group.expected(age, nowMs);
  return Math.max(UNKNOWN_LIFETIME_MS, age);
};

/** Differences of exit times that count as one: each step is twice the one before, from one minute. */
const FIRST_STEP_MS = 60_000;

/** By how many steps a machine would keep its host from being empty; 0: it will be gone before the others. */
export const extensionSteps = (extensionMs: number): number =>
  extensionMs <= 0 ? 0 : 1 + Math.max(0, Math.floor(Math.log2(extensionMs / FIRST_STEP_MS)));
