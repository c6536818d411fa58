import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { TestFleet } from '../fleet.spec-fixture.js';
import { Board } from './board.js';
import { searchAll } from './exhaustive.js';
import { host } from './failover.spec-fixture.js';
import { residentOf } from './resident.js';
import { Roster } from './roster.js';
import { shortageOf } from './shortage.js';

interface Size {
  readonly gib: number;
  readonly vcpus: number;
}

/** Machines for hosts that they nearly fill, or are a little too many for. */
const tight = fc.record({
  rooms: fc.array(fc.record({ gib: fc.integer({ min: 5, max: 14 }), vcpus: fc.integer({ min: 4, max: 12 }) }), {
    minLength: 1,
    maxLength: 4,
  }),
  machines: fc.array(fc.record({ gib: fc.constantFrom(2, 3, 5), vcpus: fc.constantFrom(1, 2) }), {
    minLength: 1,
    maxLength: 8,
  }),
});

const solvable = (rooms: readonly Size[], machines: readonly Size[]): boolean => {
  const [machine, ...others] = machines;
  if (!machine) return true;
  return rooms.some(
    (room, at) =>
      room.gib >= machine.gib &&
      room.vcpus >= machine.vcpus &&
      solvable(
        rooms.map((other, index) =>
          index === at ? { gib: other.gib - machine.gib, vcpus: other.vcpus - machine.vcpus } : other,
        ),
        others,
      ),
  );
};

/** Machines that are alike come one after the other, as they do in a plan. */
const scene = (rooms: readonly Size[], unsorted: readonly Size[]) => {
  const sizes = unsorted.toSorted((left, right) => right.gib - left.gib || right.vcpus - left.vcpus);
  const hosts = rooms.map(({ gib, vcpus }, number) => host(`h${number}`, gib, { vcpus }));
  const { fleet, table } = new TestFleet(...hosts, host('lost', 100));
  const lost = table.slotNamed('lost') ?? -1;
  const machines = sizes.map(({ gib, vcpus }, number) => {
    const request = requestFor(`m${number}`, { memoryBytes: gib * GIB, vcpus });
    return residentOf(fleet.classes, { placement: `m${number}`, request, slot: lost, cell: undefined });
  });
  const board = new Board(fleet);
  const roster = new Roster(table, board);
  roster.reset(new Set(hosts.map((_, slot) => slot)));
  board.begin({ lost: [lost], dead: machines, machines });
  return { board, roster, machines };
};

describe('the search through all ways', () => {
  it('finds one just where there is one', () => {
    fc.assert(
      fc.property(tight, ({ rooms, machines: sizes }) => {
        const { board, roster, machines } = scene(rooms, sizes);
        expect(searchAll(board, machines, roster)).toBe(solvable(rooms, sizes) ? 'seated' : 'none');
        const { seats } = board.end();
        expect(seats.length).toBe(solvable(rooms, sizes) ? machines.length : 0);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a proof of shortage', () => {
  it('is never told of machines that fit', () => {
    fc.assert(
      fc.property(tight, ({ rooms, machines: sizes }) => {
        const { board, roster, machines } = scene(rooms, sizes);
        if (shortageOf(board, { machines, over: machines }, roster.slots)) expect(solvable(rooms, sizes)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['one that is too large', [9, 9], [10], 'needs 10Gi, the most that is free on another host is 9Gi'],
    ['too much in all', [6, 6], [5, 5, 3], '3 machines need 13Gi, 12Gi are free on the other hosts'],
    [
      'too many of one size',
      [9, 9, 9],
      [5, 5, 5, 5],
      '4 machines need 5Gi or more each, the other hosts have room for 3',
    ],
    ['too much for the hosts that are large enough', [9, 3, 3], [4, 4, 4], 'have room for 2 of them'],
  ])('names %s', (_what, rooms, sizes, message) => {
    const size = (gib: number): Size => ({ gib, vcpus: 1 });
    const { board, roster, machines } = scene(
      rooms.map(size).map((room) => ({ ...room, vcpus: 16 })),
      sizes.map(size),
    );
    expect(shortageOf(board, { machines, over: machines }, roster.slots)?.message).toContain(message);
  });
});
