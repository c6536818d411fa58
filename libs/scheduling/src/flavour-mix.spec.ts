import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlavourMix } from './flavour-mix.js';

const flavour = fc.record({ vcpus: fc.integer({ min: 1, max: 16 }), memoryBytes: fc.integer({ min: 1, max: 64 }) });
const room = fc.record({ vcpus: fc.integer({ min: 0, max: 64 }), memoryBytes: fc.integer({ min: 0, max: 256 }) });
const host = fc.constantFrom({ vcpus: 64, memoryBytes: 256 }, { vcpus: 128, memoryBytes: 256 });

describe('FlavourMix', () => {
  it('remembers of a host what it would find anew, whatever comes and goes', () => {
    const step = fc.oneof(
      flavour.map((counted) => (mix: FlavourMix) => mix.count(counted, 1)),
      fc.tuple(fc.nat(99), room, host).map(([slot, free, whole]) => (mix: FlavourMix) => {
        const anew = mix.fragmentation(free, whole);
        expect([mix.fragmentationOf(slot, free, whole), mix.fragmentationOf(slot, free, whole)]).toEqual([anew, anew]);
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const mix = new FlavourMix();
        for (const take of steps) take(mix);
      }),
    );
  });
});
