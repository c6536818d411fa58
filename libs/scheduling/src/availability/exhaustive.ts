import type { Board, Seat } from './board.js';
import type { Ranking } from './packing.js';
import { nearTerms, type Resident } from './resident.js';

/** Hosts asked before a search is given up: some milliseconds. */
const SEARCH_STEPS = 30_000;

/** `none`: every way was gone through, so there is none. `spent`: not every way. */
export type Searched = 'seated' | 'none' | 'spent';

/** Goes through all ways of seating machines, those that come to the same but once. Seated ones stay so. */
export const searchAll = (board: Board, machines: readonly Resident[], ranking: Ranking): Searched => {
  const search = new Search(board, machines, ranking);
  return search.run();
};

const alike = (one: Resident | undefined, other: Resident): boolean =>
  one?.plain === true &&
  other.plain &&
  one.class === other.class &&
  one.request.memoryBytes === other.request.memoryBytes &&
  one.request.vcpus === other.request.vcpus;

interface Rest {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly least: number;
  readonly classes: readonly Resident[];
}

const withMachine = ({ memoryBytes, vcpus, least, classes }: Rest, machine: Resident): Rest => ({
  memoryBytes: memoryBytes + machine.request.memoryBytes,
  vcpus: vcpus + machine.request.vcpus,
  least: Math.min(least, machine.request.memoryBytes),
  classes: classes.some((other) => other.class === machine.class) ? classes : [machine, ...classes],
});

/** Ways that the search does not go through: the order of those that want to be near to others, and the NUMA nodes of one host. */
const hasWays = ({ request }: Resident): boolean =>
  nearTerms(request).length > 0 || request.numa === 'single-numa-node';

class Search {
  private readonly until: number;
  private readonly plain: boolean;
  /** What the machines from a place on need together, and one of each class of them. */
  private readonly rest: Rest[] = [];

  constructor(
    private readonly board: Board,
    private readonly machines: readonly Resident[],
    private readonly ranking: Ranking,
  ) {
    this.until = board.steps + SEARCH_STEPS;
    this.plain = machines.every((machine) => machine.plain);
    let rest: Rest = { memoryBytes: 0, vcpus: 0, least: Number.POSITIVE_INFINITY, classes: [] };
    for (const machine of [...machines].reverse()) {
      rest = withMachine(rest, machine);
      this.rest.unshift(rest);
    }
  }

  run(): Searched {
    const found = this.from(0, null);
    return found === 'none' && this.machines.some(hasWays) ? 'spent' : found;
  }

  private from(index: number, before: Seat | null): Searched {
    const machine = this.machines[index];
    if (!machine) return 'seated';
    if (!this.enough(index)) return 'none';
    const { board } = this;
    // Machines that are alike are seated in the order of their hosts: any other order comes to the same.
    const least = before && alike(before.machine, machine) ? this.ranking.slots.indexOf(before.slot) : 0;
    const tried = new Set<string>();
    for (let place = least; place < this.ranking.slots.length; place += 1) {
      if (board.steps > this.until) return 'spent';
      const slot = this.ranking.slots[place] ?? -1;
      if (!board.canHold(machine, slot)) continue;
      const state = this.stateOf(slot, machine, index, place);
      if (tried.has(state)) continue;
      tried.add(state);
      const seat = board.put(machine, slot);
      const found = this.from(index + 1, seat);
      if (found !== 'none') {
        if (found === 'spent') board.take(seat);
        return found;
      }
      board.take(seat);
    }
    return 'none';
  }

  /** Hosts that all the machines can't tell apart have the same state. */
  private stateOf(slot: number, machine: Resident, index: number, place: number): string {
    const next = this.machines[index + 1];
    if (!this.plain || (next && alike(machine, next))) return String(place);
    const { claims } = this.board;
    const may = (this.rest[index + 1]?.classes ?? []).map((other) => (this.board.mayTake(other, slot) ? 1 : 0));
    return `${claims.freeMemory(slot)}/${claims.freeVcpus(slot)}/${may.join('')}`;
  }

  private enough(index: number): boolean {
    const { claims } = this.board;
    const rest = this.rest[index];
    if (!rest) return true;
    this.board.steps += this.ranking.slots.length;
    let [memoryBytes, vcpus] = [0, 0];
    for (const slot of this.ranking.slots) {
      if (this.board.isLost(slot)) continue;
      const free = claims.freeMemory(slot);
      if (free < rest.least) continue;
      memoryBytes += free;
      vcpus += Math.max(0, claims.freeVcpus(slot));
    }
    return memoryBytes >= rest.memoryBytes && vcpus >= rest.vcpus;
  }
}
