import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { planBalance, type BalanceAsked } from './balance.js';
import { anyFleet, IndexedFleet } from './fleet.spec-fixture.js';
import type { MachineKnowledge, MachineLoad } from './planned-machine.js';
import { replay } from './replay.spec-fixture.js';
import { WhatIf } from './what-if.js';

const cluster = 'default';

/** Hosts of 16 GiB and 8 threads with machines of so many GiB, by the host's name; `large` ones are called by their host and place. */
const fleetOf = (machines: Readonly<Record<string, readonly number[]>>): IndexedFleet => {
  const fleet = new IndexedFleet(Object.keys(machines).map((name) => ({ name, memoryBytes: 16 * GIB, threads: 8 })));
  for (const [host, there] of Object.entries(machines))
    for (const [number, gib] of there.entries())
      fleet.put(`${host}${number}`, requestFor(`${host}${number}`, { memoryBytes: gib * GIB }), { host });
  return fleet;
};

const load = (cpu: number, more: Partial<MachineLoad> = {}): MachineLoad => ({
  cpu,
  memoryBytes: GIB,
  dirtyBytesPerSecond: 0,
  measured: true,
  ...more,
});

/** Loads by the machine's name; others are idle. */
const loads = (cpus: Readonly<Record<string, number>>): MachineKnowledge => ({
  load: (_placement, { virtualMachine, memoryBytes }) => load(cpus[virtualMachine.name] ?? 0, { memoryBytes }),
});

const planned = (fleet: IndexedFleet, more: Partial<BalanceAsked> & { knowledge?: MachineKnowledge } = {}) => {
  const { knowledge, ...asked } = more;
  return planBalance(WhatIf.of(fleet.index, knowledge), { cluster, ...asked });
};

const brief = ({ moves }: ReturnType<typeof planBalance>) =>
  moves.map(({ virtualMachine, from, to }) => `${virtualMachine.name} ${from}>${to}`);

describe('planBalance', () => {
  it('moves machines from the fullest hosts to the emptiest', () => {
    const plan = planned(fleetOf({ a: [2, 2, 2, 2, 2, 2], b: [], c: [] }));
    expect(plan.moves.map(({ to }) => to).sort()).toEqual(['b', 'b', 'c', 'c']);
    expect([plan.before.memory, plan.after.memory]).toEqual([
      { lowest: 0, mean: 0.25, highest: 0.75 },
      { lowest: 0.25, mean: 0.25, highest: 0.25 },
    ]);
    expect(plan.after.imbalance).toBe(0);
  });

  it('moves what is busy though memory is even', () => {
    const knowledge = loads({ a0: 3, a1: 3 });
    expect(brief(planned(fleetOf({ a: [2, 2], b: [2, 2] }), { knowledge })).length).toBeGreaterThan(0);
    expect(planned(fleetOf({ a: [2, 2], b: [2, 2] }), { knowledge: loads({ a0: 3, b0: 3 }) }).moves).toEqual([]);
  });

  it('lets machines change places where no single move helps', () => {
    const knowledge = loads({ a0: 2, a1: 2 });
    const plan = planned(fleetOf({ a: [4, 4], b: [4, 4] }), { knowledge });
    expect(plan.moves.map(({ from, to }) => `${from}>${to}`).sort()).toEqual(['a>b', 'b>a']);
    expect(plan.after.imbalance).toBe(0);
  });

  it('gives its reason with figures', () => {
    const [move] = planned(fleetOf({ a: [4, 4], b: [] })).moves;
    expect(move?.reason).toBe('evens out: a has CPU 6 % and memory 50 % in use, b 0 % and 0 %');
    expect(move?.gain).toBeGreaterThan(0);
    expect(move?.cost.seconds).toBeGreaterThan(0);
  });

  it('leaves a machine whose migration costs more than it gains', () => {
    const fleet = fleetOf({ a: [8, 1], b: [7] });
    const writing = (dirtyBytesPerSecond: number): MachineKnowledge => ({
      load: () => load(0, { memoryBytes: 40 * GIB, dirtyBytesPerSecond }),
    });
    expect(planned(fleet, { knowledge: writing(0) }).moves).toHaveLength(1);
    expect(planned(fleet, { knowledge: writing(2e9) }).moves).toEqual([]);
  });

  it('leaves a machine that is expected to end soon', () => {
    const fleet = fleetOf({ a: [8, 1], b: [7] });
    expect(planned(fleet).moves).toHaveLength(1);
    for (let number = 0; number < 8; number += 1) fleet.lived(`short-${number}`, requestFor('a1'), 1_000);
    expect(planned(fleet).moves).toEqual([]);
  });

  it('plans no more moves than are asked for, and none that gains less than is asked for', () => {
    const fleet = fleetOf({ a: [2, 2, 2, 2, 2, 2], b: [], c: [] });
    expect(planned(fleet, { maxMoves: 1 }).moves).toHaveLength(1);
    expect(planned(fleet, { minGain: 10 }).moves).toEqual([]);
  });

  it('touches neither hosts that take no machines nor those of other clusters', () => {
    const fleet = new IndexedFleet([
      { name: 'a', memoryBytes: 16 * GIB, threads: 8 },
      { name: 'cordoned', memoryBytes: 16 * GIB, threads: 8, unschedulable: true },
      { name: 'elsewhere', memoryBytes: 16 * GIB, threads: 8, cluster: 'other' },
    ]);
    for (const name of ['x', 'y', 'z']) fleet.put(name, requestFor(name, { memoryBytes: 4 * GIB }), { host: 'a' });
    expect(planned(fleet).moves).toEqual([]);
  });

  it('makes plans that can be carried out, are worth it, and leave nothing to move', () => {
    fc.assert(
      fc.property(
        anyFleet({ hosts: 6, machines: 30 }),
        fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 1, maxLength: 30 }),
        fc.boolean(),
        (fleet, cpus, backwards) => {
          let number = 0;
          const byPlacement = new Map<string, MachineLoad>();
          const knowledge: MachineKnowledge = {
            load: (placement, { memoryBytes }) => {
              const known = byPlacement.get(placement) ?? load(cpus[(number += 1) % cpus.length] ?? 0, { memoryBytes });
              byPlacement.set(placement, known);
              return known;
            },
          };
          const { moves, before, after } = planned(fleet, { knowledge });
          const copy = WhatIf.of(fleet.index, knowledge);
          replay(copy, moves, backwards ? 'backwards' : 'forwards');
          if (moves.length > 0) expect(after.imbalance).toBeLessThan(before.imbalance);
          const again = planBalance(copy, { cluster });
          expect(again.before).toEqual(after);
          expect(again.moves).toEqual([]);
        },
      ),
    );
  });
});
