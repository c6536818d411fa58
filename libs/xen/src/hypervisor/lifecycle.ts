import { dropBalloon, freezeBalloon } from './balloon-motion.js';
import { closeAllPorts, raiseGlobalVirq, VIRQ } from './event-ports.js';
import { pinnedFrames, unpin } from './grant-entries.js';
import { DOMID_REUSE_TIMEOUT_S } from './limits.js';
import { freePages, takePages } from './node-memory.js';
import { leaveSharing } from './shared-frames.js';
import { sum, type DomainState, type HypervisorState, type MachineEffect, type Upcall } from './state.js';

const US_PER_S = 1_000_000;

/** SHUTDOWN_* of public/sched.h. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const;
export type ShutdownReason = keyof typeof SHUTDOWN;

export interface ShutdownEffect {
  /** What the machine does, where the domain is Dom0. */
  readonly machine: MachineEffect | null;
  readonly upcalls: readonly Upcall[];
}

/** The first code counts; asking again changes nothing (xen/common/domain.c `domain_shutdown`). */
export const shutDown = (state: HypervisorState, domain: DomainState, code: number, nowUs: number): ShutdownEffect => {
  const machine = domain.privileged ? ((domain.shutdownCode ?? code) === SHUTDOWN.poweroff ? 'halt' : 'reboot') : null;
  if (domain.shutdownCode !== null) return { machine, upcalls: [] };
  freezeBalloon(state, domain, nowUs);
  domain.shutdownCode = code;
  return { machine, upcalls: raiseGlobalVirq(state, VIRQ.domExc) };
};

export const forgetOldDomids = (state: HypervisorState, nowUs: number): void => {
  const oldestS = Math.floor(nowUs / US_PER_S) - DOMID_REUSE_TIMEOUT_S;
  const stillRecent = state.recentDomids.findIndex(({ endedS }) => endedS >= oldestS);
  if (stillRecent !== 0) state.recentDomids.splice(0, stillRecent === -1 ? state.recentDomids.length : stillRecent);
};

const releaseMappings = (state: HypervisorState, domain: DomainState): readonly Upcall[] => {
  const { mappings } = domain.grants;
  const granters = new Set<number>();
  for (const mapping of Object.values(mappings)) {
    unpin(state, { granter: mapping.domid, ref: mapping.ref, readonly: mapping.readonly });
    granters.add(mapping.domid);
  }
  domain.grants.mappings = {};
  domain.grants.mappingCount = 0;
  return [...granters].flatMap((domid) => reapZombie(state, domid));
};

/** First phase of a domain's end: it leaves everybody else alone (xen/common/domain.c `domain_kill`). */
export const beginDying = (state: HypervisorState, domain: DomainState, nowUs: number): readonly Upcall[] => {
  dropBalloon(state, domain, nowUs);
  domain.dying = 'dying';
  state.claimedPages -= domain.claimedPages;
  domain.claimedPages = 0;
  state.watchdogs = state.watchdogs.filter((watchdog) => watchdog.domid !== domain.domid);
  forgetOldDomids(state, nowUs);
  state.recentDomids.push({ domid: domain.domid, endedS: Math.floor(nowUs / US_PER_S) });
  const upcalls = releaseMappings(state, domain);
  closeAllPorts(state, domain);
  for (const [virq, handler] of Object.entries(state.virqHandlers))
    if (handler === domain.domid) Reflect.deleteProperty(state.virqHandlers, virq);
  return upcalls;
};

/** Gives up to `pages` of a dying domain's back; true: all that nobody else uses are. */
export const relinquish = (state: HypervisorState, domain: DomainState, pages: number): boolean => {
  const unused = sum(domain.pages) - pinnedFrames(domain);
  const now = Math.max(0, Math.min(pages, unused));
  freePages(state, takePages(domain.pages, now));
  if (now < unused) return false;
  leaveSharing(state, domain);
  freePages(state, domain.overheadPages);
  domain.overheadPages.fill(0);
  return true;
};

/** A dead domain that nobody uses any more goes; otherwise it stays as a zombie with the pages in use. */
export const reapZombie = (state: HypervisorState, domid: number): readonly Upcall[] => {
  const domain = state.domains[domid];
  if (domain?.dying !== 'dead') return [];
  freePages(state, takePages(domain.pages, sum(domain.pages) - pinnedFrames(domain)));
  if (domain.grants.pinned > 0) return [];
  Reflect.deleteProperty(state.domains, domid);
  state.domainCount -= 1;
  return raiseGlobalVirq(state, VIRQ.domExc);
};
