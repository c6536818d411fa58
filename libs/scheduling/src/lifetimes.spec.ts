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
          lifetimes.placed(name, { ...flavour, machine: name, slot, bornAtMs: nowMs, nowMs });
          placed.set(name, slot);
        }
        for (let host = 0; host < HOSTS; host += 1)
          if ([...placed.values()].includes(host)) expect(lifetimes.exitOf(host, nowMs)).toBeGreaterThan(nowMs);
          else expect(lifetimes.exitOf(host, nowMs)).toBe(nowMs);
      }
    });
    fc.assert(property);
  });

  describe('of machines that move', () => {
    const FLAVOUR = { namespace: 'default', vcpus: 2, memoryBytes: 1 };
    const HOUR_MS = 3_600_000;
    const MACHINES = 20;

    /** Machines that began an hour apart, and ended, or moved, after two hours each. */
    const lived = (end: 'ended' | 'moved' | 'failed to move') => {
      const lifetimes = new Lifetimes();
      const turns = Array.from({ length: MACHINES }, (_, number) => [
        { number, atMs: (number + 1) * HOUR_MS, comes: true },
        { number, atMs: (number + 3) * HOUR_MS, comes: false },
      ]).flat();
      for (const { number, atMs, comes } of turns.sort((left, right) => left.atMs - right.atMs)) {
        const machine = `machine-${number}`;
        const stay = { ...FLAVOUR, machine, bornAtMs: (number + 1) * HOUR_MS, nowMs: atMs };
        if (comes) lifetimes.placed(`${machine}/1`, { ...stay, slot: 0 });
        else {
          if (end !== 'ended') lifetimes.placed(`${machine}/2`, { ...stay, slot: 1 });
          lifetimes.released(end === 'failed to move' ? `${machine}/2` : `${machine}/1`, atMs);
        }
      }
      return { lifetimes, nowMs: (MACHINES + 2) * HOUR_MS };
    };

    it('do not end with a migration, which was taken for a death', () => {
      const [ended, moved, failed] = [lived('ended'), lived('moved'), lived('failed to move')];
      const unknown = new Lifetimes().predicted(FLAVOUR, { bornAtMs: moved.nowMs, nowMs: moved.nowMs });
      const predicted = ({ lifetimes, nowMs }: typeof moved) =>
        lifetimes.predicted(FLAVOUR, { bornAtMs: nowMs, nowMs });
      expect(predicted(ended)).not.toBe(unknown);
      expect(predicted(moved)).toBe(unknown);
      expect(predicted(failed)).toBe(unknown);
    });

    it('are those of their whole age, on the host that they came to', () => {
      const { lifetimes, nowMs } = lived('moved');
      for (const number of [0, 7])
        expect(lifetimes.remaining(`machine-${number}/2`, nowMs)).toBe(
          lifetimes.predicted(FLAVOUR, { bornAtMs: (number + 1) * HOUR_MS, nowMs }),
        );
      expect(lifetimes.exitOf(0, nowMs)).toBe(nowMs);
      expect(lifetimes.exitOf(1, nowMs)).toBeGreaterThan(nowMs);
    });
  });
});
