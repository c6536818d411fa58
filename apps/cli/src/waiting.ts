import { setTimeout as pause } from 'node:timers/promises';

/** Asks until the answer is true, at most `timeoutMs`. The answer says whether it became true. */
export const waitUntil = async (
  condition: () => boolean | Promise<boolean>,
  timing: { readonly timeoutMs: number; readonly everyMs: number },
): Promise<boolean> => {
  const deadline = performance.now() + timing.timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() >= deadline) return false;
    await pause(timing.everyMs);
  }
};
