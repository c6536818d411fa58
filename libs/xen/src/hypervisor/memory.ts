import { assert, memoryOverheadBytes } from '@xenolith/kernel';
import { done, fail, type Failure, type Outcome } from '../outcome.js';
import {
  beginMove,
  freezeBalloon,
  pagesByNode,
  planFor,
  preferredNodes,
  settleBalloons,
  shiftBalloon,
  totalPages,
} from './balloon-motion.js';
import { PAGE_BYTES } from './limits.js';
import {
  addPages,
  allowedPages,
  freePages,
  givePages,
  planAllocation,
  takeFromHeap,
  takePages,
  type Allocation,
} from './node-memory.js';
import { domainOf, sum, type DomainState, type HypervisorState } from './state.js';

/**
 * Pages per second that a guest's balloon driver moves. Assumption: 512 MiB/s, between the hypercalls alone (faster) and a guest that must
 * first write out its caches (slower).
 */
export const DEFAULT_BALLOON_RATE = 131_072;

export interface PopulateRequest {
  /** 4 KiB pages. */
  readonly pages: number;
  /** A node to begin with instead of the domain's own (`XENMEMF_node`). */
  readonly node?: number;
  /** No other node will do (`XENMEMF_exact_node_request`). */
  readonly exactNode?: boolean;
}

export interface BalloonTarget {
  /** xenstore's memory/target in pages. */
  readonly targetPages: number;
  /** What the guest uses and cannot give. */
  readonly floorPages: number;
  readonly ratePagesPerSecond?: number;
}

/** Domains' memory in pages: limits, claims, reservations and balloons. */
export class Memory {
  constructor(private readonly state: HypervisorState) {}

