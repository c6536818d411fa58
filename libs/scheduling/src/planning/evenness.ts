import type { PlannedMachine } from './planned-machine.js';
import type { WhatIf } from './what-if.js';

/** CPU and memory, side by side: shares of a host, and what a machine adds to them. */
const DIMENSIONS = 2;

/**
 * How unevenly hosts are used: the standard deviations of their CPU and memory shares, added up (as in DRS 2.0 and in Ganeti's hbal), kept as sums,
 * so that a move is weighed by its two hosts alone.
 */
export class Evenness {
  private readonly shares: Float64Array;
  private readonly sums = new Float64Array(DIMENSIONS);
  private readonly squares = new Float64Array(DIMENSIONS);
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
  }

  /** By how much the imbalance falls when a machine goes from one host to another, and one of that comes back in its place. */
  gain(from: number, to: number, there: PlannedMachine, back?: PlannedMachine): number {
    const hosts = this.slots.length;
    let gain = 0;
    for (let dimension = 0; dimension < DIMENSIONS; dimension += 1) {
      const amount = amountOf(there, dimension) - (back ? amountOf(back, dimension) : 0);
      const [one, other] = [from * DIMENSIONS + dimension, to * DIMENSIONS + dimension];
      const [left, right] = [this.shares[one] ?? 0, this.shares[other] ?? 0];
      const [less, more] = [left - amount * (this.scale[one] ?? 0), right + amount * (this.scale[other] ?? 0)];
      const [sum, square] = [this.sums[dimension] ?? 0, this.squares[dimension] ?? 0];
      const sumAfter = sum - left - right + less + more;
      const squareAfter = square - left * left - right * right + less * less + more * more;
      gain += deviation(square, sum, hosts) - deviation(squareAfter, sumAfter, hosts);
    }
    return gain;
  }

  /** Hosts by how much is asked of them in one dimension, most first. */
  byShare(dimension: number): readonly number[] {
    const share = (at: number): number => this.shares[at * DIMENSIONS + dimension] ?? 0;
    return this.slots.map((_slot, at) => at).sort((left, right) => share(right) - share(left) || left - right);
  }
}

const amountOf = ({ load, request }: PlannedMachine, dimension: number): number =>
  dimension === 0 ? load.cpu : request.memoryBytes;

const deviation = (squares: number, sum: number, count: number): number =>
  Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
