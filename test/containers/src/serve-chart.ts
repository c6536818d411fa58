import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChartPods } from './chart-pods.js';
import { lack } from './engine.js';
import { kubeconfigOf } from './access.js';

/** sysexits.h's EX_UNAVAILABLE: what this needs is not here. */
const EXIT_UNAVAILABLE = 69;

/** What another program is told of the Pods, as one line of JSON. */
export interface ServedChart {
  readonly kubeconfig: string;
  /** As this machine sees them, where the engine runs on it. */
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
}

const kubeconfigFor = async (chart: ChartPods, folder: string): Promise<string> => {
  const { data } = chart.release;
  const authority = data.get('Secret/x-xenolith-tls')?.['ca.crt'];
  const token = data.get('Secret/x-xenolith-tokens')?.['token'];
  if (authority === undefined || token === undefined) throw new Error('the chart renders no certificate or no token');
  const file = join(folder, 'kubeconfig');
  const port = chart.named('gateway-0').reachedBy('https');
  await writeFile(file, JSON.stringify(kubeconfigOf({ port, authority, token })), { mode: 0o600 });
  return file;
};

/** Runs the Pods of the chart for another program: its arguments are values of the chart. Ends, and takes them away, when its standard input does. */
const serve = async (): Promise<void> => {
  const ended = once(process.stdin.resume(), 'end');
  if (lack !== null) {
    process.stderr.write(`The Pods of the chart can't run here: ${lack}.\n`);
    process.exit(EXIT_UNAVAILABLE);
  }
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-served-'));
  const chart = await ChartPods.start(...process.argv.slice(2));
  try {
    await chart.runToEnd(chart.release.jobs.starter);
    const served: ServedChart = {
      kubeconfig: await kubeconfigFor(chart, folder),
      processes: await Promise.all(
        chart.running.map(async (pod) => ({
          name: pod.pod.name.replace(/^x-xenolith-/, '').replace(/-\d+$/, ''),
          pid: await pod.pid(),
        })),
      ),
    };
    process.stdout.write(`${JSON.stringify(served)}\n`);
    await ended;
  } finally {
    await chart.remove();
    await rm(folder, { recursive: true });
  }
};

await serve();
