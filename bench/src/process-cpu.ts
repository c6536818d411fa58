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

const usages = async (): Promise<ReadonlyMap<number, Usage>> => {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const found = await Promise.all(pids.map(async (pid) => [pid, await usageOf(pid)] as const));
  return new Map(found.flatMap(([pid, usage]) => (usage === null ? [] : [[pid, usage]])));
};

const familyOf = (pid: number, all: ReadonlyMap<number, Usage>): readonly number[] =>
  [...all].filter(([other, { parent }]) => other === pid || parent === pid).map(([other]) => other);

/** The processes with their children: PostgreSQL works in children. */
export const familiesOf = async (
  processes: readonly NamedProcess[],
): Promise<readonly { readonly name: string; readonly pids: readonly number[] }[]> => {
  const all = await usages();
  return processes.map(({ name, pid }) => ({ name, pids: familyOf(pid, all) }));
};

/** CPU milliseconds that each process has used so far, its children included. */
export const cpuMsByProcess = async (processes: readonly NamedProcess[]): Promise<ReadonlyMap<string, number>> => {
  const all = await usages();
  return new Map(
    processes.map(({ name, pid }) => {
      const ticks = familyOf(pid, all).reduce((sum, member) => sum + (all.get(member)?.ticks ?? 0), 0);
      return [name, ticks * TICK_MS];
    }),
  );
};
