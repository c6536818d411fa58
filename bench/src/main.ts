import { benchApi } from './api-bench.js';
import { benchFleet } from './fleet-platform-bench.js';
import { benchLog } from './log-bench.js';
import { benchPast } from './past-bench.js';
import { benchPastPlatform } from './past-platform-bench.js';
import { benchPlacement } from './placement-bench.js';
import { benchPlatform } from './platform-bench.js';
import { benchXen } from './xen-bench.js';
import { printRows, saveRows, type Row } from './report.js';
import { benchScheduling } from './scheduling-bench.js';

/** Every group of rows, by the name that `--only` takes, or `--group`. */
const GROUPS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  log: benchLog,
  past: benchPast,
  'past-platform': benchPastPlatform,
  platform: benchPlatform,
  api: benchApi,
  xen: benchXen,
  scheduling: benchScheduling,
  placement: benchPlacement,
  fleet: benchFleet,
};

const chosen = (): readonly string[] => {
  const at = process.argv.findIndex((word) => word === '--only' || word === '--group');
  const names = at < 0 ? Object.keys(GROUPS) : (process.argv[at + 1] ?? '').split(',');
  const wrong = names.filter((name) => !(name in GROUPS));
  if (wrong.length === 0) return names;
  console.error(`bench: no group "${wrong.join(', ')}"; there are: ${Object.keys(GROUPS).join(', ')}`);
  process.exit(64);
};

const rows: Row[] = [];
for (const name of chosen()) rows.push(...((await GROUPS[name]?.()) ?? []));
printRows(rows);
console.log(`saved as ${await saveRows(rows)}`);
