import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cpuCountOf, cpuSetOf, cpusOf, hasCpu, intersect, parseCpuSet, printCpuSet, unite } from './cpu-set.js';
import { bootedHost, TWO_NODES, valueOf } from './hypervisor.spec-fixture.js';

const numbers = bootedHost(TWO_NODES).cpuNumbers();
const parsed = (text: string): string => {
  const set = parseCpuSet(text, numbers);
  return set.ok ? printCpuSet(set.value, numbers.cpuCount) : set.errno;
};

describe('CPU lists in the syntax of xl', () => {
  it.each([
    ['all', 'all'],
    ['0-31', 'all'],
    ['0', '0'],
    ['0-3,^2', '0-1,3'],
    ['^2,0-3', '0-3'],
    ['3,1,2', '1-3'],
    ['all,^0', '1-31'],
    ['node:1', '16-31'],
    ['nodes:0-1', 'all'],
    ['node:1,^16-30', '31'],
    ['0-20,^node:0', '16-20'],
    ['nodes:all', 'all'],
    ['node:7', 'none'],
    ['40', 'none'],
    ['30-99', '30-31'],
    ['', 'none'],
    ['1,,2', '1-2'],
    [' 1', '1'],
    ['^all', 'EINVAL'],
    ['^nodes:all', 'EINVAL'],
    ['3-1', 'EINVAL'],
    ['1-', 'EINVAL'],
    ['a', 'EINVAL'],
    ['1 ', 'EINVAL'],
    ['1;2', 'EINVAL'],
  ])('reads %j as %s', (text, expected) => expect(parsed(text)).toBe(expected));

  it('reads what it printed', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(31), { minLength: 1 }), (cpus) => {
        const set = cpuSetOf(cpus);
        expect(valueOf(parseCpuSet(printCpuSet(set, 32), numbers))).toEqual(set);
      }),
    );
  });

  it('unites and intersects as sets do', () => {
    const cpus = fc.uniqueArray(fc.nat(40));
    fc.assert(
      fc.property(cpus, cpus, (a, b) => {
        const ascending = (list: number[]): number[] => [...new Set(list)].sort((x, y) => x - y);
        const common = a.filter((cpu) => b.includes(cpu));
        expect(cpusOf(unite(cpuSetOf(a), cpuSetOf(b)))).toEqual(ascending([...a, ...b]));
        expect(cpusOf(intersect(cpuSetOf(a), cpuSetOf(b)))).toEqual(ascending(common));
        expect(unite(cpuSetOf(a), cpuSetOf(b))).toEqual(cpuSetOf([...a, ...b]));
        expect(cpuCountOf(cpuSetOf(a))).toBe(a.length);
        for (const cpu of b) expect(hasCpu(cpuSetOf(a), cpu)).toBe(a.includes(cpu));
      }),
    );
  });
});
