import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CHART } from './helm.js';

/** What every series has: ours, and what a scrape in a cluster adds. */
export const LABELS_OF_ALL = ['service', 'instance', 'namespace', 'pod', 'job'];

/** Of Node.js and the operating system, as prom-client gives them. */
const DEFAULT_METRICS = [
  'nodejs_eventloop_lag_p99_seconds',
  'process_cpu_seconds_total',
  'process_resident_memory_bytes',
  'process_start_time_seconds',
];

/** Series by name, each with its labels, as docs/metrics.md lists them; of a histogram its buckets, sum and count. */
export const listedSeries = async (): Promise<ReadonlyMap<string, ReadonlySet<string>>> => {
  const series = new Map<string, ReadonlySet<string>>(DEFAULT_METRICS.map((name) => [name, new Set(LABELS_OF_ALL)]));
  const text = await readFile(resolve(CHART, '../../../docs/metrics.md'), 'utf8');
  for (const line of text.split('\n')) {
    if (!line.startsWith('| `xenolith_')) continue;
    const [name = '', type = '', , own = ''] = line
      .split('|')
      .slice(1)
      .map((cell) => cell.replaceAll('`', '').trim());
    const labels = [...LABELS_OF_ALL, ...own.split(', ').filter((label) => label !== '')];
    if (type !== 'histogram') series.set(name, new Set(labels));
    else {
      series.set(`${name}_bucket`, new Set([...labels, 'le']));
      for (const part of ['sum', 'count']) series.set(`${name}_${part}`, new Set(labels));
    }
  }
  return series;
};
