/** Where background work tells what happened: the caller's logger. */
export type Report = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/** Thrown by a failpoint: the work drops what it holds in memory, as a crash would. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';
}

/**
 * A step of background work that a test may make fail: the work then loses all that it had in memory, as in a crash, and begins again. Absent outside
 * of tests.
 */
export type Failpoint<Step extends string> = (step: Step) => void | Promise<void>;
