import { done, fail, type Outcome } from '../outcome.js';
import { GRANTS_PER_FRAME, RESERVED_GRANT_ENTRIES, type GrantEntry, type GrantTableState } from './grant-state.js';
import type { DomainState, HypervisorState } from './state.js';

/** `enum grant_status` of public/grant_table.h. */
export const GRANT_STATUS = {
  okay: 0,
  general_error: -1,
  bad_domain: -2,
  bad_gntref: -3,
  bad_handle: -4,
  bad_virt_addr: -5,
  bad_dev_addr: -6,
  no_device_space: -7,
  permission_denied: -8,
  bad_page: -9,
  bad_copy_arg: -10,
  address_too_big: -11,
  eagain: -12,
  no_space: -13,
} as const;
export type GrantStatusName = keyof typeof GRANT_STATUS;
export type GrantStatus = (typeof GRANT_STATUS)[GrantStatusName];
export type GrantError = Exclude<GrantStatus, 0>;

/** A use of a grant is for reading or for writing; readonly grants allow the first. */
export interface GrantUse {
  readonly granter: number;
  readonly ref: number;
  readonly readonly: boolean;
}

/** GTF_* of public/grant_table.h. */
const FLAG = { permitAccess: 1, acceptTransfer: 2, transitive: 3, readonly: 4, reading: 8, writing: 16 } as const;
const TRANSFER_FLAG = { committed: 4, completed: 8 } as const;

/** The flag word of an entry as the guest reads it with version 1; 0: the entry is not in use. */
export const grantFlags = (entry: GrantEntry | undefined): number => {
  if (!entry) return 0;
  switch (entry.type) {
    case 'permit_access':
      return (
        FLAG.permitAccess |
        (entry.readonly ? FLAG.readonly : 0) |
        (entry.readers + entry.writers > 0 ? FLAG.reading : 0) |
        (entry.writers > 0 ? FLAG.writing : 0)
      );
    case 'accept_transfer':
      return FLAG.acceptTransfer | (entry.completed ? TRANSFER_FLAG.committed | TRANSFER_FLAG.completed : 0);
    case 'transitive':
      return FLAG.transitive | (entry.readonly ? FLAG.readonly : 0);
  }
};

export const entryCount = ({ version, frames }: GrantTableState): number => frames * GRANTS_PER_FRAME[version];

/**
 * The reference for a new entry; the table grows by frames as needed. EINVAL: outside the table's maximum, or the entry is in use (EBUSY). ENOSPC: the table is
 * full.
 */
export const takeRef = (table: GrantTableState, wanted: number | undefined): Outcome<number> => {
  const perFrame = GRANTS_PER_FRAME[table.version];
  const capacity = table.maxFrames * perFrame;
  let ref = wanted ?? table.lowestFree;
  if (wanted === undefined) {
    while (table.entries[ref]) ref += 1;
    table.lowestFree = ref;
    if (ref >= capacity) return fail('ENOSPC');
  } else {
    if (!Number.isInteger(ref) || ref < 0 || ref >= capacity) return fail('EINVAL');
    if (table.entries[ref]) return fail('EBUSY');
  }
  table.frames = Math.max(table.frames, Math.floor(ref / perFrame) + 1);
  return done(ref);
};

export const dropEntry = (table: GrantTableState, ref: number): void => {
  Reflect.deleteProperty(table.entries, ref);
  if (ref >= RESERVED_GRANT_ENTRIES) table.lowestFree = Math.min(table.lowestFree, ref);
};

export interface Pin {
  readonly status: GrantStatus;
}
const refused = (status: GrantStatusName): GrantStatus => GRANT_STATUS[status];

/**
 * Begins a use of a grant by `user` (xen/common/grant_table.c `_set_status` and `acquire_grant_for_copy`): 0, or why not. `copying` follows one transitive
 * entry to the page behind it; mappings never do.
 */
export const pin = (state: HypervisorState, user: number, use: GrantUse, way: 'map' | 'copy' | 'via'): GrantStatus => {
  const owner = state.domains[use.granter];
  if (!owner) return refused('bad_domain');
  const table = owner.grants;
  if (!Number.isInteger(use.ref) || use.ref < 0 || use.ref >= entryCount(table)) return refused('bad_gntref');
  const entry = table.entries[use.ref];
  if (entry?.domid !== user || owner.dying !== 'alive') return refused('general_error');
  if (entry.type === 'accept_transfer' || (entry.readonly && !use.readonly)) return refused('general_error');
  if (entry.type === 'transitive') {
    // Neither a chain of them nor one that points back to its own table is followed.
    if (way !== 'copy' || entry.viaDomid === owner.domid || !state.domains[entry.viaDomid])
      return refused('general_error');
    const behind = { granter: entry.viaDomid, ref: entry.viaRef, readonly: use.readonly };
    return pin(state, owner.domid, behind, 'via');
  }
  if (use.readonly) entry.readers += 1;
  else entry.writers += 1;
  table.pinned += 1;
  return GRANT_STATUS.okay;
};

/** Ends a use that `pin` began. */
export const unpin = (state: HypervisorState, use: GrantUse): void => {
  const table = state.domains[use.granter]?.grants;
  const entry = table?.entries[use.ref];
  if (!table || !entry || entry.type === 'accept_transfer') return;
  if (entry.type === 'transitive') {
    unpin(state, { granter: entry.viaDomid, ref: entry.viaRef, readonly: use.readonly });
    return;
  }
  if (use.readonly) entry.readers -= 1;
  else entry.writers -= 1;
  table.pinned -= 1;
};

/** How many of the domain's pages others use through its grants: a dead domain keeps just these. */
export const pinnedFrames = ({ grants }: DomainState): number => {
  if (grants.pinned === 0) return 0;
  const frames = new Set<number>();
  for (const entry of Object.values(grants.entries))
    if (entry.type === 'permit_access' && entry.readers + entry.writers > 0) frames.add(entry.frame);
  return frames.size;
};
