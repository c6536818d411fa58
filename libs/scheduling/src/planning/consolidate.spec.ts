import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { planConsolidation } from './consolidate.js';
import { anyFleet, IndexedFleet } from './fleet.spec-fixture.js';
import { replay } from './replay.spec-fixture.js';
import { WhatIf } from './what-if.js';

const cluster = 'default';

const fleetOf = (machines: Readonly<Record<string, readonly number[]>>): IndexedFleet => {
  const fleet = new IndexedFleet(Object.keys(machines).map((name) => ({ name, memoryBytes: 10 * GIB, threads: 8 })));
  for (const [host, there] of Object.entries(machines))
    for (const [number, gib] of there.entries())
      fleet.put(`${host}${number}`, requestFor(`${host}${number}`, { memoryBytes: gib * GIB }), { host });
  return fleet;
};

const planned = (fleet: IndexedFleet, more: { maxMoves?: number; ceiling?: number } = {}) =>
  planConsolidation(WhatIf.of(fleet.index), { cluster, ...more });

describe('planConsolidation', () => {
  it('empties the hosts with least on them into those with most', () => {
    const plan = planned(fleetOf({ a: [4], b: [1], c: [3], d: [] }));
    expect(plan.parked).toEqual(['b', 'c', 'd']);
    expect(plan.moves.map(({ from, to }) => `${from}>${to}`).sort()).toEqual(['b>a', 'c>a']);
    expect(plan.after).toMatchObject({ emptyHosts: 3, memory: { highest: 0.8 } });
  });

  it('leaves a host alone that cannot be emptied whole', () => {
    expect(planned(fleetOf({ a: [6], b: [2, 2] }))).toMatchObject({ moves: [], parked: [] });
    const fleet = fleetOf({ a: [5], b: [1] });
    expect(planned(fleet).parked).toEqual(['b']);
    fleet.put('bound', requestFor('bound', { host: 'b' }), { host: 'b' });
    expect(planned(fleet).parked).toEqual(['a']);
  });

  it('fills hosts no further than the ceiling, and moves no more than is asked for', () => {
    const fleet = fleetOf({ a: [4], b: [1, 1], c: [1] });
    expect(planned(fleet, { ceiling: 0.5 }).parked).toEqual(['c']);
    expect(planned(fleet, { maxMoves: 1 }).parked).toEqual(['c']);
    expect(planned(fleet).parked).toEqual(['b', 'c']);
  });

  it('makes plans that can be carried out and leave nothing to empty', () => {
    fc.assert(
      fc.property(anyFleet({ hosts: 6, machines: 14 }), (fleet) => {
        const { moves, parked, after } = planned(fleet);
        const copy = WhatIf.of(fleet.index);
        replay(copy, moves);
        for (const host of parked) expect(copy.on(copy.outlook.table.slotNamed(host) ?? -1)).toEqual([]);
        const again = planConsolidation(copy, { cluster });
        expect(again.before).toEqual(after);
        expect(again.parked.length).toBeGreaterThanOrEqual(parked.length);
      }),
    );
  });
});
