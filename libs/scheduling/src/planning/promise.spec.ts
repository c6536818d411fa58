import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALWAYS } from '../availability/failover.spec-fixture.js';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { planBalance } from './balance.js';
import { planConsolidation } from './consolidate.js';
import { planEvacuation } from './evacuate.js';
import { IndexedFleet } from './fleet.spec-fixture.js';
import type { MovePlan } from './movement.js';
import { replay } from './replay.spec-fixture.js';
import { WhatIf } from './what-if.js';

const cluster = 'default';

/** Hosts by name: their memory, and that of the machines on them; machines below zero need not be restarted. All in GiB. */
type Layout = Readonly<Record<string, { readonly gib: number; readonly machines: readonly number[] }>>;

/** In a cluster that promises to survive the loss of one host. */
const fleetOf = (layout: Layout): IndexedFleet => {
  const hosts = Object.entries(layout).map(([name, { gib }]) => ({ name, memoryBytes: gib * GIB, threads: 8 }));
  const fleet = new IndexedFleet(hosts, 'balance', { hostFailures: 1 });
  for (const [host, { machines }] of Object.entries(layout))
    for (const [number, size] of machines.entries()) {
      const name = `${host}${number}`;
      const ha = size > 0 ? { ha: ALWAYS } : {};
      fleet.put(name, requestFor(name, { memoryBytes: Math.abs(size) * GIB, ...ha }), { host });
    }
  return fleet;
};

interface Standing {
  readonly gib: number;
  readonly there: Map<string, number>;
}

const standing = (layout: Layout): Map<string, Standing> =>
  new Map(
    Object.entries(layout).map(([host, { gib, machines }]) => [
      host,
      { gib, there: new Map(machines.map((size, at) => [`${host}${at}`, size])) },
    ]),
  );

const sum = (sizes: Iterable<number>): number => [...sizes].reduce((total, size) => total + Math.abs(size), 0);

/** Whether whoever must run fits on the other hosts, by trying every way. */
const survives = (hosts: ReadonlyMap<string, Standing>, lost: string): boolean => {
  const rooms = [...hosts].flatMap(([host, { gib, there }]) => (host === lost ? [] : [gib - sum(there.values())]));
  const seat = ([size, ...others]: readonly number[], left: readonly number[]): boolean =>
    size === undefined || left.some((room, at) => room >= size && seat(others, left.with(at, room - size)));
  return seat(
    [...(hosts.get(lost)?.there.values() ?? [])].filter((size) => size > 0),
    rooms,
  );
};

const covered = (hosts: ReadonlyMap<string, Standing>): string[] =>
  [...hosts.keys()].filter((lost) => survives(hosts, lost));

/** Losses that moves uncover, one move after the other. */
const uncovered = (layout: Layout, { moves }: MovePlan): string[] => {
  const hosts = standing(layout);
  return moves.flatMap(({ virtualMachine: { name }, from, to }) => {
    const before = covered(hosts);
    const source = hosts.get(from)?.there;
    hosts.get(to)?.there.set(name, source?.get(name) ?? Number.NaN);
    source?.delete(name);
    return before.filter((lost) => !survives(hosts, lost)).map((lost) => `${lost} by ${name}`);
  });
};

const fitting = (gib: number, sizes: readonly number[]): number[] => {
  let left = gib;
  return sizes.filter((size) => {
    const fits = Math.abs(size) <= left;
    if (fits) left -= Math.abs(size);
    return fits;
  });
};

const sizes = fc.array(
  fc.integer({ min: -4, max: 5 }).filter((size) => size !== 0),
  { maxLength: 4 },
);
const layouts = fc
  .array(fc.tuple(fc.constantFrom(4, 6, 8, 12), sizes), { minLength: 3, maxLength: 5 })
  .map((hosts): Layout =>
    Object.fromEntries(hosts.map(([gib, there], at) => [`h${at}`, { gib, machines: fitting(gib, there) }])),
  );

const CROWDED: Layout = {
  a: { gib: 8, machines: [6] },
  b: { gib: 4, machines: [3] },
  c: { gib: 9, machines: [-3] },
};

describe('plans in a cluster that promises to survive the loss of a host', () => {
  it.each<[string, (whatIf: WhatIf) => MovePlan]>([
    ['balance', (whatIf) => planBalance(whatIf, { cluster })],
    ['consolidate', (whatIf) => planConsolidation(whatIf, { cluster, ceiling: 1 })],
  ])('uncover no loss with any move, and can be carried out: %s', (_mode, plan) => {
    fc.assert(
      fc.property(layouts, (layout) => {
        const { index } = fleetOf(layout);
        const made = plan(WhatIf.of(index));
        expect(uncovered(layout, made)).toEqual([]);
        replay(WhatIf.of(index), made.moves);
      }),
      { numRuns: 300 },
    );
  });

  it('leave a machine where it is, and say which loss could not be covered otherwise', () => {
    const plan = planConsolidation(WhatIf.of(fleetOf(CROWDED).index), { cluster, ceiling: 0.9 });
    expect(plan).toMatchObject({
      moves: [],
      blocked: [
        {
          virtualMachine: { name: 'b0' },
          host: 'b',
          message:
            'with it on c the loss of a could not be covered: default/a0 needs 6Gi, the most that is free on another host is 4Gi',
        },
      ],
    });
  });

  it('move what was let in against the promise once no further against it', () => {
    const fleet = fleetOf({ ...CROWDED, b: { gib: 4, machines: [] } });
    const request = requestFor('b0', { memoryBytes: 3 * GIB, ha: ALWAYS, allowOvercommit: true });
    fleet.put('b0', request, { host: 'b' });
    const plan = planConsolidation(WhatIf.of(fleet.index), { cluster, ceiling: 0.9 });
    expect([plan.moves, plan.blocked]).toMatchObject([[], [{ virtualMachine: { name: 'b0' } }]]);
  });

  it('do not empty a host where a loss that is covered could not be then', () => {
    const plan = planEvacuation(WhatIf.of(fleetOf(CROWDED).index), { hosts: ['b'] });
    expect(plan.moves).toEqual([]);
    expect(plan.blocked).toMatchObject([{ virtualMachine: { name: 'b0' }, host: 'b' }]);
    expect(plan.blocked[0]?.message).toContain(
      'kept free for failovers (with it on c the loss of c could not be covered',
    );
  });
});
