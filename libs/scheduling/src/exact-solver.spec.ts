import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FailoverFleet, host as hostFacts } from './availability/failover.spec-fixture.js';
import { fits, mostEmpty, type Item } from './exact-solver.spec-fixture.js';
import { planConsolidation } from './planning/consolidate.js';
import { planEvacuation } from './planning/evacuate.js';
import { IndexedFleet } from './planning/fleet.spec-fixture.js';
import { WhatIf } from './planning/what-if.js';
import { GIB, requestFor } from './scheduler.spec-fixture.js';

/** Of a machine, in GiB; with a word, which machines of one host share with none there. */
interface Size {
  readonly gib: number;
  readonly vcpus: number;
  readonly word?: string | undefined;
}

interface Layout {
  readonly gib: number;
  readonly machines: readonly Size[];
}

const VCPUS = 12;

const size: fc.Arbitrary<Size> = fc.record({
  gib: fc.integer({ min: 1, max: 5 }),
  vcpus: fc.constantFrom(1, 1, 2, 3),
  word: fc.constantFrom(undefined, undefined, undefined, 'a', 'b'),
});

const fitting = (gib: number, machines: readonly Size[]): Size[] => {
  const there: Size[] = [];
  const sum = (of: (machine: Size) => number): number => there.reduce((total, machine) => total + of(machine), 0);
  for (const machine of machines) {
    const room = sum((one) => one.gib) + machine.gib <= gib && sum((one) => one.vcpus) + machine.vcpus <= VCPUS;
    if (room && (machine.word === undefined || !there.some(({ word }) => word === machine.word))) there.push(machine);
  }
  return there;
};

const layouts = (most: { readonly hosts: number; readonly machines: number; readonly gib: readonly number[] }) =>
  fc.array(
    fc
      .record({ gib: fc.constantFrom(...most.gib), machines: fc.array(size, { maxLength: most.machines }) })
      .map(({ gib, machines }): Layout => ({ gib, machines: fitting(gib, machines) })),
    { minLength: 3, maxLength: most.hosts },
  );

const roomsOf = (hosts: readonly Layout[]) => hosts.map(({ gib }) => ({ memory: gib, vcpus: VCPUS }));

const itemsOf = (hosts: readonly Layout[], roomsOfMachine: (host: number) => readonly number[]): Item[] =>
  hosts.flatMap(({ machines }, host) =>
    machines.map(({ gib, vcpus, word }) => ({ memory: gib, vcpus, word, rooms: roomsOfMachine(host) })),
  );

const all = (hosts: readonly Layout[]): number[] => hosts.map((_, index) => index);

const asked = ({ gib, vcpus, word }: Size) => ({
  memoryBytes: gib * GIB,
  vcpus,
  ...(word === undefined ? {} : { antiAffinity: word }),
});

const indexed = (hosts: readonly Layout[]): IndexedFleet => {
  const named = hosts.map(({ gib }, index) => ({ name: `h${index}`, memoryBytes: gib * GIB, threads: VCPUS / 4 }));
  const fleet = new IndexedFleet(named);
  for (const [index, { machines }] of hosts.entries())
    for (const [number, machine] of machines.entries())
      fleet.put(`m${index}-${number}`, requestFor(`m${index}-${number}`, asked(machine)), { host: `h${index}` });
  return fleet;
};

describe('against an exact solver', () => {
  it('plans for the loss of a host are there just where there is one, of up to 40 machines', () => {
    fc.assert(
      fc.property(layouts({ hosts: 7, machines: 12, gib: [8, 12, 20] }), (hosts) => {
        const fleet = new FailoverFleet(hosts.map(({ gib }, index) => hostFacts(`h${index}`, gib, { vcpus: VCPUS })));
        for (const [index, { machines }] of hosts.entries())
          for (const [number, machine] of machines.entries())
            fleet.place(`m${index}-${number}`, `h${index}`, asked(machine));
        for (const lost of all(hosts)) {
          const others = all(hosts).filter((host) => host !== lost);
          const items = itemsOf(hosts, (host) => (host === lost ? others : [host]));
          const verdict = fleet.verdict(`h${lost}`);
          if (verdict !== 'unknown')
            expect([lost, verdict]).toEqual([lost, fits(items, roomsOf(hosts)) ? 'covered' : 'impossible']);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('an evacuation leaves behind only what can not go, whoever else moves, where it says so', () => {
    fc.assert(
      fc.property(layouts({ hosts: 5, machines: 4, gib: [6, 8, 10] }), (hosts) => {
        const plan = planEvacuation(WhatIf.of(indexed(hosts).index), { hosts: ['h0'] });
        const others = all(hosts).slice(1);
        const possible = fits(
          itemsOf(hosts, () => others),
          roomsOf(hosts),
        );
        if (plan.blocked.length === 0) expect(possible).toBe(true);
        else if (plan.unproved.length === 0) expect(possible).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it('a consolidation empties no more hosts than can be empty, and most of the time as many', () => {
    let [found, best] = [0, 0];
    fc.assert(
      fc.property(layouts({ hosts: 5, machines: 3, gib: [8, 10] }), (hosts) => {
        const { parked } = planConsolidation(WhatIf.of(indexed(hosts).index), { cluster: 'default', ceiling: 1 });
        const most = mostEmpty(
          itemsOf(hosts, () => all(hosts)),
          roomsOf(hosts),
        );
        expect(parked.length).toBeLessThanOrEqual(most ?? -1);
        found += parked.length;
        best += most ?? 0;
      }),
      { numRuns: 40, seed: 1 },
    );
    expect(found / best).toBeGreaterThan(0.9);
  });
});
