import { approximateBytes } from '@xenolith/kernel';
import { arrange, impossibleAlone, stepsTo } from './arrangement.js';
import type { Blocked, MovePlan } from './movement.js';
import type { PlannedMachine } from './planned-machine.js';
import { Trial, type Step } from './trial.js';
import { planOf } from './plan.js';
import type { WhatIf } from './what-if.js';

/** Machines of one host that are moved away to make room for one that must leave another. */
const HELPERS_MAX = 3;
/** Hosts on which room is made for one machine, the emptiest first, before it is given up. */
const ROOM_MADE_ON = 32;

interface Way {
  readonly first: (machine: PlannedMachine) => number;
  readonly to: 'roomiest' | 'tightest';
}

const sizeOn = (whatIf: WhatIf, { request }: PlannedMachine, slot: number): number => {
  const { table } = whatIf.outlook;
  return Math.max(request.memoryBytes / (table.memory[slot] ?? 1), request.vcpus / (table.vcpus[slot] ?? 1));
};

/** Free share of a host in the dimension of which it has least. */
const roomOf = (whatIf: WhatIf, slot: number): number => {
  const { table } = whatIf.outlook;
  const memory = table.freeMemory(slot) / (table.memory[slot] ?? 1);
  return Math.min(memory, table.freeVcpus(slot) / (table.vcpus[slot] ?? 1));
};

/** One attempt to empty hosts: machines by size, each to the best host that takes it now, others of whose machines may make room. */
class Evacuation {
  readonly trial: Trial;
  stuck: PlannedMachine[] = [];

  constructor(
    private readonly whatIf: WhatIf,
    private readonly targets: readonly number[],
    private readonly to: Way['to'],
  ) {
    this.trial = new Trial(whatIf);
  }

  run(machines: readonly PlannedMachine[]): void {
    let left = machines;
    // Room for one may come with another that has gone: tried again until nothing changes.
    for (let before = -1; left.length > 0 && left.length !== before;) {
      before = left.length;
      left = left.filter((machine) => !this.leaves(machine));
    }
    this.stuck = left.filter((machine) => !this.leavesWithHelp(machine));
  }

  private leaves(machine: PlannedMachine): boolean {
    const to = this.bestFor(machine);
    if (to === undefined) return false;
    const { request, slot } = machine;
    const free = approximateBytes(this.whatIf.outlook.table.freeMemory(to));
    const reason = `${this.whatIf.nameOf(slot)} is to be emptied; ${this.whatIf.nameOf(to)} has ${free} free, ${approximateBytes(request.memoryBytes)} are needed`;
    this.trial.move(machine, to, { reason });
    return true;
  }

  /** Of the hosts that have room the best one that breaks no promise. */
  private bestFor(machine: PlannedMachine): number | undefined {
    const { whatIf, to } = this;
    const rooms = this.targets
      .filter((slot) => slot !== machine.slot && whatIf.fits(machine, slot))
      .map((slot) => ({ slot, room: roomOf(whatIf, slot) }));
    rooms.sort((left, right) => (to === 'roomiest' ? right.room - left.room : left.room - right.room));
    return rooms.find(({ slot }) => whatIf.breach(machine, slot) === null)?.slot;
  }

  private leavesWithHelp(machine: PlannedMachine): boolean {
    if (this.leaves(machine)) return true;
    const byRoom = [...this.targets].sort((left, right) => roomOf(this.whatIf, right) - roomOf(this.whatIf, left));
    return byRoom.slice(0, ROOM_MADE_ON).some((slot) => this.makesRoom(machine, slot));
  }

  /** Moves the fewest machines away from a host that make room on it for another; none, when that does not help. */
  private makesRoom(machine: PlannedMachine, slot: number): boolean {
    const { whatIf, trial } = this;
    const begun = trial.steps.length;
    const name = machine.request.virtualMachine.name;
    const reason = `makes room on ${whatIf.nameOf(slot)} for ${name}, which is to leave ${whatIf.nameOf(machine.slot)}`;
    const helpers = whatIf.on(slot).filter((other) => other.fixed === undefined);
    const bySize = [...helpers].sort((left, right) => sizeOn(whatIf, left, slot) - sizeOn(whatIf, right, slot));
    // The smallest that is enough alone; else the largest few together.
    for (const alone of bySize) {
      if (this.helps(alone, reason) && whatIf.fits(machine, slot)) return this.leaves(machine);
      trial.backTo(begun);
    }
    for (const helper of bySize.reverse().slice(0, HELPERS_MAX))
      if (this.helps(helper, reason) && whatIf.fits(machine, slot)) return this.leaves(machine);
    trial.backTo(begun);
    return false;
  }

  private helps(helper: PlannedMachine, reason: string): boolean {
    const to = this.bestFor(helper);
    if (to !== undefined) this.trial.move(helper, to, { reason });
    return to !== undefined;
  }
}

const waysOf = (whatIf: WhatIf, targets: readonly number[], policy: 'balance' | 'density'): readonly Way[] => {
  const bySize = (machine: PlannedMachine): number => -sizeOn(whatIf, machine, machine.slot);
  const byChoice = (machine: PlannedMachine): number => targets.filter((slot) => whatIf.fits(machine, slot)).length;
  return [
    { first: bySize, to: policy === 'balance' ? 'roomiest' : 'tightest' },
    { first: bySize, to: 'tightest' },
    { first: byChoice, to: 'tightest' },
  ];
};

