import type { Uuid } from '@xenolith/kernel';
import { figuresOf } from './figures.js';
import type { Blocked, MovePlan } from './movement.js';
import type { Stay } from './planned-machine.js';
import type { Step } from './trial.js';
import { inWaves } from './waves.js';
import type { WhatIf } from './what-if.js';

/** Moves of one plan: a fleet's figures have changed before more are done. */
export const MOVES_MAX = 1_000;

/** A plan of steps that are possible one after the other, cut at the bound; its figures are of the hosts at these slots. */
export const planOf = (
  whatIf: WhatIf,
  found: {
    readonly steps: readonly Step[];
    readonly slots: readonly number[];
    readonly blocked?: readonly Blocked[];
    readonly unproved?: readonly Uuid[];
    readonly maxMoves: number | undefined;
  },
): MovePlan => {
  const { steps, slots, blocked = [], unproved = [], maxMoves = MOVES_MAX } = found;
  const before = figuresOf(whatIf, slots);
  const moves = inWaves(whatIf, steps).slice(0, maxMoves);
  const made: Stay[] = moves.flatMap(({ placement, to }) => {
    const [machine, slot] = [whatIf.machine(placement), whatIf.outlook.table.slotNamed(to)];
    return machine && slot !== undefined ? [whatIf.move(machine, slot)] : [];
  });
  const after = figuresOf(whatIf, slots);
  for (const stay of made.reverse()) whatIf.back(stay);
  return { moves, blocked, unproved, before, after };
};
