import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { anyFleet, IndexedFleet } from './fleet.spec-fixture.js';
import { figuresOf } from './figures.js';
import { named } from './replay.spec-fixture.js';
import { WhatIf } from './what-if.js';

/** All that a copy can be asked. */
const picture = (whatIf: WhatIf) => {
  const slots = whatIf.slots();
  const { table } = whatIf.outlook;
  return {
    figures: figuresOf(whatIf, slots),
    hosts: slots.map((slot) => [
      table.freeMemory(slot),
      table.freeVcpus(slot),
      table.freeOf(slot, 'licence'),
      table.cellUsedMemory.slice(slot * 8, slot * 8 + 8).join(),
      whatIf.cpuShare(slot),
      whatIf.on(slot).map(({ placement, cell }) => [placement, cell]),
    ]),
    fits: whatIf.machines().map((machine) => slots.map((slot) => whatIf.fits(machine, slot))),
  };
};

const six = { hosts: 6, machines: 24 };

describe('WhatIf', () => {
  it('says of each machine and host what the index says of the migration', () => {
    fc.assert(
      fc.property(anyFleet(six), (fleet) => {
        const whatIf = WhatIf.of(fleet.index);
        for (const machine of whatIf.machines())
          for (const slot of whatIf.slots()) {
            const exceptHost = whatIf.nameOf(machine.slot);
            const asked = { ...machine.request, host: whatIf.nameOf(slot), exceptHost };
            expect(whatIf.fits(machine, slot)).toBe(fleet.propose('migration', asked).fits);
          }
      }),
    );
  });

  it('leaves no trace of moves that are taken back, and none at all in the index', () => {
    const steps = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean()), { maxLength: 30 });
    fc.assert(
      fc.property(anyFleet(six), steps, (fleet, tried) => {
        const [whatIf, before] = [WhatIf.of(fleet.index), picture(WhatIf.of(fleet.index))];
        const slots = whatIf.slots();
        const made = tried.flatMap(([pick, place, leaves]) => {
          const machine = whatIf.machines()[pick % Math.max(1, whatIf.machines().length)];
          const slot = slots[place % slots.length] ?? -1;
          if (!machine || machine.slot < 0) return [];
          if (leaves) return [whatIf.remove(machine)];
          return whatIf.fits(machine, slot) ? [whatIf.move(machine, slot)] : [];
        });
        for (const stay of made.reverse()) whatIf.back(stay);
        expect(picture(whatIf)).toEqual(before);
        expect(picture(WhatIf.of(fleet.index))).toEqual(before);
      }),
    );
  });

  it('holds room at both ends until a migration ends', () => {
    const fleet = new IndexedFleet(['a', 'b'].map((name) => ({ name, memoryBytes: 4 * GIB, threads: 4 })));
    fleet.place('large', { host: 'a', memoryBytes: 3 * GIB });
    fleet.place('small', { host: 'b', memoryBytes: 1 * GIB });
    const whatIf = WhatIf.of(fleet.index);
    const [large, small] = [named(whatIf, 'large'), named(whatIf, 'small')];
    const [from, to] = [large.slot, small.slot];
    whatIf.hold(large, to);
    expect(whatIf.fits(small, from)).toBe(true);
    expect([from, to].map((slot) => whatIf.memoryShare(slot))).toEqual([0.75, 1]);
    whatIf.settle(large);
    expect([from, to].map((slot) => whatIf.memoryShare(slot))).toEqual([0, 1]);
    expect(large.slot).toBe(to);
  });

  it('knows which machines cannot leave their host, and why', () => {
    const fleet = new IndexedFleet([
      { name: 'a', memoryBytes: 8 * GIB, threads: 4 },
      { name: 'dead', memoryBytes: 8 * GIB, threads: 4, ready: false },
    ]);
    fleet.put('bound', requestFor('bound', { host: 'a' }), { host: 'a' });
    fleet.put('came', requestFor('came', { host: 'a', exceptHost: 'dead' }), { host: 'a' });
    fleet.put('lost', requestFor('lost'), { host: 'dead' });
    fleet.put('moving', requestFor('moving'), { host: 'a' });
    fleet.put('moving too', requestFor('moving'), { host: 'a' });
    fleet.put('told', requestFor('told'), { host: 'a' });
    const whatIf = WhatIf.of(fleet.index, {
      fixed: (_placement, { virtualMachine }) => (virtualMachine.name === 'told' ? 'it is paused' : undefined),
    });
    const fixed = ['bound', 'came', 'lost', 'moving', 'told'].map((name) => named(whatIf, name).fixed);
    expect(fixed).toEqual([
      'it is bound to host a',
      undefined,
      'host dead is not ready',
      'it is on its way already',
      'it is paused',
    ]);
  });

  it('explains why no host takes a machine', () => {
    const fleet = new IndexedFleet([
      { name: 'a', memoryBytes: 8 * GIB, threads: 4 },
      { name: 'b', memoryBytes: 2 * GIB, threads: 4 },
    ]);
    fleet.place('vm', { memoryBytes: 4 * GIB });
    const whatIf = WhatIf.of(fleet.index);
    expect(whatIf.refusal(named(whatIf, 'vm')).message).toBe(
      '0/2 hosts: 1 is host a, which it is to leave, 1 lacks memory (need 4Gi, most free 2Gi on b)',
    );
  });

  it('takes a machine that nobody measured for as busy as its share of the virtual CPUs', () => {
    const fleet = new IndexedFleet([{ name: 'a', memoryBytes: 8 * GIB, threads: 4 }]);
    fleet.place('vm', { vcpus: 4 });
    const assumed = WhatIf.of(fleet.index);
    expect(named(assumed, 'vm').load).toMatchObject({ cpu: 1, measured: false });
    expect(assumed.cpuShare(0)).toBe(0.25);
    const load = { cpu: 3, memoryBytes: GIB, dirtyBytesPerSecond: 0, measured: true };
    expect(WhatIf.of(fleet.index, { load: () => load }).cpuShare(0)).toBe(0.75);
  });
});
