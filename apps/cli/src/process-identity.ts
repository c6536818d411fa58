import { readFileSync } from 'node:fs';

/** A process, and proof that its number was not given to another one meanwhile. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time as the kernel counts it; empty where there is no /proc, and then the number alone must do. */
  readonly startTime: string;
}

const STATE_FIELD = 0;
const START_TIME_FIELD = 19;

/** Fields of /proc/PID/stat after the command's name, which may hold blanks and brackets itself (proc(5)). */
const statOf = (pid: number): readonly string[] | null => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
};

export const identityOf = (pid: number): ProcessIdentity => ({
  pid,
  startTime: statOf(pid)?.[START_TIME_FIELD] ?? '',
});

const answersSignal = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
};

/** True while that very process runs. A dead one that nobody has collected yet counts as gone. */
export const isAlive = (identity: ProcessIdentity): boolean => {
  const stat = statOf(identity.pid);
  if (stat === null) return process.platform !== 'linux' && answersSignal(identity.pid);
  if (stat[STATE_FIELD] === 'Z' || stat[STATE_FIELD] === 'X') return false;
  return identity.startTime === '' || stat[START_TIME_FIELD] === identity.startTime;
};

/** Sends the signal to that very process; false when it is gone. */
export const signalProcess = (identity: ProcessIdentity, signal: NodeJS.Signals): boolean => {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw cause;
  }
};
