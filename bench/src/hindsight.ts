/** Machines that must have lived longer than this one already before their lifetimes are taken for its own; else those of the next wider group are. */
const OTHERS_LEAST = 3;

/** What hindsight looks at of a machine of a trace. */
interface Lived {
  readonly tenant: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** Groups of alike machines, the narrowest first. */
const groupsOf = ({ tenant, vcpus, memoryBytes }: Lived): readonly string[] => {
  const flavour = `${vcpus}/${memoryBytes}`;
  return [`${tenant}/${flavour}`, tenant, flavour, ''];
};

/** How many of the sorted lifetimes are not longer. */
const upTo = (lifetimes: readonly number[], lifetime: number): number => {
  let [low, high] = [0, lifetimes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lifetimes[middle] ?? 0) <= lifetime) low = middle + 1;
    else high = middle;
  }
  return low;
};

/**
 * What could be known at best of how long machines live from what a request carries: tenant and flavour, and the age since. A machine lives as long as half of all others of its
 * group that have come to its age, over the whole trace, the future included; only its own lifetime is not looked at.
 */
export class Hindsight {
  private readonly lifetimes = new Map<string, number[]>();

  constructor(machines: Iterable<Lived>) {
    for (const machine of machines)
      for (const group of groupsOf(machine)) {
        const known = this.lifetimes.get(group);
        if (known) known.push(machine.endMs - machine.startMs);
        else this.lifetimes.set(group, [machine.endMs - machine.startMs]);
      }
    for (const known of this.lifetimes.values()) known.sort((left, right) => left - right);
  }

  /** When the machine would be expected to go, in milliseconds since the epoch. */
  endOf(machine: Lived, atMs: number): number {
    const [age, own] = [atMs - machine.startMs, machine.endMs - machine.startMs];
    for (const group of groupsOf(machine)) {
      const known = this.lifetimes.get(group) ?? [];
      const younger = upTo(known, age);
      const others = known.length - younger - 1;
      if (others < OTHERS_LEAST) continue;
      const middle = younger + Math.floor(others / 2);
      return machine.startMs + (known[middle < upTo(known, own) - 1 ? middle : middle + 1] ?? 0);
    }
    return Number.POSITIVE_INFINITY;
  }
}
