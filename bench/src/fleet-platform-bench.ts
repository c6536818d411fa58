import { readFile } from 'node:fs/promises';
import { ApiClient } from './api-client.js';
import { Machines } from './machines.js';
import { Platform } from './platform.js';
import { familiesOf, type NamedProcess } from './process-cpu.js';
import { limitRow, percentile, progress, shareRow, type Row } from './report.js';

const GROUP = 'fleet';
const MACHINES_PER_HOST = 10;
const HOSTS = 200;
const FULL_HOSTS = 10_000;
const CALLERS = 64;
/** DESIGN §8: emulated hosts and the control plane beside them, at the full size. */
const LIMIT_GIB = 4;
const PROGRESS_EVERY = 5_000;

/** Bytes of memory that only this process has, and its share of what it has with others; 0 when it is gone. */
const residentBytesOf = async (pid: number): Promise<number> => {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
};

const residentBytes = async (
  processes: readonly NamedProcess[],
): Promise<readonly { readonly name: string; readonly bytes: number }[]> => {
  const families = await familiesOf(processes);
  return Promise.all(
    families.map(async ({ name, pids }) => {
      const each = await Promise.all(pids.map(residentBytesOf));
      return { name, bytes: each.reduce((sum, bytes) => sum + bytes, 0) };
    }),
  );
};

const fill = async (platform: Platform, machines: number): Promise<void> => {
  const client = await ApiClient.open(platform.kubeconfig, CALLERS);
  try {
    const made = new Machines(client);
    await made.start();
    let next = 0;
    let tookMs: number[] = [];
    await Promise.all(
      Array.from({ length: CALLERS }, async () => {
        while (next < machines) {
          next += 1;
          tookMs.push(await made.create(`fleet-${next}`));
          if (tookMs.length < PROGRESS_EVERY) continue;
          const [p50, p99, longest] = [0.5, 0.99, 1].map((share) => Math.round(percentile(tookMs, share)));
          progress(
            `${next} of ${machines} machines; of the last, one took ${p50} ms (p50), ${p99} (p99), ${longest} at the most`,
          );
          tookMs = [];
        }
      }),
    );
  } finally {
    client.close();
  }
};

/** Memory of a whole platform whose hosts run ten machines each; `--full` is 10,000 hosts. */
export const benchFleet = async (): Promise<readonly Row[]> => {
  const full = process.argv.includes('--full');
  const hosts = full ? FULL_HOSTS : HOSTS;
  progress(`starting a platform of ${hosts} hosts`);
  const platform = await Platform.start(hosts);
  try {
    const machines = hosts * MACHINES_PER_HOST;
    await fill(platform, machines);
    const resident = await residentBytes(await platform.processes());
    const whole = resident.reduce((sum, { bytes }) => sum + bytes, 0);
    const what = `memory of a platform with ${hosts} hosts, ${machines} machines`;
    await platform.remove();
    return [
      limitRow({ group: GROUP, what, ours: whole / 2 ** 30, unit: 'GiB', limit: LIMIT_GIB }),
      ...resident.map(({ name, bytes }) =>
        shareRow({ group: GROUP, what: `memory, ${name}`, ours: bytes / 2 ** 20, unit: 'MiB', whole: whole / 2 ** 20 }),
      ),
    ];
  } catch (fault) {
    await platform.down();
    progress(`the platform is stopped; what it said is in ${platform.data}`);
    throw fault;
  }
};
