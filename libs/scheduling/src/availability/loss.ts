import type { Board, Seat } from './board.js';
import { searchAll } from './exhaustive.js';
import { heaviestFirst, ordersFor, pack, spread, weightOf, type Ranking } from './packing.js';
import { nameOf, type Resident } from './resident.js';
import { shortageOf, type Shortage } from './shortage.js';

/** The loss of hosts, for which a plan is sought. */
export interface Loss {
  readonly lost: readonly number[];
  /** All machines on those hosts. */
  readonly dead: readonly Resident[];
  /** Those of them that must be restarted. */
  readonly machines: readonly Resident[];
  /** An earlier plan, of which is kept what still holds. */
  readonly before: { readonly seats: readonly Seat[]; readonly evicted: readonly Resident[] };
  /** Machines of a host that may end to make room, the first of which goes first; absent: none anywhere. */
  readonly evictable?: ((slot: number) => readonly Resident[]) | undefined;
  /** A machine that is about to come, of which only the rules are not among the claims yet. */
  readonly arriving?: Resident | undefined;
  /** Places that machines leave for others: their rules count there no more. */
  readonly leaving: readonly Resident[];
}

export type LossPlan =
  | { readonly verdict: 'covered'; readonly seats: readonly Seat[]; readonly evicted: readonly Resident[] }
  /** Proved: there is no such plan. */
  | { readonly verdict: 'impossible'; readonly shortage: Shortage }
  /** None was found, and none was proved not to be. */
  | { readonly verdict: 'unknown'; readonly shortage: Shortage };

type Failure = Exclude<LossPlan, { readonly verdict: 'covered' }>;

const NOBODY = (): readonly Resident[] => [];

/** A plan for a loss; deterministic, and bounded in what it costs. */
export const planLoss = (board: Board, loss: Loss, ranking: Ranking): LossPlan => {
  const { lost, dead, machines, arriving, leaving } = loss;
  if (machines.length === 0) return { verdict: 'covered', seats: [], evicted: [] };
  board.begin({ lost, dead, machines, arriving, leaving });
  const failure = seatAll(board, loss, ranking);
  const thought = board.end();
  return failure ?? { verdict: 'covered', ...thought };
};

/** Null: all machines are seated. */
const seatAll = (board: Board, loss: Loss, ranking: Ranking): Failure | null => {
  const left = keep(board, loss);
  if (left.length === 0) return null;
  const sorted = left.sort(heaviestFirst(ranking.weights));
  const over = spread(board, sorted, ranking, (loss.lost[0] ?? 0) * STRIDE);
  return over.length === 0 ? null : seatAnew(board, loss, ranking, over);
};

/** From nothing: by several orders, by going through all ways, by ending others; or with the proof that it can't be. `over`: who is likely to be why. */
const seatAnew = (board: Board, loss: Loss, ranking: Ranking, over: readonly Resident[]): Failure | null => {
  const { machines, evictable } = loss;
  board.clear();
  const shortage = shortageOf(board, { machines, over }, ranking.slots);
  if (shortage) return evictable ? seatByEviction(board, loss, ranking) : { verdict: 'impossible', shortage };
  let unseated: readonly Resident[] = machines;
  for (const order of ordersFor(ranking.weights)) {
    unseated = pack(board, machines.toSorted(order), ranking);
    if (unseated.length === 0) return null;
    board.clear();
  }
  const searched = searchAll(board, machines.toSorted(heaviestFirst(ranking.weights)), ranking);
  if (searched === 'seated') return null;
  if (evictable) return seatByEviction(board, loss, ranking);
  return searched === 'none'
    ? { verdict: 'impossible', shortage: noWay(machines) }
    : { verdict: 'unknown', shortage: unknown(unseated) };
};

/** Far enough apart that plans for neighbouring hosts begin elsewhere; prime, so that it goes through all places. */
const STRIDE = 7_919;

/** Seats as in the plan before, where that still does; answers the machines that are left. */
const keep = (board: Board, { machines, before }: Loss): Resident[] => {
  if (before.seats.length === 0) return [...machines];
  const wanted = new Set(machines);
  for (const machine of before.evicted) board.evict(machine);
  for (const { machine, slot } of before.seats)
    if (wanted.has(machine) && board.canHold(machine, slot)) {
      board.put(machine, slot);
      wanted.delete(machine);
    }
  return [...wanted];
};

const noWay = (machines: readonly Resident[]): Shortage => ({
  message: `all ways of restarting its ${machines.length} machines were tried, and there is none`,
});

const unknown = (unseated: readonly Resident[]): Shortage => {
  const [first] = unseated;
  const who = first ? `, and ${nameOf(first)} is left over in the best one` : '';
  return { message: `no plan was found within what a search may cost${who}` };
};

const seatByEviction = (board: Board, { machines, evictable = NOBODY }: Loss, ranking: Ranking): Failure | null => {
  board.clear();
  const { weights, slots } = ranking;
  const unseated = pack(board, machines.toSorted(heaviestFirst(weights)), ranking);
  const ranked = unseated.sort(
    (left, right) =>
      right.priority - left.priority || weightOf(weights, right.request) - weightOf(weights, left.request),
  );
  const failed = ranked.filter((machine) => !makeWay(board, machine, slots, evictable));
  if (failed.length === 0) return null;
  board.clear();
  for (const slot of slots) for (const machine of evictable(slot)) board.evict(machine);
  const shortage = shortageOf(board, { machines, over: failed }, slots);
  board.clear();
  return shortage
    ? { verdict: 'impossible', shortage: { ...shortage, message: `${shortage.message}, even if all others ended` } }
    : { verdict: 'unknown', shortage: unknown(failed) };
};

/** Ends as few machines as can be on one host, best-effort ones last, so that a machine fits there. */
const makeWay = (
  board: Board,
  machine: Resident,
  slots: readonly number[],
  evictable: (slot: number) => readonly Resident[],
): boolean => {
  let best: { readonly slot: number; readonly victims: readonly Resident[]; readonly cost: number } | null = null;
  for (const slot of slots) {
    if (!board.mayTake(machine, slot)) continue;
    const victims = victimsOn(board, machine, slot, evictable(slot));
    for (const victim of victims ?? []) board.admitAgain(victim);
    if (!victims) continue;
    const cost = victims.reduce((sum, { restart }) => sum + (restart === 'best-effort' ? BEST_EFFORT_COST : 1), 0);
    if (!best || cost < best.cost) best = { slot, victims, cost };
  }
  if (!best) return false;
  for (const victim of best.victims) board.evict(victim);
  board.put(machine, best.slot);
  return true;
};

/** One machine that is to be restarted if it can be counts as many that are not: more than a host has. */
const BEST_EFFORT_COST = 10_000;

/** Evicted for now, so that the machine fits; null: it would not fit with all of them gone, and none is. */
const victimsOn = (
  board: Board,
  machine: Resident,
  slot: number,
  evictable: readonly Resident[],
): readonly Resident[] | null => {
  const taken: Resident[] = [];
  for (const victim of evictable) {
    if (board.canHold(machine, slot)) break;
    if (board.isEvicted(victim)) continue;
    board.evict(victim);
    taken.push(victim);
  }
  if (!board.canHold(machine, slot)) {
    for (const victim of taken) board.admitAgain(victim);
    return null;
  }
  // The first ones may turn out not to have been needed once the last one was gone.
  return taken.filter((victim) => {
    board.admitAgain(victim);
    if (board.canHold(machine, slot)) return false;
    board.evict(victim);
    return true;
  });
};
