import type { PhysicalDisk } from './block.js';
import { SECTOR_BYTES } from './block.js';
import { PAGE_BYTES } from './ring.js';

/** Operations and status codes (xen/include/public/io/blkif.h). */
export const BLKIF_OP = {
  read: 0,
  write: 1,
  writeBarrier: 2,
  flushDiskcache: 3,
  discard: 5,
  indirect: 6,
} as const;
export type BlkifOperation = (typeof BLKIF_OP)[keyof typeof BLKIF_OP];
export const BLKIF_RSP = { okay: 0, error: -1, notSupported: -2 } as const;
export type BlkifStatus = (typeof BLKIF_RSP)[keyof typeof BLKIF_RSP];

/** Segments of a direct request: 11 pages, 44 KiB (`BLKIF_MAX_SEGMENTS_PER_REQUEST`). */
export const DIRECT_SEGMENTS = 11;
/** Pages of segments of an indirect request, each with as many segments as 8 bytes fit (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`). */
export const INDIRECT_PAGES = 8;
export const SEGMENTS_PER_INDIRECT_PAGE = PAGE_BYTES / 8;
/** Linux's default of blkfront's parameter `max_indirect_segments` (drivers/block/xen-blkfront.c). */
export const BLKFRONT_INDIRECT_SEGMENTS = 32;

const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES;

/** Part of a page; both sectors count 512 bytes and are included. */
export interface BlkifSegment {
  readonly grant: number;
  readonly firstSector: number;
  readonly lastSector: number;
}

export interface BlkifRequest {
  readonly id: number;
  readonly operation: BlkifOperation;
  /** In units of 512 bytes, whatever the disk's `sector-size`. */
  readonly sector: number;
  readonly segments: readonly BlkifSegment[];
  /** Of an indirect request. */
  readonly indirectOperation?: typeof BLKIF_OP.read | typeof BLKIF_OP.write;
  /** Of a discard, in units of 512 bytes. */
  readonly discardSectors?: number;
}

/** Segments that a front-end puts into one request, by what the back-end offers (drivers/block/xen-blkfront.c, `blkfront_gather_backend_features`). */
export const segmentsPerRequest = (offeredIndirect: number): number => {
  const indirect = Math.min(offeredIndirect, BLKFRONT_INDIRECT_SEGMENTS, INDIRECT_PAGES * SEGMENTS_PER_INDIRECT_PAGE);
  return indirect <= DIRECT_SEGMENTS ? DIRECT_SEGMENTS : indirect;
};

/** Pages that hold the segments of an indirect request. */
export const indirectPages = (segments: number): number => Math.ceil(segments / SEGMENTS_PER_INDIRECT_PAGE);

/** Bytes of each request that a transfer becomes: 44 KiB at most without indirect segments. `bytes` is a whole number of sectors. */
export const splitTransfer = (bytes: number, segments = DIRECT_SEGMENTS): readonly number[] => {
  const most = segments * PAGE_BYTES;
  const whole = Math.floor(bytes / most);
  const rest = bytes - whole * most;
  return [...Array.from({ length: whole }, () => most), ...(rest > 0 ? [rest] : [])];
};

const isAligned = (sectors: number, disk: PhysicalDisk): boolean => (sectors * SECTOR_BYTES) % disk.sectorSize === 0;

const answerDiscard = (request: BlkifRequest, disk: PhysicalDisk, writable: boolean): BlkifStatus => {
  if (disk.discard === null) return BLKIF_RSP.notSupported;
  const sectors = request.discardSectors ?? 0;
  return writable && request.sector + sectors <= disk.sectors ? BLKIF_RSP.okay : BLKIF_RSP.error;
};

const transferredSectors = (segments: readonly BlkifSegment[]): number | null => {
  let sectors = 0;
  for (const { firstSector, lastSector } of segments) {
    if (lastSector >= SECTORS_PER_PAGE || firstSector > lastSector) return null;
    sectors += lastSector - firstSector + 1;
  }
  return sectors;
};

/**
 * What a back-end answers to a request: nothing is asked of the disk when the request is wrong (drivers/block/xen-blkback/blkback.c,
 * `dispatch_rw_block_io`, `dispatch_discard_io`, `xen_vbd_translate`).
 */
export const answerBlkifRequest = (request: BlkifRequest, disk: PhysicalDisk, writable: boolean): BlkifStatus => {
  if (request.operation === BLKIF_OP.discard) return answerDiscard(request, disk, writable);
  const indirect = request.operation === BLKIF_OP.indirect;
  const operation = indirect ? request.indirectOperation : request.operation;
  if (operation === undefined) return BLKIF_RSP.error;
  const flushes = operation === BLKIF_OP.flushDiskcache || operation === BLKIF_OP.writeBarrier;
  if (flushes && !disk.flush) return BLKIF_RSP.notSupported;
  const most = indirect ? INDIRECT_PAGES * SEGMENTS_PER_INDIRECT_PAGE : DIRECT_SEGMENTS;
  if (request.segments.length > most) return BLKIF_RSP.error;
  if (request.segments.length === 0) return flushes ? BLKIF_RSP.okay : BLKIF_RSP.error;
  const sectors = transferredSectors(request.segments);
  if (sectors === null || request.sector + sectors > disk.sectors) return BLKIF_RSP.error;
  if (!isAligned(request.sector, disk) || !isAligned(sectors, disk)) return BLKIF_RSP.error;
  return operation !== BLKIF_OP.read && !writable ? BLKIF_RSP.error : BLKIF_RSP.okay;
};
