import type { PlannedMachine } from './planned-machine.js';
import type { WhatIf } from './what-if.js';

/** CPU and memory, side by side: shares of a host, and what a machine adds to them. */
const DIMENSIONS = 2;
export const CPU = 0;
export const MEMORY = 1;

/**
 * How unevenly hosts are used: the standard deviations of their CPU and memory shares, added up (as in DRS 2.0 and in Ganeti's hbal), kept as sums,
 * so that a move is weighed by its two hosts alone.
 */
export class Evenness {
  private readonly shares: Float64Array;
  private readonly sums = new Float64Array(DIMENSIONS);
  private readonly squares = new Float64Array(DIMENSIONS);
  private readonly deviations = new Float64Array(DIMENSIONS);
  /** One over the threads and over the memory of each host. */
  private readonly scale: Float64Array;

  constructor(
    private readonly whatIf: WhatIf,
    readonly slots: readonly number[],
  ) {
    const { table } = whatIf.outlook;
    this.shares = new Float64Array(slots.length * DIMENSIONS);
    this.scale = Float64Array.from(
      slots.flatMap((slot) => [1 / Math.max(1, whatIf.threadsOf(slot)), 1 / Math.max(1, table.memory[slot] ?? 0)]),
    );
    this.look();
  }

  /** Takes in what has moved. */
  look(): void {
    this.sums.fill(0);
    this.squares.fill(0);
    for (const [at, slot] of this.slots.entries())
      for (const [dimension, share] of [this.whatIf.cpuShare(slot), this.whatIf.memoryShare(slot)].entries()) {
        this.shares[at * DIMENSIONS + dimension] = share;
        this.sums[dimension] = (this.sums[dimension] ?? 0) + share;
        this.squares[dimension] = (this.squares[dimension] ?? 0) + share * share;
      }
    for (const dimension of [CPU, MEMORY])
      this.deviations[dimension] = deviation(
        this.squares[dimension] ?? 0,
        this.sums[dimension] ?? 0,
        this.slots.length,
      );
  }

  /** By how much the imbalance falls when a machine goes from one host to another, and one of that comes back in its place. */
  gain(from: number, to: number, there: PlannedMachine, back?: PlannedMachine): number {
    const cpu = there.load.cpu - (back ? back.load.cpu : 0);
    const memory = there.request.memoryBytes - (back ? back.request.memoryBytes : 0);
    return this.fall(from, to, CPU, cpu) + this.fall(from, to, MEMORY, memory);
  }

  private fall(from: number, to: number, dimension: number, amount: number): number {
    const { shares, scale } = this;
    const [one, other] = [from * DIMENSIONS + dimension, to * DIMENSIONS + dimension];
    const left = shares[one] ?? 0;
    const right = shares[other] ?? 0;
    const less = left - amount * (scale[one] ?? 0);
    const more = right + amount * (scale[other] ?? 0);
    const sum = (this.sums[dimension] ?? 0) - left - right + less + more;
    const squares = (this.squares[dimension] ?? 0) - left * left - right * right + less * less + more * more;
    return (this.deviations[dimension] ?? 0) - deviation(squares, sum, this.slots.length);
  }

  /** Hosts by how much is asked of them in one dimension, most first. */
  byShare(dimension: number): readonly number[] {
    const share = (at: number): number => this.shares[at * DIMENSIONS + dimension] ?? 0;
    return this.slots.map((_slot, at) => at).sort((left, right) => share(right) - share(left) || left - right);
  }
}

const deviation = (squares: number, sum: number, count: number): number =>
  Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