  /**
   * XEN_DOMCTL_max_mem: the most the domain may have, rounded down to pages. It may be less than it has: then it gets no more (xen/common/domctl.c).
   */
  setMaxMemory(domid: number, bytes: number): Outcome<null> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    domain.value.maxPages = Math.floor(bytes / PAGE_BYTES);
    return done(null);
  }

  /**
   * Sets aside what Xen and the toolstack need for the domain beyond its own pages, exactly as xenopsd counts it (kernel's memoryOverheadBytes, in whole MiB).
   * A later call replaces it. ENOMEM: the host has not enough; nothing changed.
   */
  setOverhead(
    domid: number,
    size: { readonly staticMaxBytes: number; readonly shadowMultiplier?: number },
    nowUs: number,
  ): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    settleBalloons(this.state, nowUs);
    const wanted = memoryOverheadBytes({ guestType: domain.type, vcpus: domain.vcpus.length, ...size }) / PAGE_BYTES;
    const more = wanted - sum(domain.overheadPages);
    if (more < 0) freePages(this.state, takePages(domain.overheadPages, -more));
    if (more <= 0) return done(null);
    // It is Xen's, so that the domain's claim does not count for it (MEMF_no_refcount).
    const plan = planFor(this.state, domain, more, 0);
    if (plan.pages < more) return fail('ENOMEM');
    takeFromHeap(this.state, plan);
    addPages(domain.overheadPages, plan.taken);
    return done(null);
  }

  /**
   * XENMEM_claim_pages: assures the domain that it can grow to `pages` in all; 0 takes the claim back (xen/common/page_alloc.c
   * `domain_set_outstanding_pages`). EINVAL: a claim stands, or `pages` is not above what it has or is above its maximum. ENOMEM: not that much is free and
   * unclaimed.
   */
  claim(domid: number, pages: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    settleBalloons(this.state, nowUs);
    if (pages === 0) {
      this.state.claimedPages -= domain.claimedPages;
      domain.claimedPages = 0;
      return done(null);
    }
    const owned = sum(domain.pages);
    if (domain.claimedPages > 0 || pages <= owned || pages > domain.maxPages) return fail('EINVAL');
    if (pages - owned > this.freePages() - this.state.claimedPages) return fail('ENOMEM');
    domain.claimedPages = pages - owned;
    this.state.claimedPages += domain.claimedPages;
    return done(null);
  }

  /**
   * XENMEM_populate_physmap, all or nothing, as a domain is built. EINVAL: it is dying, or there is no such node. E2BIG: more than its maximum. ENOMEM: the host
   * has not enough free and unclaimed. The hypercall itself only says how many pages it did: see populateUpTo.
   */
  populate(domid: number, request: PopulateRequest, nowUs: number): Outcome<null> {
    return this.reserve(domid, request, nowUs, (domain, plan) => {
      if (sum(domain.pages) + request.pages > domain.maxPages) return fail('E2BIG');
      return plan.pages < request.pages ? fail('ENOMEM') : null;
    });
  }

  /** XENMEM_populate_physmap: gives as many of the pages as the domain's maximum and the host allow, and answers how many those are. */
  populateUpTo(domid: number, request: PopulateRequest, nowUs: number): Outcome<number> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    settleBalloons(this.state, nowUs);
    const owned = sum(found.value.pages);
    const pages = Math.max(0, Math.min(request.pages, found.value.maxPages - owned));
    const reserved = this.reserve(domid, { ...request, pages }, nowUs, () => null);
    return reserved.ok ? done(sum(found.value.pages) - owned) : reserved;
  }

  private reserve(
    domid: number,
    request: PopulateRequest,
    nowUs: number,
    refusal: (domain: DomainState, plan: Allocation) => Failure | null,
  ): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.dying !== 'alive') return fail('EINVAL');
    if (request.node !== undefined && !this.state.nodes[request.node]) return fail('EINVAL');
    settleBalloons(this.state, nowUs);
    const plan = this.plan(domain, request);
    const refused = refusal(domain, plan);
    if (refused) return refused;
    givePages(this.state, domain, plan);
    shiftBalloon(domain, plan.pages);
    return done(null);
  }

  private plan(domain: DomainState, { pages, node, exactNode }: PopulateRequest): Allocation {
    if (node === undefined) return planFor(this.state, domain, pages, domain.claimedPages);
    const allowed = allowedPages(this.state, domain.claimedPages, pages);
    const exact = exactNode === true;
    const here = planAllocation(this.state.nodes, allowed, { preferred: [node], lastNode: -1, exact: true });
    if (exact || here.pages === allowed) return here;
    // The node of the request is tried first, then the domain's own, then any.
    const rest = this.state.nodes.map((heap, index) => ({
      ...heap,
      freePages: heap.freePages - (here.taken[index] ?? 0),
    }));
    const preferred = preferredNodes(this.state, domain);
    const more = planAllocation(rest, allowed - here.pages, { preferred, lastNode: node, exact: false });
    addPages(more.taken, here.taken);
    return { ...more, pages: more.pages + here.pages };
  }

  /** XENMEM_decrease_reservation: the domain gives up to `pages` back; answers how many it did. EINVAL: it is dying. */
  decreaseReservation(domid: number, pages: number, nowUs: number): Outcome<number> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.dying !== 'alive') return fail('EINVAL');
    settleBalloons(this.state, nowUs);
    const given = Math.max(0, Math.min(pages, totalPages(domain, nowUs)));
    freePages(this.state, takePages(domain.pages, given));
    shiftBalloon(domain, -given);
    return done(given);
  }

  /**
   * The guest's balloon driver learns of a new target (xenstore's memory/target) and moves there at its rate: down to its floor at the least, up to the
   * domain's maximum at the most, and up only as far as the host has memory; for the rest it asks again after 2, 4, 8 … 32 s. While the domain is
   * paused or shut down its driver waits. EINVAL: it is dying.
   */
  setBalloonTarget(domid: number, target: BalloonTarget, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.dying !== 'alive') return fail('EINVAL');
    const { targetPages, floorPages, ratePagesPerSecond = DEFAULT_BALLOON_RATE } = target;
    assert(Number.isInteger(ratePagesPerSecond) && ratePagesPerSecond > 0, 'a balloon driver moves whole pages');
    settleBalloons(this.state, nowUs);
    if (domain.balloon) freezeBalloon(this.state, domain, nowUs);
    else this.state.ballooning.push(domid);
    const current = sum(domain.pages);
    domain.balloon = {
      targetPages,
      floorPages,
      ratePagesPerSecond,
      fromPages: current,
      sinceUs: nowUs,
      toPages: current,
      retryUs: null,
      failures: 0,
      frozen: true,
    };
    beginMove(this.state, domain, nowUs);
    return done(null);
  }

  /** Pages that the domain has now (`tot_pages`). */
  totalPages(domid: number, nowUs: number): Outcome<number> {
    const domain = domainOf(this.state, domid);
    return domain.ok ? done(totalPages(domain.value, nowUs)) : domain;
  }

  /** The domain's own pages on each node. */
  pagesByNode(domid: number, nowUs: number): readonly number[] {
    const domain = this.state.domains[domid];
    return domain ? pagesByNode(domain, nowUs) : [];
  }

  /** Pages that its guest can use: its own, and those of frames that it shares. */
  guestPages(domid: number, nowUs: number): number {
    const domain = this.state.domains[domid];
    return domain ? totalPages(domain, nowUs) + domain.sharedPages : 0;
  }

  private freePages(): number {
    return sum(this.state.nodes.map((node) => node.freePages));
  }
}
