import { done, fail, type Outcome } from '../outcome.js';

/** Inclusive ranges of CPU (or node) numbers, ascending, neither overlapping nor adjacent: `[[0, 3], [8, 8]]`. */
export type CpuSet = readonly (readonly [first: number, last: number])[];

/** What a CPU list in xl's syntax may speak of. */
export interface CpuNumbers {
  readonly cpuCount: number;
  /** CPUs of a node; null: there is no such node. */
  readonly cpusOfNode: (node: number) => CpuSet | null;
}

export const allCpus = (cpuCount: number): CpuSet => (cpuCount > 0 ? [[0, cpuCount - 1]] : []);

const fromFlags = (flags: readonly boolean[]): CpuSet => {
  const ranges: [number, number][] = [];
  flags.forEach((set, cpu) => {
    if (!set) return;
    const last = ranges.at(-1);
    if (last?.[1] === cpu - 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  });
  return ranges;
};

export const cpuSetOf = (cpus: Iterable<number>): CpuSet => {
  const ranges: [number, number][] = [];
  for (const cpu of [...new Set(cpus)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === cpu - 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges;
};

export const cpusOf = (set: CpuSet): number[] => {
  const cpus: number[] = [];
  for (const [first, last] of set) for (let cpu = first; cpu <= last; cpu += 1) cpus.push(cpu);
  return cpus;
};

export const cpuCountOf = (set: CpuSet): number => set.reduce((count, [first, last]) => count + last - first + 1, 0);

export const hasCpu = (set: CpuSet, cpu: number): boolean => set.some(([first, last]) => cpu >= first && cpu <= last);

export const intersect = (a: CpuSet, b: CpuSet): CpuSet => {
  const ranges: [number, number][] = [];
  let [i, j] = [0, 0];
  for (let [x, y] = [a[0], b[0]]; x && y; [x, y] = [a[i], b[j]]) {
    const first = Math.max(x[0], y[0]);
    const last = Math.min(x[1], y[1]);
    if (first <= last) ranges.push([first, last]);
    if (x[1] < y[1]) i += 1;
    else j += 1;
  }
  return ranges;
};

export const intersects = (a: CpuSet, b: CpuSet): boolean => intersect(a, b).length > 0;

export const unite = (a: CpuSet, b: CpuSet): CpuSet => {
  const ranges: [number, number][] = [];
  for (const [first, last] of [...a, ...b].sort((x, y) => x[0] - y[0])) {
    const previous = ranges.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else ranges.push([first, last]);
  }
  return ranges;
};

/** C's strtoul reads blanks and a plus sign before a number; a range needs its end behind it and nothing more. */
const RANGE = /^\s*\+?(\d+)(?:-\s*\+?(\d+))?$/;

const markRange = (flags: boolean[], [first, last]: readonly [number, number], value: boolean): void => {
  // Numbers beyond the map are ignored, as libxl_bitmap_set does.
  for (let cpu = first; cpu <= last && cpu < flags.length; cpu += 1) flags[cpu] = value;
};

/** Applies one item of the list; false: xl does not understand it. */
const applyItem = (flags: boolean[], item: string, numbers: CpuNumbers): boolean => {
  const adds = !item.startsWith('^');
  const rest = adds ? item : item.slice(1);
  const prefix = ['node:', 'nodes:'].find((start) => rest.startsWith(start)) ?? '';
  const text = rest.slice(prefix.length);
  if (text === 'all') {
    if (adds) flags.fill(true);
    return adds;
  }
  const match = RANGE.exec(text);
  if (!match) return false;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (last < first) return false;
  if (prefix === '') markRange(flags, [first, last], adds);
  else
    for (let node = first; node <= last; node += 1) {
      const cpus = numbers.cpusOfNode(node);
      if (cpus === null) break;
      for (const range of cpus) markRange(flags, range, adds);
    }
  return true;
};

/**
 * Reads a list of CPUs in xl's syntax (tools/xl/xl_parse.c `parse_cpurange`): `0-3,^2`, `all`, `node:1`, `nodes:0-1`, `^node:0`, applied from left to right.
 * EINVAL: an item that xl rejects, such as `3-1` or `^all`. Numbers beyond the host are ignored.
 */
export const parseCpuSet = (text: string, numbers: CpuNumbers): Outcome<CpuSet> => {
  const flags = Array.from({ length: numbers.cpuCount }, () => false);
  for (const item of text.split(',')) if (item !== '' && !applyItem(flags, item, numbers)) return fail('EINVAL');
  return done(fromFlags(flags));
};

/** Prints a set as xl does (tools/xl/xl_utils.c `print_bitmap`): `all`, `none`, or ranges such as `0-3,8`. `cpuCount` is the length of the map. */
export const printCpuSet = (set: CpuSet, cpuCount: number): string => {
  const inside = intersect(set, allCpus(cpuCount));
  if (inside.length === 0) return 'none';
  if (inside.length === 1 && inside[0]?.[0] === 0 && inside[0][1] === cpuCount - 1) return 'all';
  return inside.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
};
