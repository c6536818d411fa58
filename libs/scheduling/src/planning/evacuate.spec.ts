import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { planEvacuation } from './evacuate.js';
import { anyFleet, IndexedFleet } from './fleet.spec-fixture.js';
import { named, replay } from './replay.spec-fixture.js';
import { WhatIf } from './what-if.js';

const hosts = (...gib: readonly number[]) =>
  gib.map((size, number) => ({ name: 'abcdef'[number] ?? '', memoryBytes: size * GIB, threads: 16 }));

/** Hosts of so many GiB, and machines of so many on them, by the host's letter. */
const fleetOf = (sizes: readonly number[], machines: Readonly<Record<string, readonly number[]>>): IndexedFleet => {
  const fleet = new IndexedFleet(hosts(...sizes));
  for (const [host, there] of Object.entries(machines))
    for (const [number, gib] of there.entries())
      fleet.put(`${host}${number}`, requestFor(`${host}${number}`, { memoryBytes: gib * GIB }), { host });
  return fleet;
};

const evacuated = (fleet: IndexedFleet, ...names: readonly string[]) =>
  planEvacuation(WhatIf.of(fleet.index), { hosts: names });

const brief = ({ moves }: ReturnType<typeof planEvacuation>) =>
  moves.map(({ virtualMachine, from, to, wave }) => `${wave}: ${virtualMachine.name} ${from}>${to}`);

/** Whether machines can move one after the other so that a host is empty: every order of every move is tried. */
const canBeEmptied = (whatIf: WhatIf, slot: number): boolean => {
  const seen = new Set<string>();
  const movable = whatIf.machines().filter(({ fixed }) => fixed === undefined);
  const look = (): boolean => {
    if (whatIf.on(slot).every(({ fixed }) => fixed !== undefined)) return true;
    const key = movable.map((machine) => `${machine.slot}/${machine.cell ?? ''}`).join();
    if (seen.has(key)) return false;
    seen.add(key);
    return movable.some((machine) =>
      whatIf.slots().some((to) => {
        if (!whatIf.fits(machine, to)) return false;
        const stay = whatIf.move(machine, to);
        const found = look();
        whatIf.back(stay);
        return found;
      }),
    );
  };
  return look();
};

