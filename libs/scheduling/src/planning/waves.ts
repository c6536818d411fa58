import { migrationCost } from './migration-cost.js';
import type { Move } from './movement.js';
import { requiredNear, type PlannedMachine, type Stay } from './planned-machine.js';
import type { Step } from './trial.js';
import type { WhatIf } from './what-if.js';

/** Migrations of one host side by side, out and in: more share its link and each takes longer. */
const PER_HOST = 2;

const choosesNode = ({ request }: PlannedMachine): boolean => request.numa !== undefined && request.numa !== 'none';

/** What begins in one wave. Rooms are held at both ends until all of it has ended. */
class Wave {
  readonly begun: Step[] = [];
  private readonly out = new Map<number, number>();
  private readonly into = new Map<number, number>();
  private readonly waitedFor = new Set<number>();
  private readonly waiting = new Set<PlannedMachine>();
  /** Hosts where an arriving machine chooses its NUMA node: what comes beside it may find its memory there first. */
  private readonly choosing = new Set<number>();
  private ruled = false;

  constructor(private readonly whatIf: WhatIf) {}

  /** Begins a step, or lets it wait; those behind it go on only where they can't get in its way. */
  take(step: Step): boolean {
    const { machine, from, to } = step;
    if (!this.mayBegin(step) || !this.whatIf.fits(machine, to) || this.whatIf.breach(machine, to)) {
      this.waitedFor.add(to);
      this.waiting.add(machine);
      return false;
    }
    this.whatIf.hold(machine, to);
    this.begun.push(step);
    this.out.set(from, (this.out.get(from) ?? 0) + 1);
    this.into.set(to, (this.into.get(to) ?? 0) + 1);
    if (choosesNode(machine)) this.choosing.add(to);
    this.ruled ||= this.whatIf.isRuled(machine);
    return true;
  }

  end(): readonly Stay[] {
    return this.begun.map(({ machine }) => this.whatIf.settle(machine));
  }

  private mayBegin({ machine, from, to }: Step): boolean {
    if (machine.slot !== from || this.waiting.has(machine)) return false;
    if (this.begun.some((step) => step.machine === machine)) return false;
    if ((this.out.get(from) ?? 0) >= PER_HOST || (this.into.get(to) ?? 0) >= PER_HOST) return false;
    if (this.choosing.has(to)) return false;
    // The company that it needs is there for certain only when nobody with rules is on the way.
    if (this.ruled && requiredNear(machine).length > 0) return false;
    return this.waiting.size === 0 || (!this.waitedFor.has(to) && !this.whatIf.isRuled(machine));
  }
}

const moveOf = (whatIf: WhatIf, { machine, from, to, reason, gain }: Step, wave: number): Move => ({
  placement: machine.placement,
  virtualMachine: machine.request.virtualMachine,
  from: whatIf.nameOf(from),
  to: whatIf.nameOf(to),
  wave,
  reason,
  gain,
  cost: migrationCost(machine.load),
});

/** Null when some step finds no room in this order. Leaves the copy as it was. */
const sideBySide = (whatIf: WhatIf, steps: readonly Step[]): readonly Move[] | null => {
  const moves: Move[] = [];
  const stays: Stay[] = [];
  let left = steps;
  for (let number = 1; left.length > 0; number += 1) {
    const wave = new Wave(whatIf);
    const waiting = left.filter((step) => !wave.take(step));
    stays.push(...wave.end());
    moves.push(...wave.begun.map((step) => moveOf(whatIf, step, number)));
    if (wave.begun.length === 0) break;
    left = waiting;
  }
  for (const stay of stays.reverse()) whatIf.back(stay);
  return left.length === 0 ? moves : null;
};

/** Each machine goes at once where it was to be in the end. */
const direct = (steps: readonly Step[]): readonly Step[] => {
  const ofMachine = new Map<PlannedMachine, Step>();
  for (const step of steps) {
    const before = ofMachine.get(step.machine);
    ofMachine.delete(step.machine);
    const gain = step.gain + (before?.gain ?? 0);
    ofMachine.set(step.machine, before ? { ...step, from: before.from, gain } : step);
  }
  return [...ofMachine.values()].filter(({ from, to }) => from !== to);
};

/** Those that will run longest go first: a machine that ends before its turn need not be moved. (LARS; LAVA, arXiv 2412.09840.) */
const longestFirst = (steps: readonly Step[]): readonly Step[] =>
  [...steps].sort(({ machine: { remainingMs: left } }, { machine: { remainingMs: right } }) =>
    left === right ? 0 : right - left,
  );

/**
 * Steps that are possible one after the other, as waves of moves that are possible side by side. The copy is as before the first of them, and
 * stays so.
 */
export const inWaves = (whatIf: WhatIf, steps: readonly Step[]): readonly Move[] => {
  const once = direct(steps);
  const waves = sideBySide(whatIf, longestFirst(once)) ?? sideBySide(whatIf, once) ?? sideBySide(whatIf, steps);
  return waves ?? steps.map((step, index) => moveOf(whatIf, step, index + 1));
};
