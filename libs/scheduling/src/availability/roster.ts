import type { HostTable } from '../host-table.js';
import type { Board } from './board.js';
import { weightOf, type Ranking, type Weights } from './packing.js';

/** With more hosts changed than this they are sorted anew; fewer are moved one by one. */
const MOVED_ONE_BY_ONE = 32;

/** The hosts of a cluster that may take machines, from the fullest to the emptiest. */
export class Roster implements Ranking {
  weights: Weights = { perByte: 0, perVcpu: 0 };
  slots: number[] = [];
  private free: number[] = [];

  constructor(
    private readonly table: HostTable,
    private readonly board: Board,
  ) {}

  from(weight: number): number {
    let [low, high] = [0, this.free.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.free[middle] ?? 0) < weight) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Hosts have come, gone or changed. */
  reset(members: ReadonlySet<number>): void {
    const open = [...members].filter((slot) => this.table.isOpen(slot));
    const total = (of: (slot: number) => number): number => open.reduce((sum, slot) => sum + of(slot), 0) || 1;
    this.weights = {
      perByte: 1 / total((slot) => this.table.memory[slot] ?? 0),
      perVcpu: 1 / total((slot) => this.table.vcpus[slot] ?? 0),
    };
    this.sort(open);
  }

  /** What is free on hosts has changed. */
  moved(slots: ReadonlySet<number>): void {
    if (slots.size > MOVED_ONE_BY_ONE) {
      this.sort(this.slots);
      return;
    }
    for (const slot of slots) {
      const place = this.slots.indexOf(slot);
      if (place < 0) continue;
      this.slots.splice(place, 1);
      this.free.splice(place, 1);
      const weight = this.weigh(slot);
      const at = this.from(weight);
      this.slots.splice(at, 0, slot);
      this.free.splice(at, 0, weight);
    }
  }

  private sort(slots: readonly number[]): void {
    const weighed = slots.map((slot): [number, number] => [this.weigh(slot), slot]);
    weighed.sort(([left, one], [right, other]) => left - right || one - other);
    this.slots = weighed.map(([, slot]) => slot);
    this.free = weighed.map(([weight]) => weight);
  }

  private weigh(slot: number): number {
    const { claims } = this.board;
    return weightOf(this.weights, { memoryBytes: claims.freeMemory(slot), vcpus: claims.freeVcpus(slot) });
  }
}
