import { done, fail, type Errno, type Outcome } from '../outcome.js';
import { settleBalloons, shiftBalloon } from './balloon-motion.js';
import {
  dropEntry,
  entryCount,
  GRANT_STATUS,
  grantFlags,
  pin,
  takeRef,
  unpin,
  type GrantError,
  type GrantStatus,
  type GrantUse,
} from './grant-entries.js';
import { GRANTS_PER_FRAME, MAPPINGS_PER_FRAME, RESERVED_GRANT_ENTRIES, type GrantEntry } from './grant-state.js';
import { reapZombie } from './lifecycle.js';
import { limitsOf, PAGE_BYTES } from './limits.js';
import { addPages, freePages, takePages } from './node-memory.js';
import { domainOf, knownDomain, sum, type DomainState, type HypervisorState, type Upcall } from './state.js';

/** What a grant operation answers: its own status instead of an errno. */
export type GrantOutcome<Value> = { readonly status: 0; readonly value: Value } | { readonly status: GrantError };

/** One side of a copy: a grant of another domain, or a page of the caller's own. */
export interface CopyEnd {
  readonly grant?: { readonly granter: number; readonly ref: number };
  /** Bytes from the page's start. */
  readonly offset: number;
}

const failed = (status: Exclude<keyof typeof GRANT_STATUS, 'okay'>): { readonly status: GrantError } => ({
  status: GRANT_STATUS[status],
});

const granted = <Value>(value: Value): { readonly status: 0; readonly value: Value } => ({ status: 0, value });

const answered = <Value>(status: GrantStatus, value: Value): GrantOutcome<Value> =>
  status === 0 ? granted(value) : { status };

/**
 * Grant tables (xen/common/grant_table.c, public/grant_table.h): what a domain allows others to do with its pages. The content of pages is not modelled.
 */
export class GrantTables {
  constructor(private readonly state: HypervisorState) {}

  private addEntry(owner: number, ref: number | undefined, entry: GrantEntry): Outcome<number> {
    const { grants } = knownDomain(this.state, owner);
    const taken = takeRef(grants, ref);
    if (taken.ok) grants.entries[taken.value] = entry;
    return taken;
  }

  /**
   * The domain writes an entry that lets `to` use one of its pages; answers the reference. `ref` is for the reserved ones (console 0, xenstore 1). ENOSPC: the table has
   * its most frames and is full. EBUSY: the entry is in use. EINVAL: beyond the table.
   */
  permitAccess(
    owner: number,
    grant: { readonly to: number; readonly frame: number; readonly readonly?: boolean; readonly ref?: number },
  ): Outcome<number> {
    const { to, frame, readonly = false, ref } = grant;
    return this.addEntry(owner, ref, { type: 'permit_access', domid: to, frame, readonly, readers: 0, writers: 0 });
  }

  /** The domain offers to take a page over from `from`. Errors as of permitAccess. */
  acceptTransfer(owner: number, from: number): Outcome<number> {
    return this.addEntry(owner, undefined, { type: 'accept_transfer', domid: from, completed: false, frame: null });
  }

  /** The domain passes a grant that it holds on to `to`. ENOSYS: its table is of version 1. Other errors as of permitAccess. */
  permitTransitive(
    owner: number,
    grant: { readonly to: number; readonly viaDomid: number; readonly viaRef: number; readonly readonly?: boolean },
  ): Outcome<number> {
    if (knownDomain(this.state, owner).grants.version === 1) return fail('ENOSYS');
    const { to, viaDomid, viaRef, readonly = false } = grant;
    return this.addEntry(owner, undefined, { type: 'transitive', domid: to, viaDomid, viaRef, readonly });
  }

  /** The owner takes an entry back. EBUSY: it is mapped or being copied; its owner must wait. EINVAL: not in use. */
  endAccess(owner: number, ref: number): Outcome<null> {
    const { grants } = knownDomain(this.state, owner);
    const entry = grants.entries[ref];
    if (!entry) return fail('EINVAL');
    if (entry.type === 'permit_access' && entry.readers + entry.writers > 0) return fail('EBUSY');
    dropEntry(grants, ref);
    return done(null);
  }

  /** The entry's flag word, GTF_* of public/grant_table.h; 0: not in use. */
  flags(owner: number, ref: number): number {
    return grantFlags(knownDomain(this.state, owner).grants.entries[ref]);
  }

  /**
   * GNTTABOP_map_grant_ref by `caller`; answers a handle. bad_domain, no_space (its maptrack is full), bad_gntref (beyond the granter's table), general_error (the entry
   * is not for the caller, of another type, or readonly where the caller wants to write; the granter is dying).
   */
  map(caller: number, use: GrantUse): GrantOutcome<number> {
    if (!this.state.domains[use.granter]) return failed('bad_domain');
    const { grants } = knownDomain(this.state, caller);
    if (grants.mappingCount >= grants.maxMaptrackFrames * MAPPINGS_PER_FRAME) return failed('no_space');
    const status = pin(this.state, caller, use, 'map');
    if (status !== 0) return { status };
    const handle = grants.freeHandles.pop() ?? grants.nextHandle;
    if (handle === grants.nextHandle) grants.nextHandle += 1;
    grants.mappings[handle] = { domid: use.granter, ref: use.ref, readonly: use.readonly };
    grants.mappingCount += 1;
    return granted(handle);
  }

