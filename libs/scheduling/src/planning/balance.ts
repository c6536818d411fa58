import { CPU, Evenness, MEMORY } from './evenness.js';
import { migrationCost } from './migration-cost.js';
import { blockedBy } from './blocked.js';
import type { Blocked, MovePlan } from './movement.js';
import { MOVES_MAX, planOf } from './plan.js';
import type { PlannedMachine } from './planned-machine.js';
import { Trial } from './trial.js';
import type { WhatIf } from './what-if.js';

/** What one move must gain at least: two percent of one host, in CPU or memory. */
const GAIN_MIN = 0.02;
/** Loads are hardly known for longer ahead: what is gained is counted for so long, or for as long as the machine lives. */
const HORIZON_MS = 600_000;
/** What a migration costs while it goes on, in hosts: half of each of its two, for the copying and for the guest that is slowed down. */
const DISTURBANCE = 1;
/** Hosts at either end of the order by share that are compared in a large cluster, in each dimension. */
const ENDS = 12;
/** Hosts at either end between which machines change places, where no single move gains: pairs of machines are many. */
const SWAP_ENDS = 4;

/** Moves that gain and would break a promise, one after the other, before no better one is looked for. */
const BARRED_MAX = 64;

export interface BalanceAsked {
  readonly cluster: string;
  readonly maxMoves?: number | undefined;
  /** Imbalance times hosts that each move must gain. */
  readonly minGain?: number | undefined;
}

/** A move, or a machine and another that comes back in its place. */
interface Exchange {
  readonly machine: PlannedMachine;
  readonly from: number;
  readonly to: number;
  readonly back?: PlannedMachine;
  readonly gain: number;
}

const keyOf = ({ machine, to, back }: Pick<Exchange, 'machine' | 'to' | 'back'>): string =>
  `${machine.placement}>${to}<${back?.placement ?? ''}`;

const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Greedy local search: of all moves the one that gains most, again and again, then exchanges. */
class Balancing {
  readonly trial: Trial;
  private readonly even: Evenness;
  private readonly barred = new Map<string, Blocked>();

  constructor(
    private readonly whatIf: WhatIf,
    slots: readonly number[],
    private readonly minGain: number,
  ) {
    this.trial = new Trial(whatIf);
    this.even = new Evenness(whatIf, slots);
  }

  /** Makes the best move, or an exchange where two moves are left, that breaks no promise; false: none gains enough. */
  improve(movesLeft: number): boolean {
    this.barred.clear();
    while (this.barred.size < BARRED_MAX) {
      const best = this.bestMove() ?? (movesLeft < 2 ? null : this.bestExchange());
      if (!best) return false;
      const blocked = this.breachOf(best);
      if (!blocked) {
        this.make(best);
        this.even.look();
        return true;
      }
      this.barred.set(keyOf(best), blocked);
    }
    return false;
  }

  /** What would have been moved next, but for what the cluster promises. */
  get blocked(): readonly Blocked[] {
    return [...new Map([...this.barred.values()].map((one) => [one.virtualMachine.uid, one])).values()];
  }

  private breachOf({ machine, to, back }: Exchange): Blocked | null {
    const { whatIf } = this;
    const slot = this.slot(to);
    const breach = whatIf.breach(machine, slot);
    if (breach) return blockedBy(whatIf, { machine, slot, breach });
    if (!back) return null;
    const stay = whatIf.move(machine, slot);
    const other = whatIf.breach(back, stay.slot);
    const blocked = other && blockedBy(whatIf, { machine: back, slot: stay.slot, breach: other });
    whatIf.back(stay);
    return blocked;
  }

  private bestMove(): Exchange | null {
    const [sources, targets] = [this.ends(ENDS, 'full'), this.ends(ENDS, 'empty')];
    let best: Exchange | null = null;
    for (const from of sources)
      for (const machine of this.movable(from))
        for (const to of targets) {
          if (to === from) continue;
          const gain = this.even.gain(from, to, machine);
          if (gain <= (best?.gain ?? 0) || !this.pays(gain, [machine])) continue;
          if (this.barred.has(keyOf({ machine, to }))) continue;
          if (this.whatIf.fits(machine, this.slot(to))) best = { machine, from, to, gain };
        }
    return best;
  }

