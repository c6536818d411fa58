import type { Subscription } from '@xenolith/kernel';

/** A subscription whose `stop` may be called again: it answers the first call's promise. */
export const stopOnce = (stop: () => Promise<void>): Subscription => {
  let stopping: Promise<void> | undefined;
  return { stop: () => (stopping ??= stop()) };
};
