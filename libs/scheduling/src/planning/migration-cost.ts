import type { MigrationCost } from './movement.js';
import type { MachineLoad } from './planned-machine.js';

/** What a migration gets of a 10 Gbit/s link. */
const LINK_BYTES_PER_SECOND = 1.25e9;
/** A guest that writes faster than this share of the link is stopped and copied as it is. */
const DIRTY_SHARE_MAX = 0.8;

/** Pre-copy: each round sends what was written during the one before, a geometric series. */
export const migrationCost = ({ memoryBytes, dirtyBytesPerSecond }: MachineLoad): MigrationCost => {
  const dirty = Math.min(DIRTY_SHARE_MAX, dirtyBytesPerSecond / LINK_BYTES_PER_SECOND);
  const bytes = Math.round(memoryBytes / (1 - dirty));
  return { seconds: bytes / LINK_BYTES_PER_SECOND, bytes };
};
