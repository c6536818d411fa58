import { blockedBy } from './blocked.js';
import type { Blocked, MovePlan } from './movement.js';
import { MOVES_MAX, planOf } from './plan.js';
import type { PlannedMachine } from './planned-machine.js';
import { Trial } from './trial.js';
import type { WhatIf } from './what-if.js';

/** CPU and memory of the hosts that stay in use are filled up to here: peaks and new machines need some room at once. */
const CEILING = 0.8;

export interface ConsolidationAsked {
  readonly cluster: string;
  readonly maxMoves?: number | undefined;
  /** Share of CPU and of memory, 0 to 1. */
  readonly ceiling?: number | undefined;
  /** Names of hosts that are not to be emptied. */
  readonly spared?: ReadonlySet<string> | undefined;
}

const memoryOn = (whatIf: WhatIf, slot: number): number =>
  whatIf.on(slot).reduce((sum, { request }) => sum + request.memoryBytes, 0);

/** Empties hosts one by one into others that are in use. */
class Consolidation {
  readonly trial: Trial;
  /** Machines that would leave their hosts empty, but for what the cluster promises. */
  readonly blocked: Blocked[] = [];
  private readonly received = new Set<number>();
  private readonly parked = new Set<number>();

  constructor(
    private readonly whatIf: WhatIf,
    private readonly asked: {
      readonly slots: readonly number[];
      readonly ceiling: number;
      readonly maxMoves: number;
      readonly spared: ReadonlySet<string>;
    },
  ) {
    this.trial = new Trial(whatIf);
    for (const slot of asked.slots) if (whatIf.on(slot).length === 0) this.parked.add(slot);
  }

  /** The hosts with least to move first. */
  run(): readonly number[] {
    const { slots } = this.asked;
    const memory = new Map(slots.map((slot) => [slot, memoryOn(this.whatIf, slot)]));
    const order = [...slots].sort((left, right) => (memory.get(left) ?? 0) - (memory.get(right) ?? 0) || left - right);
    for (const slot of order)
      if (!this.parked.has(slot) && !this.received.has(slot) && this.mayEmpty(slot)) this.empty(slot);
    return slots.filter((slot) => this.parked.has(slot));
  }

  private mayEmpty(slot: number): boolean {
    return !this.asked.spared.has(this.whatIf.nameOf(slot));
  }

  private empty(slot: number): void {
    const begun = this.trial.steps.length;
    const machines = [...this.whatIf.on(slot)].sort(
      (left, right) => right.request.memoryBytes - left.request.memoryBytes || right.load.cpu - left.load.cpu,
    );
    const fixed = machines.some((machine) => machine.fixed !== undefined);
    if (fixed || begun + machines.length > this.asked.maxMoves) return;
    if (!machines.every((machine) => this.leaves(machine, slot))) {
      this.trial.backTo(begun);
      return;
    }
    for (const { to } of this.trial.steps.slice(begun)) this.received.add(to);
    this.parked.add(slot);
  }

  private leaves(machine: PlannedMachine, from: number): boolean {
    const { whatIf } = this;
    const fitting = this.asked.slots
      .filter((slot) => slot !== from && !this.parked.has(slot))
      .map((slot) => ({ slot, after: this.shareAfter(machine, slot) }))
      .filter(({ slot, after }) => after <= this.asked.ceiling && whatIf.fits(machine, slot))
      .sort((left, right) => right.after - left.after);
    const best = fitting.find(({ slot }) => whatIf.breach(machine, slot) === null);
    if (best === undefined) {
      const [fullest] = fitting;
      if (fullest) this.block(machine, fullest.slot);
      return false;
    }
    const reason = `empties ${whatIf.nameOf(from)}: ${whatIf.nameOf(best.slot)} is ${Math.round(best.after * 100)} % in use with it`;
    this.trial.move(machine, best.slot, { reason });
    return true;
  }

  private block(machine: PlannedMachine, slot: number): void {
    const breach = this.whatIf.breach(machine, slot);
    if (breach) this.blocked.push(blockedBy(this.whatIf, { machine, slot, breach }));
  }

  /** The fuller of CPU and memory. */
  private shareAfter({ load, request }: PlannedMachine, slot: number): number {
    const { whatIf } = this;
    const cpu = whatIf.cpuShare(slot) + load.cpu / Math.max(1, whatIf.threadsOf(slot));
    const memory = whatIf.memoryShare(slot) + request.memoryBytes / (whatIf.outlook.table.memory[slot] ?? 1);
    return Math.max(cpu, memory);
  }
}

/** Empties as many hosts of a cluster as the others can take in under the ceiling; `parked` names those that are empty then. */
export const planConsolidation = (
  whatIf: WhatIf,
  { cluster, maxMoves = MOVES_MAX, ceiling = CEILING, spared = new Set() }: ConsolidationAsked,
): MovePlan & { readonly parked: readonly string[] } => {
  const slots = whatIf.slots(cluster).filter((slot) => whatIf.outlook.table.isOpen(slot));
  const consolidation = new Consolidation(whatIf, { slots, ceiling, maxMoves, spared });
  const parked = consolidation.run().map((slot) => whatIf.nameOf(slot));
  const steps = [...consolidation.trial.steps];
  consolidation.trial.backTo(0);
  return { ...planOf(whatIf, { steps, slots, blocked: consolidation.blocked, maxMoves }), parked };
};
