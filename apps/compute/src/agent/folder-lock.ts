import { mkdir, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';

const LOCK_FILE = 'agent.pid';

/** The start time of a process in clock ticks tells it from a later one with the same id; field 22 of /proc/PID/stat, proc(5). */
const startOf = async (pid: number): Promise<string | null> => {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in field 2 may hold spaces and brackets, so fields are counted from its end.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
};

/**
 * Keeps two agents out of one data folder: they would be the same hosts twice. Throws when another process holds it; a lock whose process is gone
 * is taken over. The answer gives the folder back.
 */
export const lockFolder = async (folder: string): Promise<() => Promise<void>> => {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, LOCK_FILE);
  const own = `${process.pid} ${(await startOf(process.pid)) ?? ''}\n`;
  for (;;) {
    try {
      const handle = await open(file, 'wx', 0o600);
      await handle.writeFile(own);
      await handle.close();
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const [pid = '', start = ''] = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ');
    const alive = pid === '' ? null : await startOf(Number(pid));
    if (alive !== null && alive === start)
      throw new Error(`the agent with process id ${pid} uses ${folder}; stop it, or choose another AGENT_DATA_DIR`);
    await rm(file, { force: true });
  }
};