  /**
   * GNTTABOP_unmap_grant_ref. bad_handle: the caller has no such mapping. The last unmapping of a zombie's pages ends it: the upcalls tell whom that is announced to.
   */
  unmap(caller: number, handle: number): GrantOutcome<readonly Upcall[]> {
    const { grants } = knownDomain(this.state, caller);
    const mapping = grants.mappings[handle];
    if (!mapping) return failed('bad_handle');
    Reflect.deleteProperty(grants.mappings, handle);
    grants.mappingCount -= 1;
    grants.freeHandles.push(handle);
    unpin(this.state, { granter: mapping.domid, ref: mapping.ref, readonly: mapping.readonly });
    return granted(reapZombie(this.state, mapping.domid));
  }

  /**
   * GNTTABOP_copy by `caller` of `bytes` within one page on each side. bad_copy_arg: it crosses a page's end. Else as of map, and for transitive entries, which
   * may be followed once.
   */
  copy(
    caller: number,
    ends: { readonly source: CopyEnd; readonly dest: CopyEnd; readonly bytes: number },
  ): GrantOutcome<null> {
    const { source, dest, bytes } = ends;
    if (source.offset + bytes > PAGE_BYTES || dest.offset + bytes > PAGE_BYTES) return failed('bad_copy_arg');
    const reading: GrantUse | null = source.grant ? { ...source.grant, readonly: true } : null;
    const writing: GrantUse | null = dest.grant ? { ...dest.grant, readonly: false } : null;
    const sourceStatus = reading ? pin(this.state, caller, reading, 'copy') : GRANT_STATUS.okay;
    if (sourceStatus !== 0) return { status: sourceStatus };
    const destStatus = writing ? pin(this.state, caller, writing, 'copy') : GRANT_STATUS.okay;
    if (reading) unpin(this.state, reading);
    if (writing && destStatus === 0) unpin(this.state, writing);
    return answered(destStatus, null);
  }

  /**
   * GNTTABOP_transfer: a page of `caller` goes to `to`, which offered that by `ref`. bad_page: the caller has none. bad_domain: no such domain. general_error: it is dying, is
   * at its maximum, or made no such offer. As in Xen, the page is lost to the caller in these last cases too.
   */
  transfer(caller: number, to: number, ref: number, nowUs: number): GrantOutcome<null> {
    settleBalloons(this.state, nowUs);
    const giver = knownDomain(this.state, caller);
    if (sum(giver.pages) === 0 || giver.dying !== 'alive') return failed('bad_page');
    const page = takePages(giver.pages, 1);
    shiftBalloon(giver, -1);
    const refusal = this.transferRefusal(caller, to, ref);
    if (refusal) {
      freePages(this.state, page);
      return refusal;
    }
    const taker = knownDomain(this.state, to);
    addPages(taker.pages, page);
    shiftBalloon(taker, 1);
    taker.grants.entries[ref] = {
      type: 'accept_transfer',
      domid: caller,
      completed: true,
      frame: sum(taker.pages) - 1,
    };
    return granted(null);
  }

  private transferRefusal(caller: number, to: number, ref: number): { readonly status: GrantError } | null {
    const taker = this.state.domains[to];
    if (!taker) return failed('bad_domain');
    const offer = taker.grants.entries[ref];
    const offered = offer?.type === 'accept_transfer' && offer.domid === caller && !offer.completed;
    const room = taker.dying === 'alive' && sum(taker.pages) < taker.maxPages;
    return offered && room ? null : failed('general_error');
  }

  /** GNTTABOP_query_size: the table's frames, and the most it may have. */
  querySize(domid: number): Outcome<{ readonly frames: number; readonly maxFrames: number }> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    return done({ frames: domain.value.grants.frames, maxFrames: domain.value.grants.maxFrames });
  }

  /**
   * GNTTABOP_set_version: all entries but the eight reserved ones are cleared. EINVAL: neither 1 nor 2. ENOSYS: the release has version 1 only. EBUSY: an entry beyond the
   * reserved ones is in use.
   */
  setVersion(caller: number, version: number): Outcome<null> {
    const domain = knownDomain(this.state, caller);
    if (version !== 1 && version !== 2) return fail('EINVAL');
    if (version === 2 && !limitsOf(this.state.limits).grantVersion2) return fail('ENOSYS');
    if (domain.grants.version === version) return done(null);
    const refusal = this.versionRefusal(domain);
    if (refusal) return fail(refusal);
    const reserved = Object.entries(domain.grants.entries).filter(([ref]) => Number(ref) < RESERVED_GRANT_ENTRIES);
    const used = entryCount(domain.grants);
    domain.grants.entries = Object.fromEntries(reserved);
    domain.grants.lowestFree = RESERVED_GRANT_ENTRIES;
    domain.grants.version = version;
    domain.grants.frames = Math.min(domain.grants.maxFrames, Math.ceil(used / GRANTS_PER_FRAME[version]));
    return done(null);
  }

  private versionRefusal({ grants }: DomainState): Errno | null {
    for (const [ref, entry] of Object.entries(grants.entries))
      if (Number(ref) >= RESERVED_GRANT_ENTRIES && entry.type === 'permit_access' && entry.readers + entry.writers > 0)
        return 'EBUSY';
    return null;
  }
}
