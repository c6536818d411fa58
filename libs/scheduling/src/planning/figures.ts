import type { FleetFigures, Spread } from './movement.js';
import type { WhatIf } from './what-if.js';

const NOTHING: Spread = { lowest: 0, mean: 0, highest: 0 };

const spreadOf = (shares: readonly number[]): Spread =>
  shares.length === 0
    ? NOTHING
    : {
        lowest: Math.min(...shares),
        mean: shares.reduce((sum, share) => sum + share, 0) / shares.length,
        highest: Math.max(...shares),
      };

const deviation = (shares: readonly number[], mean: number): number =>
  shares.length === 0 ? 0 : Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length);

/** Figures of the hosts at these slots. */
export const figuresOf = (whatIf: WhatIf, slots: readonly number[]): FleetFigures => {
  const cpus = slots.map((slot) => whatIf.cpuShare(slot));
  const memories = slots.map((slot) => whatIf.memoryShare(slot));
  const [cpu, memory] = [spreadOf(cpus), spreadOf(memories)];
  const machines = slots.map((slot) => whatIf.on(slot).length);
  return {
    hosts: slots.length,
    emptyHosts: machines.filter((count) => count === 0).length,
    machines: machines.reduce((sum, count) => sum + count, 0),
    cpu,
    memory,
    imbalance: deviation(cpus, cpu.mean) + deviation(memories, memory.mean),
  };
};
