import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { START_MS } from './fleet.js';
import { Hindsight } from './hindsight.js';
import { bestFit, consolidated, firstFit, knowing, scheduled } from './packers.js';
import { floorRow, progress, rateRow, shareRow, type Row } from './report.js';
import { DAY_MS, readTrace, replay, type Packed, type Packer } from './trace.js';

const GROUP = 'scheduling';
/** Percent of the gap from first fit to known lifetimes. */
const GAP_TARGET = 75;
/**
 * Days of the trace. Scores were chosen by the first part only, and the second is what is told. The first day is not measured, as all that ran before comes at
 * once; nor is what follows the last, when nothing comes any more.
 */
const PARTS = { chosenBy: { fromDay: 1, toDay: 7.5 }, told: { fromDay: 7.5, toDay: 14 } };
type Part = keyof typeof PARTS;

const traces = (): string => {
  const at = process.argv.indexOf('--traces');
  return at < 0 ? resolve(import.meta.dirname, '../../../shared/data/vm-traces') : resolve(process.argv[at + 1] ?? '');
};

type Results = Readonly<Record<'first' | 'best' | 'mine' | 'moving' | 'firstMoving' | 'guessed' | 'known', Packed>>;

const rowsOf = (what: string, { first, best, mine, moving, firstMoving, guessed, known }: Results): readonly Row[] => {
  const gap = { group: GROUP, unit: '%' };
  const dense = { ...gap, what: `density, ${what}`, ours: mine.percent };
  const share = ({ percent }: Packed): number => ((percent - first.percent) * 100) / (known.percent - first.percent);
  const told = (of: string, ours: number): Row => shareRow({ ...gap, what: `${of}, ${what}`, ours, whole: 100 });
  return [
    rateRow({ ...dense, against: 'first fit', theirs: first.percent, atLeast: 1 }),
    rateRow({ ...dense, against: 'best fit', theirs: best.percent, atLeast: 1 }),
    rateRow({ ...dense, against: 'known lifetimes', theirs: known.percent, atLeast: 0.98 }),
    floorRow({
      ...gap,
      what: `gap from first fit to known lifetimes, ${what}`,
      ours: share(mine),
      floor: GAP_TARGET,
    }),
    told('gap that hindsight over tenants and flavours closes', share(guessed)),
    rateRow({
      ...gap,
      what: `density, consolidated, ${what}`,
      ours: moving.percent,
      against: 'known lifetimes',
      theirs: known.percent,
      atLeast: 0.98,
    }),
    floorRow({
      ...gap,
      what: `gap from first fit to known lifetimes, consolidated, ${what}`,
      ours: share(moving),
      floor: GAP_TARGET,
    }),
    told('migrations for each machine that came, consolidated', (moving.migrations * 100) / moving.arrivals),
    told('gap that first fit closes when consolidated', share(firstMoving)),
    told(
      'migrations for each machine that came, first fit, consolidated',
      (firstMoving.migrations * 100) / firstMoving.arrivals,
    ),
  ];
};

/** How densely public traces are packed, against first-fit, best-fit, and one who knows when each machine will go. */
export const benchPacking = (): readonly Row[] => {
  const files = ['azure-packing-1pct-bernoulli-0.csv', 'azure-packing-1pct-batched-0.csv'];
  return files.flatMap((name): readonly Row[] => {
    const file = join(traces(), name);
    if (!existsSync(file)) {
      progress(`no trace ${file}: name its folder with --traces`);
      return [];
    }
    progress(`packing ${name}`);
    const turns = readTrace(file).filter(({ atMs }) => atMs <= START_MS + PARTS.told.toDay * DAY_MS);
    const hindsight = new Hindsight(turns.filter(({ comes }) => comes).map(({ machine }) => machine));
    const packed = (packer: Packer) => replay(turns, packer, PARTS);
    const results = {
      first: packed({ rule: firstFit }),
      best: packed({ rule: bestFit }),
      mine: packed(scheduled()),
      moving: packed(consolidated()),
      firstMoving: packed(consolidated(firstFit)),
      guessed: packed({ rule: knowing((machine, atMs) => hindsight.endOf(machine, atMs)) }),
      known: packed({ rule: knowing(({ endMs }) => endMs) }),
    };
    const of = (part: Part): Results =>
      Object.fromEntries(Object.entries(results).map(([rule, parts]) => [rule, parts[part]])) as unknown as Results;
    return [...rowsOf(`${name}, chosen by`, of('chosenBy')), ...rowsOf(`${name}, told`, of('told'))];
  });
};
