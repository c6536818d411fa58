import { readdir, readFile } from 'node:fs/promises';

/** The unit of CPU times in /proc: USER_HZ, which is 100 on every Linux x64. */
const TICK_MS = 10;

export interface NamedProcess {
  readonly name: string;
  readonly pid: number;
}

interface Usage {
  readonly parent: number;
  readonly ticks: number;
}

/** CPU time of a process and of its children that have ended; null when it is gone. Fields as proc_pid_stat(5) numbers them. */
const usageOf = async (pid: number): Promise<Usage | null> => {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (text === null) return null;
  // The name stands in parentheses and may hold anything; the third field follows it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number): number => Number(fields[number - 3]);
  return { parent: field(4), ticks: field(14) + field(15) + field(16) + field(17) };
};

/** CPU milliseconds that each process has used so far, its children included: PostgreSQL works in children. */
export const cpuMsByProcess = async (processes: readonly NamedProcess[]): Promise<ReadonlyMap<string, number>> => {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const usages = await Promise.all(pids.map(async (pid) => ({ pid, usage: await usageOf(pid) })));
  return new Map(
    processes.map(({ name, pid }) => {
      const ticks = usages.reduce(
        (sum, { pid: other, usage }) => (other === pid || usage?.parent === pid ? sum + (usage?.ticks ?? 0) : sum),
        0,
      );
      return [name, ticks * TICK_MS];
    }),
  );
};
