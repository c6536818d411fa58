import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** One measured comparison. Rates are per second, times in milliseconds; `ratio` is ours against the peer or limit of the same run. */
export interface Row {
  readonly group: string;
  readonly what: string;
  readonly ours: number;
  readonly unit: string;
  readonly against: string;
  readonly theirs: number;
  readonly ratio: number;
  /** What DESIGN's table of numbers asks of the ratio, or of the figure. */
  readonly target: string;
  readonly reached: boolean;
}

/** A row whose ratio should be at least `atLeast`. */
export const rateRow = (row: {
  group: string;
  what: string;
  ours: number;
  unit?: string;
  against: string;
  theirs: number;
  atLeast: number;
}): Row => {
  const ratio = row.ours / row.theirs;
  return { unit: '/s', ...row, ratio, target: `≥ ${row.atLeast} ×`, reached: ratio >= row.atLeast };
};

/** A row whose figure should be at most so many times the peer's; where that is endless, it is only told. */
export const atMostRow = (row: {
  group: string;
  what: string;
  ours: number;
  unit: string;
  against: string;
  theirs: number;
  atMost: number;
}): Row => {
  const ratio = row.ours / row.theirs;
  const target = Number.isFinite(row.atMost) ? `≤ ${row.atMost} ×` : 'none';
  return { ...row, ratio, target, reached: ratio <= row.atMost };
};

/** A row whose figure should be at most the limit. */
export const limitRow = (row: { group: string; what: string; ours: number; unit: string; limit: number }): Row => ({
  ...row,
  against: 'limit',
  theirs: row.limit,
  ratio: row.ours / row.limit,
  target: `≤ ${row.limit} ${row.unit}`,
  reached: row.ours <= row.limit,
});

/** A row whose figure should be at least the limit. */
export const floorRow = (row: { group: string; what: string; ours: number; unit: string; floor: number }): Row => ({
  ...row,
  against: 'target',
  theirs: row.floor,
  ratio: row.ours / row.floor,
  target: `≥ ${row.floor} ${row.unit}`,
  reached: row.ours >= row.floor,
});

/** A part of a whole, which has no target of its own. */
export const shareRow = (row: { group: string; what: string; ours: number; unit: string; whole: number }): Row => ({
  ...row,
  against: 'whole',
  theirs: row.whole,
  ratio: row.ours / row.whole,
  target: 'none',
  reached: true,
});

const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);

export const printRows = (rows: readonly Row[]): void => {
  const cells = rows.map((row) => [
    row.group,
    row.what,
    `${figure(row.ours)} ${row.unit}`,
    `${row.against} ${figure(row.theirs)}`,
    `${row.ratio.toFixed(2)} ×`,
    row.target,
    row.reached ? 'yes' : 'no',
  ]);
  const table = [['group', 'what', 'ours', 'against', 'ratio', 'target', 'reached'], ...cells];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  for (const line of table)
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
};

/** Saves the rows as JSON and answers the file. Absolute figures are this machine's at this moment: compare ratios. */
export const saveRows = async (rows: readonly Row[]): Promise<string> => {
  const folder = resolve(import.meta.dirname, '../results');
  await mkdir(folder, { recursive: true });
  const file = join(folder, `${new Date().toISOString().replace(/[:.]/g, '-')}.json`);
  await writeFile(file, `${JSON.stringify({ node: process.version, rows }, null, 2)}\n`);
  return file;
};

/** Calls `action` from `callers` closed loops for `durationMs`; answers calls per second. */
export const closedLoop = async (
  callers: number,
  durationMs: number,
  action: (caller: number, turn: number) => Promise<unknown>,
): Promise<number> => {
  const until = performance.now() + durationMs;
  const start = performance.now();
  let calls = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let turn = 0; performance.now() < until; turn += 1) {
        await action(caller, turn);
        calls += 1;
      }
    }),
  );
  return (calls * 1000) / (performance.now() - start);
};

export const percentile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};

export const progress = (text: string): void => console.log(`· ${text}`);

/** Milliseconds of CPU: what something costs, whatever else the machine does. */
export const cpuMs = (action: () => void): number => {
  const begun = process.cpuUsage();
  action();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1_000;
};
