/** Equal pages of a host's guests become one, until one of them writes to it. */
export interface MemorySharing {
  /**
   * What placement may promise of the memory that guests can have, in percent. 100: what sharing spares is kept for the guests that it was taken from, as they may write to all
   * of it. More: it is given to others, and a guest that writes when none is left ends.
   */
  readonly overcommitPercent: number;
}

/** Nothing but what there is may be promised. */
export const NO_OVERCOMMIT_PERCENT = 100;

/** Whether what sharing spares is kept for the guests that it was taken from. */
export const keepsSpared = (sharing: MemorySharing | undefined): boolean =>
  (sharing?.overcommitPercent ?? NO_OVERCOMMIT_PERCENT) <= NO_OVERCOMMIT_PERCENT;

/** What placement may promise where there are so many bytes, in whole MiB. */
export const promisableBytes = (bytes: number, sharing: MemorySharing | undefined): number => {
  if (keepsSpared(sharing)) return bytes;
  const percent = sharing?.overcommitPercent ?? NO_OVERCOMMIT_PERCENT;
  return Math.floor((bytes * percent) / NO_OVERCOMMIT_PERCENT / MEBIBYTE) * MEBIBYTE;
};

const MEBIBYTE = 2 ** 20;