  private bestExchange(): Exchange | null {
    const [sources, targets] = [this.ends(SWAP_ENDS, 'full'), this.ends(SWAP_ENDS, 'empty')];
    let best: Exchange | null = null;
    for (const from of sources)
      for (const to of targets) {
        if (to === from) continue;
        for (const machine of this.movable(from))
          for (const back of this.movable(to)) {
            const gain = this.even.gain(from, to, machine, back);
            if (gain <= (best?.gain ?? 0) || !this.pays(gain, [machine, back])) continue;
            const [there, here] = [this.slot(to), this.slot(from)];
            const way = { machine, from, to, back, gain };
            const other = { machine: back, from: to, to: from, back: machine, gain };
            if (!this.barred.has(keyOf(way)) && this.follows(machine, there, back)) best = way;
            else if (!this.barred.has(keyOf(other)) && this.follows(back, here, machine)) best = other;
          }
      }
    return best;
  }

  /** Whether one machine fits where another is, and that other then where the first was. */
  private follows(machine: PlannedMachine, slot: number, other: PlannedMachine): boolean {
    if (!this.whatIf.fits(machine, slot)) return false;
    const stay = this.whatIf.move(machine, slot);
    const fits = this.whatIf.fits(other, stay.slot);
    this.whatIf.back(stay);
    return fits;
  }

  /** Whether what is gained for as long as it lasts is more than the migrations cost. */
  private pays(gain: number, machines: readonly PlannedMachine[]): boolean {
    const gained = gain * this.even.slots.length;
    if (gained < this.minGain * machines.length) return false;
    return machines.every(({ remainingMs, load }) => {
      const share = (gained / machines.length) * (Math.min(HORIZON_MS, remainingMs) / 1_000);
      return share > DISTURBANCE * migrationCost(load).seconds;
    });
  }

  private make({ machine, from, to, back, gain }: Exchange): void {
    const share = back ? gain / 2 : gain;
    this.step(machine, { from, to, gain: share });
    if (back) this.step(back, { from: to, to: from, gain: share });
  }

  private step(machine: PlannedMachine, { from, to, gain }: { from: number; to: number; gain: number }): void {
    const shares = (slot: number): [string, string] => [
      percent(this.whatIf.cpuShare(slot)),
      percent(this.whatIf.memoryShare(slot)),
    ];
    const [source, target] = [this.slot(from), this.slot(to)];
    const [[cpu, memory], [cpuThere, memoryThere]] = [shares(source), shares(target)];
    const reason = `evens out: ${this.whatIf.nameOf(source)} has CPU ${cpu} and memory ${memory} in use, ${this.whatIf.nameOf(target)} ${cpuThere} and ${memoryThere}`;
    this.trial.move(machine, target, { reason, gain });
  }

  private movable(at: number): readonly PlannedMachine[] {
    return this.whatIf.on(this.slot(at)).filter(({ fixed }) => fixed === undefined);
  }

  private slot(at: number): number {
    return this.even.slots[at] ?? -1;
  }

  /** The fullest or emptiest hosts, by CPU and by memory. */
  private ends(count: number, which: 'full' | 'empty'): readonly number[] {
    const [cpu, memory] = [this.even.byShare(CPU), this.even.byShare(MEMORY)];
    const end = (order: readonly number[]): readonly number[] =>
      which === 'full' ? order.slice(0, count) : order.slice(-count).reverse();
    return [...new Set([...end(cpu), ...end(memory)])];
  }
}

/**
 * Evens out CPU and memory over the hosts of a cluster that take machines, by moves each of which gains more than it costs. Planned again on
 * its own result it has nothing to move.
 */
export const planBalance = (
  whatIf: WhatIf,
  { cluster, maxMoves = MOVES_MAX, minGain = GAIN_MIN }: BalanceAsked,
): MovePlan => {
  const slots = whatIf.slots(cluster).filter((slot) => whatIf.outlook.table.isOpen(slot));
  const balancing = new Balancing(whatIf, slots, minGain);
  const { steps: made } = balancing.trial;
  while (made.length < maxMoves && balancing.improve(maxMoves - made.length));
  const steps = [...made];
  const { blocked } = balancing;
  balancing.trial.backTo(0);
  return planOf(whatIf, { steps, slots, blocked, maxMoves });
};
