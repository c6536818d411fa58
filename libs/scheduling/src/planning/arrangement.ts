import { requiredNear, type PlannedMachine, type Stay } from './planned-machine.js';
import { Trial, type Step } from './trial.js';
import type { WhatIf } from './what-if.js';

/** More machines than this have more arrangements than can be gone through. */
const MACHINES_MAX = 16;
/** Places that are tried before the answer is `unknown`: about 20 ms. */
const TRIED_MAX = 20_000;

interface Goal {
  readonly machine: PlannedMachine;
  readonly slot: number;
}

/** Whether filters say the same in whatever order machines come: company must be there first, and NUMA nodes are chosen one after the other. */
const orderCounts = (machine: PlannedMachine): boolean =>
  requiredNear(machine).length > 0 || machine.request.numa === 'single-numa-node';

const away = <Answer>(whatIf: WhatIf, machines: readonly PlannedMachine[], ask: () => Answer): Answer => {
  const stays: Stay[] = machines.map((machine) => whatIf.remove(machine));
  const answer = ask();
  for (const stay of stays.reverse()) whatIf.back(stay);
  return answer;
};

/** Those that would fit on no host even if everything that can move had left: certainly stuck. */
export const impossibleAlone = (
  whatIf: WhatIf,
  asked: {
    readonly stuck: readonly PlannedMachine[];
    readonly others: readonly PlannedMachine[];
    targets: readonly number[];
  },
): ReadonlySet<PlannedMachine> => {
  const { stuck, others, targets } = asked;
  return away(whatIf, others, () => {
    const nowhere = (machine: PlannedMachine): boolean => !targets.some((slot) => whatIf.fits(machine, slot));
    return new Set(stuck.filter((machine) => requiredNear(machine).length === 0 && nowhere(machine)));
  });
};

/**
 * A place for each machine that must leave, and for the others, which would rather stay; `none`: there is no such arrangement, in whatever order
 * machines moved. `unknown`: that is out of reach.
 */
export const arrange = (
  whatIf: WhatIf,
  asked: {
    readonly leaving: readonly PlannedMachine[];
    readonly others: readonly PlannedMachine[];
    targets: readonly number[];
  },
): readonly Goal[] | 'none' | 'unknown' => {
  const bySize = [...asked.leaving].sort((left, right) => right.request.memoryBytes - left.request.memoryBytes);
  const machines = [...bySize, ...asked.others];
  if (machines.length > MACHINES_MAX || machines.some(orderCounts)) return 'unknown';
  const homes = new Map(machines.map((machine) => [machine, machine.slot]));
  const goals: Goal[] = [];
  let tried = 0;
  const placed = (index: number): boolean => {
    const machine = machines[index];
    if (!machine) return true;
    const home = homes.get(machine) ?? -1;
    for (const slot of [home, ...asked.targets.filter((target) => target !== home)]) {
      if ((tried += 1) > TRIED_MAX) return false;
      if (!whatIf.fits(machine, slot)) continue;
      whatIf.put(machine, slot);
      goals.push({ machine, slot });
      const done = placed(index + 1);
      whatIf.remove(machine);
      if (done) return true;
      goals.pop();
    }
    return false;
  };
  if (away(whatIf, machines, () => placed(0))) return goals;
  return tried > TRIED_MAX ? 'unknown' : 'none';
};

/** Moves that lead to an arrangement one after the other; null: machines stand in each other's way. Leaves the copy as it was. */
export const stepsTo = (whatIf: WhatIf, goals: readonly Goal[]): readonly Step[] | null => {
  const trial = new Trial(whatIf);
  let left = goals.filter(({ machine, slot }) => machine.slot !== slot);
  for (let before = -1; left.length > 0 && left.length !== before;) {
    before = left.length;
    left = left.filter(({ machine, slot }) => {
      if (!whatIf.fits(machine, slot) || whatIf.breach(machine, slot)) return true;
      const reason = `an arrangement that has room for all: from ${whatIf.nameOf(machine.slot)} to ${whatIf.nameOf(slot)}`;
      trial.move(machine, slot, { reason });
      return false;
    });
  }
  const steps = [...trial.steps];
  trial.backTo(0);
  return left.length === 0 ? steps : null;
};
