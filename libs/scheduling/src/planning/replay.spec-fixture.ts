import { expect } from 'vitest';
import type { Move } from './movement.js';
import type { PlannedMachine } from './planned-machine.js';
import type { WhatIf } from './what-if.js';

export const named = (whatIf: WhatIf, name: string): PlannedMachine => {
  const found = whatIf.machines().find(({ request }) => request.virtualMachine.name === name);
  if (!found) throw new Error(`no machine ${name}`);
  return found;
};

/** Carries a plan out wave by wave, the moves of a wave in either order, and checks that each is possible when its turn comes. */
export const replay = (whatIf: WhatIf, moves: readonly Move[], order: 'forwards' | 'backwards' = 'forwards'): void => {
  const last = Math.max(0, ...moves.map(({ wave }) => wave));
  for (let wave = 1; wave <= last; wave += 1) {
    const now = moves.filter((move) => move.wave === wave);
    expect(now.length).toBeGreaterThan(0);
    const ends = [...now.map(({ from }) => `from ${from}`), ...now.map(({ to }) => `to ${to}`)];
    for (const end of ends) expect(ends.filter((other) => other === end).length).toBeLessThanOrEqual(2);
    for (const move of order === 'forwards' ? now : [...now].reverse()) {
      const machine = whatIf.machine(move.placement);
      const to = whatIf.outlook.table.slotNamed(move.to);
      if (!machine || to === undefined) throw new Error(`${move.virtualMachine.name} or ${move.to} is not there`);
      expect(whatIf.nameOf(machine.slot)).toBe(move.from);
      expect(machine.fixed).toBeUndefined();
      expect([move.virtualMachine.name, move.to, whatIf.fits(machine, to)]).toEqual([
        move.virtualMachine.name,
        move.to,
        true,
      ]);
      whatIf.hold(machine, to);
    }
    for (const { placement } of now) {
      const machine = whatIf.machine(placement);
      if (machine) whatIf.settle(machine);
    }
  }
};