const sortedBy = (machines: readonly PlannedMachine[], rank: (machine: PlannedMachine) => number) => {
  const ranks = new Map(machines.map((machine) => [machine, rank(machine)]));
  return [...machines].sort((left, right) => (ranks.get(left) ?? 0) - (ranks.get(right) ?? 0));
};

const memoryOf = (machines: readonly PlannedMachine[]): number =>
  machines.reduce((sum, { request }) => sum + request.memoryBytes, 0);

interface Outcome {
  readonly steps: readonly Step[];
  readonly stuck: readonly PlannedMachine[];
}

/** The attempt that leaves least behind. Leaves the copy as it was. */
const bestAttempt = (whatIf: WhatIf, targets: readonly number[], machines: readonly PlannedMachine[]): Outcome => {
  let best: Outcome = { steps: [], stuck: machines };
  const [any] = machines;
  if (!any) return best;
  for (const way of waysOf(whatIf, targets, whatIf.policyOf(any))) {
    const attempt = new Evacuation(whatIf, targets, way.to);
    attempt.run(sortedBy(machines, way.first));
    const outcome = { steps: [...attempt.trial.steps], stuck: attempt.stuck };
    attempt.trial.backTo(0);
    if (memoryOf(outcome.stuck) < memoryOf(best.stuck)) best = outcome;
    if (best.stuck.length === 0) break;
  }
  return best;
};

/** What is left behind by attempts is looked at exactly, where that is in reach. */
const exactly = (
  whatIf: WhatIf,
  targets: readonly number[],
  machines: readonly PlannedMachine[],
  outcome: Outcome,
): Outcome & { readonly certain: ReadonlySet<PlannedMachine> } => {
  if (outcome.stuck.length === 0) return { ...outcome, certain: new Set() };
  const others = targets.flatMap((slot) => whatIf.on(slot)).filter(({ fixed }) => fixed === undefined);
  const alone = impossibleAlone(whatIf, { stuck: outcome.stuck, others: [...machines, ...others], targets });
  const leaving = machines.filter((machine) => !alone.has(machine));
  const stuck = outcome.stuck.filter((machine) => !alone.has(machine));
  if (stuck.length === 0) return { ...outcome, certain: alone };
  const arrangement = arrange(whatIf, { leaving, others, targets });
  if (arrangement === 'none') return { ...outcome, certain: new Set(outcome.stuck) };
  if (arrangement === 'unknown') return { ...outcome, certain: alone };
  const steps = stepsTo(whatIf, arrangement);
  return steps ? { steps, stuck: [...alone], certain: alone } : { ...outcome, certain: alone };
};

const blockedOf = (whatIf: WhatIf, machine: PlannedMachine, message: string): Blocked => ({
  virtualMachine: machine.request.virtualMachine,
  host: whatIf.nameOf(machine.slot),
  message,
});

/** Why machines are left behind, once the others have gone. */
const refusalOf = (whatIf: WhatIf, machine: PlannedMachine, certain: boolean): Blocked => {
  const { message } = whatIf.refusal(machine);
  const unknown = '; whether there is room when other machines move first is unknown';
  return blockedOf(whatIf, machine, certain ? message : `${message}${unknown}`);
};

export interface EvacuationAsked {
  /** Names of the hosts that are to be empty. */
  readonly hosts: readonly string[];
  readonly maxMoves?: number | undefined;
}

/**
 * Empties hosts: each machine goes to another host of the cluster, others making room where that helps. What can't leave is blocked with
 * placement's own words. In the copy the hosts take no machine from then on; nothing else of it changes.
 */
export const planEvacuation = (whatIf: WhatIf, { hosts, maxMoves }: EvacuationAsked): MovePlan => {
  const { table } = whatIf.outlook;
  const emptied = hosts.map((host) => table.slotNamed(host)).filter((slot) => slot !== undefined);
  for (const slot of emptied) whatIf.close(slot);
  const clusters = new Set(emptied.map((slot) => table.clusterOf(slot)));
  const slots = [...clusters].flatMap((cluster) => whatIf.slots(cluster));
  const targets = slots.filter((slot) => table.isOpen(slot));
  const there = emptied.flatMap((slot) => whatIf.on(slot));
  const machines = there.filter(({ fixed }) => fixed === undefined);
  const { steps, stuck, certain } = exactly(whatIf, targets, machines, bestAttempt(whatIf, targets, machines));
  const trial = new Trial(whatIf);
  for (const step of steps) trial.move(step.machine, step.to, step);
  const blocked = [
    ...there.flatMap((machine) => (machine.fixed === undefined ? [] : [blockedOf(whatIf, machine, machine.fixed)])),
    ...stuck.map((machine) => refusalOf(whatIf, machine, certain.has(machine))),
  ];
  trial.backTo(0);
  const unproved = stuck.filter((machine) => !certain.has(machine)).map(({ request }) => request.virtualMachine.uid);
  return planOf(whatIf, { steps, slots, blocked, unproved, maxMoves });
};
