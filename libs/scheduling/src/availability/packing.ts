import type { Board, Seat } from './board.js';
import { nearTerms, type Resident } from './resident.js';

/** Hosts asked to move machines of a plan out of each other's way, before other orders are tried. */
const REPAIR_STEPS = 5_000;
/** A machine that makes room may need another to make room for it, and no further: each level multiplies what is tried. */
const REPAIR_DEPTH = 2;

/** What a byte and a vCPU weigh, so that what is scarcer in a cluster counts more. */
export interface Weights {
  readonly perByte: number;
  readonly perVcpu: number;
}

/** Hosts of a cluster from the fullest to the emptiest, as they are before anything is lost. */
export interface Ranking {
  readonly weights: Weights;
  readonly slots: readonly number[];
  /** The first place in `slots` from which on hosts have so much free. */
  from(weight: number): number;
}

export const weightOf = (
  { perByte, perVcpu }: Weights,
  demand: { readonly memoryBytes: number; readonly vcpus: number },
): number => demand.memoryBytes * perByte + demand.vcpus * perVcpu;

const freeWeight = (board: Board, { perByte, perVcpu }: Weights, slot: number): number =>
  board.claims.freeMemory(slot) * perByte + board.claims.freeVcpus(slot) * perVcpu;

const machineWeight = (weights: Weights, { request }: Resident): number => weightOf(weights, request);

type Order = (left: Resident, right: Resident) => number;

/** Machines that others of a plan are to be near to come first: where they are, the others follow. */
const followers: Order = (left, right) =>
  Number(nearTerms(left.request).length > 0) - Number(nearTerms(right.request).length > 0);
const tie: Order = (left, right) => (left.placement < right.placement ? -1 : 1);

const largest: Order = (left, right) => right.request.memoryBytes - left.request.memoryBytes;
const widest: Order = (left, right) => right.request.vcpus - left.request.vcpus;

export const heaviestFirst =
  (weights: Weights): Order =>
  (left, right) =>
    followers(left, right) || machineWeight(weights, right) - machineWeight(weights, left) || tie(left, right);

/** Orders in which machines are seated, the hardest to place first: by all that they need, by memory, by vCPUs. */
export const ordersFor = (weights: Weights): readonly Order[] => {
  const ties: Order = (left, right) => heaviestFirst(weights)(left, right);
  return [
    ties,
    (left, right) => followers(left, right) || largest(left, right) || ties(left, right),
    (left, right) => followers(left, right) || widest(left, right) || ties(left, right),
  ];
};

/** Seats each machine on the first host that holds it, from a place of its own on: plans for different losses lean on different hosts. */
export const spread = (board: Board, machines: readonly Resident[], ranking: Ranking, start: number): Resident[] => {
  const { slots, weights } = ranking;
  const left: Resident[] = [];
  let turn = start;
  for (const machine of machines) {
    const first = ranking.from(machineWeight(weights, machine));
    const width = slots.length - first;
    let seated = false;
    for (let step = 0; step < width && !seated; step += 1) {
      const slot = slots[first + ((turn + step) % width)] ?? -1;
      if (!board.canHold(machine, slot)) continue;
      board.put(machine, slot);
      seated = true;
      turn += step + 1;
    }
    if (!seated) left.push(machine);
  }
  return left;
};

/** The host that a machine fills best, or -1. */
const tightest = (board: Board, machine: Resident, ranking: Ranking): number => {
  const { slots, weights } = ranking;
  let [found, least] = [-1, Number.POSITIVE_INFINITY];
  for (const slot of board.usedSlots()) {
    const free = freeWeight(board, weights, slot);
    if (free < least && board.canHold(machine, slot)) [found, least] = [slot, free];
  }
  // Of hosts that nobody is seated on, the first one is the tightest.
  for (let place = ranking.from(machineWeight(weights, machine)); place < slots.length; place += 1) {
    const slot = slots[place] ?? -1;
    if (board.isUsed(slot)) continue;
    if (freeWeight(board, weights, slot) >= least) break;
    if (board.canHold(machine, slot)) return slot;
  }
  return found;
};

/** Best fit, largest first, where those that are in the way of one that fits nowhere are moved: answers who is left over. */
export const pack = (board: Board, machines: readonly Resident[], ranking: Ranking): Resident[] => {
  const repair = new Repair(board, ranking);
  return machines.filter((machine) => !repair.seat(machine, REPAIR_DEPTH));
};

/** Seats machines where others of the plan have to make room. */
class Repair {
  private readonly until: number;

  constructor(
    private readonly board: Board,
    private readonly ranking: Ranking,
  ) {
    this.until = board.steps + REPAIR_STEPS;
  }

  seat(machine: Resident, depth: number): boolean {
    const slot = tightest(this.board, machine, this.ranking);
    if (slot >= 0) {
      this.board.put(machine, slot);
      return true;
    }
    return depth > 0 && this.makeRoom(machine, depth);
  }

  private makeRoom(machine: Resident, depth: number): boolean {
    const { board } = this;
    for (const slot of board.usedSlots()) {
      if (!board.mayTake(machine, slot)) continue;
      for (const seat of board.seatsAt(slot)) {
        if (board.steps > this.until) return false;
        if (this.isSmaller(seat.machine, machine) && this.replace(seat, machine, depth)) return true;
      }
    }
    return false;
  }

  /** Only smaller ones make room: the chain ends, as each has an easier search before it. */
  private isSmaller(one: Resident, other: Resident): boolean {
    const { weights } = this.ranking;
    return machineWeight(weights, one) < machineWeight(weights, other);
  }

  private replace(seat: Seat, machine: Resident, depth: number): boolean {
    const { board } = this;
    board.take(seat);
    if (board.canHold(machine, seat.slot)) {
      const placed = board.put(machine, seat.slot);
      if (this.seat(seat.machine, depth - 1)) return true;
      board.take(placed);
    }
    board.putBack(seat);
    return false;
  }
}
