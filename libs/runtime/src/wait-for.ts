import type { Log } from './log.js';

const FIRST_PAUSE_MS = 100;
/** What a person at the terminal takes for "at once" after the cause is mended. */
const LONGEST_PAUSE_MS = 2_000;
/** The same trouble is told again after this long, so that a log's end says what the process waits for. */
const TELL_AGAIN_MS = 15_000;

/** Says why a thing failed, down to the first cause: an outer message alone seldom helps. */
export const causeChain = (error: unknown): string => {
  const messages: string[] = [];
  for (let at: unknown = error; at instanceof Error && messages.length < 5; at = at.cause) {
    const inner = at instanceof AggregateError ? at.errors.map((each) => causeChain(each)).join(', ') : '';
    messages.push(at.message || inner || at.name);
  }
  return messages.join(': ') || 'the reason is unknown';
};

/** Tries until it succeeds, with growing pauses, and says what it waits for. Throws the signal's reason when that aborts first. */
export const waitFor = async <Value>(
  what: string,
  attempt: () => Promise<Value>,
  options: { readonly log: Log; readonly signal: AbortSignal; readonly onTrouble?: (why: string) => void },
): Promise<Value> => {
  let pauseMs = FIRST_PAUSE_MS;
  let told = { why: '', at: 0 };
  for (;;) {
    options.signal.throwIfAborted();
    try {
      const value = await attempt();
      if (told.why !== '') options.log.info(`${what} is there`);
      return value;
    } catch (error) {
      const why = causeChain(error);
      options.onTrouble?.(why);
      if (why !== told.why || Date.now() - told.at > TELL_AGAIN_MS) {
        told = { why, at: Date.now() };
        options.log.warn(`waiting for ${what}: ${why}`);
        options.log.debug({ err: error }, `${what} could not be reached`);
      }
    }
    await pause(pauseMs, options.signal);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
};

const pause = (delayMs: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done);
  });
