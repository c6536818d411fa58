import { describe, expect, it } from 'vitest';
import { latencyOf, percentile, Refusals, Usage } from './statistics.js';

describe('statistics of a replay', () => {
  it('takes percentiles by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([0.5, 0.9, 0.99, 1].map((share) => percentile(values, share))).toEqual([50, 90, 99, 100]);
    expect(latencyOf([])).toBeNull();
    expect(latencyOf([3])).toEqual({ p50: 3, p90: 3, p99: 3, max: 3 });
  });

  it('groups refusals that differ in numbers and names only', () => {
    const refusals = new Refusals();
    for (const hosts of [3, 4, 5]) refusals.add('Unschedulable', `0/${hosts} hosts: ${hosts} have too little memory`);
    refusals.add('Forbidden', 'quota "a" is used up');
    refusals.add('Forbidden', 'quota "b" is used up');
    expect(refusals.list().map(({ reason, count }) => [reason, count])).toEqual([
      ['Unschedulable', 3],
      ['Forbidden', 2],
    ]);
  });

  it('measures density of the hosts that hold machines only', () => {
    const usage = new Usage(() => ({ vcpus: 10, memoryBytes: 100 }));
    usage.add('a', { vcpus: 5, reservedBytes: 80 });
    usage.add('b', { vcpus: 1, reservedBytes: 10 });
    expect(usage.sample(0, 0)).toMatchObject({ machines: 2, hostsUsed: 2, cpuShare: 0.3, memoryShare: 0.45 });
    usage.remove('b', { vcpus: 1, reservedBytes: 10 });
    expect(usage.sample(0, 0)).toMatchObject({ machines: 1, hostsUsed: 1, cpuShare: 0.5, memoryShare: 0.8 });
  });
});
