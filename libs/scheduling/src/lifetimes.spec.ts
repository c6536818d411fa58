import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Lifetimes } from './lifetimes.js';

const HOSTS = 3;

describe('Lifetimes', () => {
  it('say of a host without machines that it is empty now, and of others that they will be later', () => {
    const step = fc.record({
      machine: fc.nat(11),
      slot: fc.nat(HOSTS - 1),
      leaves: fc.boolean(),
      waitMs: fc.nat(90_000_000),
    });
    const property = fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const lifetimes = new Lifetimes();
      const placed = new Map<string, number>();
      let nowMs = 1;
      for (const { machine, slot, leaves, waitMs } of steps) {
        nowMs += waitMs;
        const name = `machine-${machine}`;
        if (leaves) {
          lifetimes.released(name, nowMs);
          placed.delete(name);
        } else {
          const flavour = { namespace: 'default', vcpus: machine % 2, memoryBytes: 1 };
          lifetimes.placed(name, { ...flavour, slot, bornAtMs: nowMs, nowMs });
          placed.set(name, slot);
        }
        for (let host = 0; host < HOSTS; host += 1)
          if ([...placed.values()].includes(host)) expect(lifetimes.exitOf(host, nowMs)).toBeGreaterThan(nowMs);
          else expect(lifetimes.exitOf(host, nowMs)).toBe(nowMs);
      }
    });
    fc.assert(property);
  });
});
