/** What a domain offers to another by one entry of its grant table (GTF_* of public/grant_table.h). */
export type GrantEntry =
  | {
      readonly type: 'permit_access';
      readonly domid: number;
      readonly frame: number;
      readonly readonly: boolean;
      /** Uses for reading and for writing that were not ended; both sorts set GTF_reading, the second GTF_writing. */
      readers: number;
      writers: number;
    }
  | { readonly type: 'accept_transfer'; readonly domid: number; completed: boolean; frame: number | null }
  | {
      /** `domid` may use the entry `viaRef` of `viaDomid`, by copying only. Version 2 of the table. */
      readonly type: 'transitive';
      readonly domid: number;
      readonly viaDomid: number;
      readonly viaRef: number;
      readonly readonly: boolean;
    };

/** A mapping of another domain's page, under its handle. */
export interface GrantMapping {
  readonly domid: number;
  readonly ref: number;
  readonly readonly: boolean;
}

export interface GrantTableState {
  version: 1 | 2;
  /** Frames of the table that are in use; they grow with the entries. */
  frames: number;
  readonly maxFrames: number;
  readonly maxMaptrackFrames: number;
  /** No entry from the reserved ones up to here is free. */
  lowestFree: number;
  /** By reference. */
  entries: Record<string, GrantEntry>;
  /** By handle. */
  mappings: Record<string, GrantMapping>;
  mappingCount: number;
  /** Handles that were used and are free again, the last first. */
  freeHandles: number[];
  nextHandle: number;
  /** References of ours that others use now. */
  pinned: number;
}

/** Entries that survive a change of version and that no guest allocates by itself (`GNTTAB_NR_RESERVED_ENTRIES`). */
export const RESERVED_GRANT_ENTRIES = 8;
/** Fixed references of the console's and xenstore's ring. */
export const CONSOLE_GRANT = 0;
export const XENSTORE_GRANT = 1;
/** Entries in a frame: 8 bytes each with version 1, 16 with version 2 (public/grant_table.h). */
export const GRANTS_PER_FRAME = { 1: 512, 2: 256 } as const;
/** 16 bytes each (`struct grant_mapping`, xen/common/grant_table.c). */
export const MAPPINGS_PER_FRAME = 256;
/** `opt_max_maptrack_frames` of xen/common/grant_table.c. */
export const DEFAULT_MAPTRACK_FRAMES = 1024;

export const newGrantTable = (maxFrames: number, maxMaptrackFrames: number): GrantTableState => ({
  version: 1,
  frames: 1,
  maxFrames,
  maxMaptrackFrames,
  lowestFree: RESERVED_GRANT_ENTRIES,
  entries: {},
  mappings: {},
  mappingCount: 0,
  freeHandles: [],
  nextHandle: 0,
  pinned: 0,
});
