import type { Log } from './log.js';

/** The platform's supervisor kills a process 15 s after it told it to stop, Kubernetes 30 s; before that it says itself what it hung on. */
const STOP_LIMIT_MS = 13_000;
const EXIT_FAILED = 1;
/** By convention 128 plus the number of the signal, here SIGINT's. */
const EXIT_INTERRUPTED = 130;

/** Ends a process in order: what was begun last ends first. */
export interface Lifecycle {
  /** Aborted when the process is told to stop. */
  readonly stopping: AbortSignal;
  /** Runs `stop` when the process ends, before everything that was given earlier. */
  onStop(name: string, stop: () => Promise<void>): void;
  /** Ends the process in order. `reason` is for a start that is still under way. */
  stop(reason: string): Promise<void>;
  /** A defect: says so and ends the process at once, with code 1; the supervisor starts it again. */
  fail(error: unknown, what: string): never;
}

/** How the runtime reaches the process that it runs; tests give their own. */
export interface ProcessHandle {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stderr: { write(text: string): unknown };
  on(event: string, listener: (about: unknown) => void): unknown;
  exit(code: number): never;
}

/**
 * Takes charge of signals and defects. SIGTERM, SIGINT and the loss of a parent that had opened a channel stop the process in order, with code 0; a second
 * signal ends it at once. What nobody caught ends it at once with code 1: its state can't be trusted any more.
 */
export const takeCharge = (log: Log, handle: Pick<ProcessHandle, 'on' | 'exit'> = process): Lifecycle => {
  const abort = new AbortController();
  const closers: { readonly name: string; readonly stop: () => Promise<void> }[] = [];
  let stopping: Promise<void> | undefined;

  const closeAll = async (): Promise<void> => {
    const limit = setTimeout(() => {
      log.error({ left: closers.map(({ name }) => name) }, 'did not stop in time; ending now');
      handle.exit(EXIT_FAILED);
    }, STOP_LIMIT_MS);
    const failed: string[] = [];
    for (let closer = closers.at(-1); closer; closer = closers.at(-1)) {
      const { name } = closer;
      await closer.stop().catch((error: unknown) => {
        failed.push(name);
        log.error({ err: error, part: name }, 'a part did not stop as it should');
      });
      // A part that was begun meanwhile ends next.
      closers.splice(closers.indexOf(closer), 1);
    }
    clearTimeout(limit);
    log.info('stopped');
    handle.exit(failed.length > 0 ? EXIT_FAILED : 0);
  };
  const stop = (reason: string): Promise<void> => {
    abort.abort(new Error(`${reason} came before the start was complete`));
    stopping ??= closeAll();
    return stopping;
  };
  const fail = (error: unknown, what: string): never => {
    log.fatal({ err: error }, what);
    return handle.exit(EXIT_FAILED);
  };
  const told = (reason: string): void => {
    if (stopping) {
      log.warn(`${reason} again: ending now`);
      handle.exit(EXIT_INTERRUPTED);
    }
    log.info(`${reason}: stopping`);
    void stop(reason);
  };
  handle.on('SIGTERM', () => told('SIGTERM'));
  handle.on('SIGINT', () => told('SIGINT'));
  handle.on('disconnect', () => told('the loss of the parent'));
  handle.on('uncaughtException', (error: unknown) => fail(error, 'an exception that nobody caught: ending'));
  handle.on('unhandledRejection', (error: unknown) => fail(error, 'a rejection that nobody handled: ending'));
  return { stopping: abort.signal, onStop: (name, close) => void closers.push({ name, stop: close }), stop, fail };
};
