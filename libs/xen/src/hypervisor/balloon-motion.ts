import {
  allowedPages,
  freePages,
  givePages,
  levelDown,
  planAllocation,
  takePages,
  type Allocation,
} from './node-memory.js';
import { limitsOf } from './limits.js';
import { knownDomain, sum, type BalloonState, type DomainState, type HypervisorState } from './state.js';
import { nodeAffinityOf } from './topology.js';

const US_PER_S = 1_000_000;

/** Linux's driver waits 2, 4, 8, 16 and then always 32 seconds after requests that failed (drivers/xen/balloon.c `update_schedule`). */
const MAX_RETRY_DELAY_S = 32;

/** Pages that the domain has now: where its balloon moves, a function of the move's start, end and rate alone. */
export const totalPages = (domain: DomainState, nowUs: number): number => {
  const { balloon } = domain;
  if (!balloon || balloon.frozen) return sum(domain.pages);
  const { fromPages, toPages } = balloon;
  const moved = Math.floor((balloon.ratePagesPerSecond * Math.max(0, nowUs - balloon.sinceUs)) / US_PER_S);
  return toPages >= fromPages ? Math.min(toPages, fromPages + moved) : Math.max(toPages, fromPages - moved);
};

/** The same by node. */
export const pagesByNode = (domain: DomainState, nowUs: number): readonly number[] => {
  const behind = sum(domain.pages) - totalPages(domain, nowUs);
  return behind > 0 ? levelDown(domain.pages, behind) : domain.pages;
};

const reachedUs = (balloon: BalloonState): number =>
  balloon.sinceUs + Math.ceil((Math.abs(balloon.toPages - balloon.fromPages) * US_PER_S) / balloon.ratePagesPerSecond);

/** When the balloon needs to be looked at: to ask Xen again, or because it is where it shall be. */
export const balloonDueUs = (domain: DomainState): number | null => {
  const { balloon } = domain;
  if (!balloon || balloon.frozen) return null;
  return balloon.retryUs ?? reachedUs(balloon);
};

/** Where a domain's pages come from when it asks for none in particular. */
export const preferredNodes = (state: HypervisorState, domain: DomainState): readonly number[] =>
  nodeAffinityOf(domain, state.hardware, limitsOf(state.limits));

/** Up to `pages` from the domain's preferred nodes, and then from any, where `ownClaim` of them are claimed for it; nothing is taken yet. */
export const planFor = (state: HypervisorState, domain: DomainState, pages: number, ownClaim: number): Allocation =>
  planAllocation(state.nodes, allowedPages(state, ownClaim, pages), {
    preferred: preferredNodes(state, domain),
    lastNode: domain.lastNode,
    exact: false,
  });

/** Gives back what balloons let go up to now, so that it can be given to others. */
export const settleBalloons = (state: HypervisorState, nowUs: number): void => {
  for (const domid of state.ballooning) {
    const domain = knownDomain(state, domid);
    const { balloon } = domain;
    if (!balloon || balloon.toPages >= balloon.fromPages) continue;
    const behind = sum(domain.pages) - totalPages(domain, nowUs);
    if (behind > 0) freePages(state, takePages(domain.pages, behind));
  }
};

/** Ends a move where it is: what it has reserved and not reached goes back. The caller settled. */
const stopMove = (state: HypervisorState, domain: DomainState, nowUs: number): void => {
  const behind = sum(domain.pages) - totalPages(domain, nowUs);
  if (behind > 0) freePages(state, takePages(domain.pages, behind));
};

/** A balloon that deflates reserves what it will need at once: it could not be cut anywhere otherwise when memory is short. */
const moveUp = (state: HypervisorState, domain: DomainState, balloon: BalloonState, nowUs: number): void => {
  const needed = Math.min(balloon.targetPages - domain.sharedPages, domain.maxPages) - balloon.fromPages;
  const plan = planFor(state, domain, Math.max(0, needed), domain.claimedPages);
  givePages(state, domain, plan);
  balloon.toPages = balloon.fromPages + plan.pages;
  if (plan.pages >= needed) {
    balloon.failures = 0;
    balloon.retryUs = null;
    return;
  }
  balloon.failures = plan.pages > 0 ? 1 : balloon.failures + 1;
  const delayS = Math.min(2 ** balloon.failures, MAX_RETRY_DELAY_S);
  balloon.retryUs = Math.max(nowUs, reachedUs(balloon)) + delayS * US_PER_S;
};

/** Begins to move from where the domain is now to its target. The caller settled. */
export const beginMove = (state: HypervisorState, domain: DomainState, nowUs: number): void => {
  const { balloon } = domain;
  if (!balloon) return;
  if (!balloon.frozen) stopMove(state, domain, nowUs);
  const current = sum(domain.pages);
  balloon.sinceUs = nowUs;
  balloon.fromPages = current;
  balloon.toPages = current;
  balloon.retryUs = null;
  balloon.frozen = domain.controllerPauses > 0 || domain.shutdownCode !== null;
  if (balloon.frozen) return;
  // Its driver counts the pages that it shares as the guest's, Xen does not.
  const wanted = (pages: number): number => pages - domain.sharedPages;
  if (wanted(balloon.targetPages) > current) moveUp(state, domain, balloon, nowUs);
  else balloon.toPages = Math.min(current, Math.max(0, wanted(Math.max(balloon.targetPages, balloon.floorPages))));
};

/** The driver stops with its guest; it goes on when beginMove is called again. */
export const freezeBalloon = (state: HypervisorState, domain: DomainState, nowUs: number): void => {
  if (!domain.balloon || domain.balloon.frozen) return;
  settleBalloons(state, nowUs);
  stopMove(state, domain, nowUs);
  domain.balloon.frozen = true;
};

/** Forgets the balloon; what it reserved and did not reach goes back. */
export const dropBalloon = (state: HypervisorState, domain: DomainState, nowUs: number): void => {
  if (!domain.balloon) return;
  freezeBalloon(state, domain, nowUs);
  domain.balloon = null;
  state.ballooning = state.ballooning.filter((domid) => domid !== domain.domid);
};

/** The domain's pages changed beside its balloon, which counts its own moves only. The caller settled. */
export const shiftBalloon = (domain: DomainState, pages: number): void => {
  if (!domain.balloon) return;
  domain.balloon.fromPages += pages;
  domain.balloon.toPages += pages;
};