describe('planEvacuation', () => {
  it('moves every machine away in waves of at most two for each host', () => {
    const plan = evacuated(fleetOf([8, 8, 8], { a: [1, 2, 1, 2, 1] }), 'a');
    expect(plan.moves.map(({ to, wave }) => `${wave}: ${to}`)).toEqual(['1: b', '1: c', '2: b', '2: c', '3: b']);
    expect(plan.blocked).toEqual([]);
    expect(plan.after).toMatchObject({ emptyHosts: 1, machines: 5 });
  });

  it('packs machines tightly where spreading them leaves one behind', () => {
    const plan = evacuated(fleetOf([12, 6, 6], { a: [3, 3, 6] }), 'a');
    expect(plan.blocked).toEqual([]);
    expect(plan.moves).toHaveLength(3);
  });

  it('moves another machine out of the way when that makes room', () => {
    const plan = evacuated(fleetOf([8, 6, 4], { a: [5], b: [2] }), 'a');
    expect(brief(plan)).toEqual(['1: b0 b>c', '2: a0 a>b']);
    expect(plan.moves[0]?.reason).toBe('makes room on b for a0, which is to leave a');
  });

  it('never moves a machine to another host that is to be emptied', () => {
    const plan = evacuated(fleetOf([8, 8, 8], { a: [2, 2], b: [2] }), 'a', 'b');
    expect(plan.moves.map(({ to }) => to)).toEqual(['c', 'c', 'c']);
  });

  it('plans no more moves than are asked for', () => {
    const plan = planEvacuation(WhatIf.of(fleetOf([8, 8], { a: [1, 1, 1] }).index), { hosts: ['a'], maxMoves: 2 });
    expect(plan.moves).toHaveLength(2);
    expect(plan.after.memory.lowest).toBe(0.125);
  });

  it('says what cannot leave and why', () => {
    const fleet = fleetOf([8, 4, 4], { a: [6, 1] });
    fleet.put('bound', requestFor('bound', { host: 'a' }), { host: 'a' });
    const { blocked, moves, unproved } = evacuated(fleet, 'a');
    expect(moves).toHaveLength(1);
    expect(unproved).toEqual([]);
    expect(blocked.map(({ virtualMachine, message }) => [virtualMachine.name, message])).toEqual([
      ['bound', 'it is bound to host a'],
      ['a0', '0/3 hosts: 1 is host a, which it is to leave, 2 lack memory (need 6Gi, most free 4Gi on c)'],
    ]);
  });

  it('knows that not all find room when only one of two does', () => {
    const { blocked, moves, unproved } = evacuated(fleetOf([8, 4], { a: [3, 2] }), 'a');
    expect(moves.map(({ virtualMachine }) => virtualMachine.name)).toEqual(['a0']);
    expect([blocked.map(({ virtualMachine }) => virtualMachine.name), unproved]).toEqual([['a1'], []]);
  });

  it('finds an arrangement for which several machines make way in turn', () => {
    const plan = evacuated(fleetOf([8, 6, 5, 3], { a: [6], b: [4], c: [3] }), 'a');
    expect(brief(plan)).toEqual(['1: c0 c>d', '2: b0 b>c', '3: a0 a>b']);
  });

  it('says unknown where there is room that machines can only reach by changing places', () => {
    const { blocked, unproved } = evacuated(fleetOf([8, 5, 4], { a: [2], b: [2, 2], c: [3] }), 'a');
    expect(unproved).toEqual([blocked[0]?.virtualMachine.uid]);
    expect(blocked[0]?.message).toBe(
      '0/3 hosts: 1 is host a, which it is to leave, 2 lack memory (need 2Gi, most free 1Gi on c); whether there is room when other machines move first is unknown',
    );
  });

  it('lets those that live longest go first', () => {
    const fleet = new IndexedFleet(hosts(8, 8));
    const [short, long] = [requestFor('short'), requestFor('long', { memoryBytes: 2 * GIB })];
    for (let number = 0; number < 8; number += 1) {
      fleet.lived(`short-${number}`, short, 60_000);
      fleet.lived(`long-${number}`, long, 3_600_000);
    }
    for (const request of [short, { ...short, virtualMachine: { ...short.virtualMachine, uid: 'short-2' } }, long])
      fleet.put(request.virtualMachine.uid, request, { host: 'a' });
    const { moves } = planEvacuation(WhatIf.of(fleet.index, { atMs: 0 }), { hosts: ['a'] });
    expect(moves.map(({ virtualMachine }) => virtualMachine.name)).toEqual(['long', 'short', 'short']);
  });

  it('makes plans that can be carried out step by step, and leaves nothing that could go', () => {
    fc.assert(
      fc.property(anyFleet({ hosts: 5, machines: 20 }), fc.boolean(), (fleet, backwards) => {
        const whatIf = WhatIf.of(fleet.index);
        const [slot = -1] = whatIf.slots();
        const plan = planEvacuation(whatIf, { hosts: [whatIf.nameOf(slot)] });
        const copy = WhatIf.of(fleet.index);
        copy.close(slot);
        replay(copy, plan.moves, backwards ? 'backwards' : 'forwards');
        const left = copy.on(slot).map(({ request }) => request.virtualMachine.name);
        expect(left.sort()).toEqual(plan.blocked.map(({ virtualMachine }) => virtualMachine.name).sort());
        for (const machine of copy.on(slot))
          if (machine.fixed === undefined) expect(copy.slots().some((to) => copy.fits(machine, to))).toBe(false);
      }),
    );
  });

  it('is certain only of what an exhaustive search finds impossible too', () => {
    fc.assert(
      fc.property(anyFleet({ hosts: 3, machines: 7 }), (fleet) => {
        const whatIf = WhatIf.of(fleet.index);
        const [slot = -1] = whatIf.slots();
        const plan = planEvacuation(whatIf, { hosts: [whatIf.nameOf(slot)] });
        const left = plan.blocked.filter(
          ({ virtualMachine }) => named(whatIf, virtualMachine.name).fixed === undefined,
        );
        if (left.length === 0) return;
        if (plan.unproved.length < left.length) expect(canBeEmptied(whatIf, slot)).toBe(false);
      }),
    );
  });
});
