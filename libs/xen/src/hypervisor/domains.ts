import type { GuestType } from '@xenolith/kernel';
import { done, fail, type Errno, type Outcome } from '../outcome.js';
import { beginMove, freezeBalloon, settleBalloons } from './balloon-motion.js';
import { allIdle, domainInfoOf, type ActivityOf, type DomainInfo } from './domain-info.js';
import { takeDomid } from './domids.js';
import { newEventChannels } from './event-channel-state.js';
import { closeAllPorts, raiseGlobalVirq, VIRQ } from './event-ports.js';
import { DEFAULT_MAPTRACK_FRAMES, newGrantTable } from './grant-state.js';
import { beginDying, reapZombie, relinquish, shutDown, type ShutdownEffect } from './lifecycle.js';
import { DEFAULT_MAX_EVENT_PORT, limitsOf, MAX_CONTROLLER_PAUSES, type HypervisorLimits } from './limits.js';
import { domainOf, type DomainState, type HypervisorState, type Upcall } from './state.js';
import { hostCapabilities } from './topology.js';

/** XEN_DOMCTL_createdomain. */
export interface DomainSettings {
  readonly type: GuestType;
  /** The uuid. */
  readonly handle: string;
  readonly maxVcpus: number;
  /** A certain id instead of the next free one. */
  readonly domid?: number;
  /** Hardware-assisted paging; by default on for HVM and PVH where the host has it. */
  readonly hap?: boolean;
  /** May be given pass-through devices. */
  readonly iommu?: boolean;
  readonly nestedVirt?: boolean;
  /** It runs xenstored for the others. */
  readonly xenstore?: boolean;
  /** Highest event channel port; xl's 1023 by default. */
  readonly maxEventPort?: number;
  readonly maxGrantFrames?: number;
  readonly maxMaptrackFrames?: number;
}

/** How far a domain's end has come. */
export interface DestroyProgress {
  /** `gone`: nothing is left of it. `dead`: others still use its pages. `dying`: it still has pages to give back, call again. */
  readonly phase: 'dying' | 'dead' | 'gone';
  readonly upcalls: readonly Upcall[];
}

/** Scheduling weight of a new domain, in both schedulers (xen/common/sched/credit.c and credit2.c). */
export const DEFAULT_WEIGHT = 256;

/** A domain as it is created: paused once, without memory. */
export const newDomain = (
  domid: number,
  settings: DomainSettings & { readonly privileged: boolean; readonly hap: boolean },
  host: { readonly nodes: number; readonly limits: HypervisorLimits },
): DomainState => ({
  domid,
  handle: settings.handle,
  type: settings.type,
  hap: settings.hap,
  iommu: settings.iommu ?? false,
  xenstore: settings.xenstore ?? false,
  privileged: settings.privileged,
  target: null,
  controllerPauses: 1,
  debugged: false,
  shutdownCode: null,
  dying: 'alive',
  maxPages: 0,
  pages: Array.from({ length: host.nodes }, () => 0),
  overheadPages: Array.from({ length: host.nodes }, () => 0),
  claimedPages: 0,
  sharedPages: 0,
  lastNode: -1,
  nodeAffinity: null,
  vcpus: Array.from({ length: settings.maxVcpus }, () => ({ online: true, hardAffinity: null, softAffinity: null })),
  weight: DEFAULT_WEIGHT,
  cap: 0,
  balloon: null,
  events: newEventChannels(settings.maxEventPort ?? DEFAULT_MAX_EVENT_PORT),
  grants: newGrantTable(
    settings.maxGrantFrames ?? host.limits.grantFrames,
    settings.maxMaptrackFrames ?? DEFAULT_MAPTRACK_FRAMES,
  ),
  pirqs: [],
});

/** Life of domains (xen/common/domctl.c, xen/common/domain.c). Errors common to all: ESRCH, no such domain. Time is in microseconds. */
export class Domains {
  constructor(private readonly state: HypervisorState) {}

  /**
   * Creates a domain without memory, paused once; answers its id: the next free one after the last, never one that was destroyed in the last 60 s. EEXIST: the id asked
   * for is taken or was used lately, or none is free. EINVAL: no vCPUs or too many for the release; HVM or PVH without the CPU's extensions or in a release without
   * them; hap, iommu or nested virtualisation that the type or the host does not have.
   */
  create(settings: DomainSettings, nowUs: number): Outcome<number> {
    const limits = limitsOf(this.state.limits);
    const capable = hostCapabilities(this.state.hardware);
    const hap = settings.hap ?? (settings.type !== 'pv' && capable.hap);
    const refusal = this.refusal({ ...settings, hap }, limits);
    const domid = takeDomid(this.state, settings.domid, nowUs);
    if (!domid.ok) return domid;
    if (refusal) return fail(refusal);
    const host = { nodes: this.state.nodes.length, limits };
    this.state.domains[domid.value] = newDomain(domid.value, { ...settings, hap, privileged: false }, host);
    this.state.domainCount += 1;
    return domid;
  }

  /** xen/common/domain.c `sanitise_domain_config`, xen/arch/x86/domain.c `arch_sanitise_domain_config`. */
  private refusal(settings: DomainSettings & { readonly hap: boolean }, limits: HypervisorLimits): Errno | null {
    const capable = hostCapabilities(this.state.hardware);
    const hardware = settings.type !== 'pv';
    const wrong =
      !Number.isInteger(settings.maxVcpus) ||
      settings.maxVcpus < 1 ||
      settings.maxVcpus > limits.maxVcpus[settings.type] ||
      (hardware && !capable.hvm) ||
      (settings.hap && !(hardware && capable.hap)) ||
      (settings.iommu === true && !capable.directio) ||
      (settings.nestedVirt === true && !settings.hap) ||
      (settings.maxGrantFrames ?? 1) < 1;
    return wrong ? 'EINVAL' : null;
  }

  /** XEN_DOMCTL_pausedomain; pauses count. EINVAL: Dom0. EOVERFLOW: 255 pauses stand already. */
  pause(domid: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.privileged) return fail('EINVAL');
    if (domain.controllerPauses >= MAX_CONTROLLER_PAUSES) return fail('EOVERFLOW');
    freezeBalloon(this.state, domain, nowUs);
    domain.controllerPauses += 1;
    return done(null);
  }

  /** XEN_DOMCTL_unpausedomain: takes one pause back. EINVAL: none stands. */
  unpause(domid: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.controllerPauses === 0) return fail('EINVAL');
    domain.controllerPauses -= 1;
    if (domain.controllerPauses === 0) this.thaw(domain, nowUs);
    return done(null);
  }

  private thaw(domain: DomainState, nowUs: number): void {
    settleBalloons(this.state, nowUs);
    beginMove(this.state, domain, nowUs);
  }

  /**
   * SCHEDOP_shutdown and SCHEDOP_remote_shutdown with a code of SHUTDOWN (0 to 255 in all). The first code stays. Dom0 takes the machine with it: poweroff halts it,
   * every other code reboots it. EINVAL: no such code.
   */
  shutdown(domid: number, code: number, nowUs: number): Outcome<ShutdownEffect> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (!Number.isInteger(code) || code < 0 || code > 255) return fail('EINVAL');
    return done(shutDown(this.state, found.value, code, nowUs));
  }

  /** XEN_DOMCTL_resumedomain: it runs again as if it had not shut down, as after a checkpoint. EINVAL: Dom0. */
  resume(domid: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (found.value.privileged) return fail('EINVAL');
    found.value.shutdownCode = null;
    this.thaw(found.value, nowUs);
    return done(null);
  }

  /**
   * XEN_DOMCTL_soft_reset: event channels are reset and the domain runs again, with its memory as it is. EINVAL: Dom0, or not shut down; or not paused, as of a
   * reset of event channels.
   */
  softReset(domid: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.privileged || domain.shutdownCode === null || domain.controllerPauses === 0) return fail('EINVAL');
    closeAllPorts(this.state, domain);
    return this.resume(domid, nowUs);
  }

  /**
   * XEN_DOMCTL_destroydomain: first it leaves the others alone (its mappings and ports go), then it gives back its memory, `pages` at most in one call (Xen
   * interrupts itself, so that the toolstack calls again), then it is dead; and gone when nobody uses its pages. EINVAL: Dom0.
   */
  destroy(domid: number, nowUs: number, pages = Number.MAX_SAFE_INTEGER): Outcome<DestroyProgress> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (domain.privileged) return fail('EINVAL');
    if (domain.dying === 'dead') return done({ phase: 'dead', upcalls: [] });
    const upcalls = domain.dying === 'alive' ? [...beginDying(this.state, domain, nowUs)] : [];
    if (!relinquish(this.state, domain, pages)) return done({ phase: 'dying', upcalls });
    domain.dying = 'dead';
    upcalls.push(...raiseGlobalVirq(this.state, VIRQ.domExc), ...reapZombie(this.state, domid));
    return done({ phase: this.state.domains[domid] ? 'dead' : 'gone', upcalls });
  }

  /** XEN_DOMCTL_setdomainhandle. */
  setHandle(domid: number, handle: string): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    found.value.handle = handle;
    return done(null);
  }

  /** XEN_DOMCTL_setdebugging. EINVAL: Dom0. */
  setDebugging(domid: number, debugged: boolean): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    if (found.value.privileged) return fail('EINVAL');
    found.value.debugged = debugged;
    return done(null);
  }

  /** XEN_DOMCTL_set_target: makes a stub domain the device model of an HVM guest. EINVAL: of itself, or it has a target. EOPNOTSUPP: a PV guest has none. */
  setTarget(domid: number, target: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const guest = domainOf(this.state, target);
    if (!guest.ok) return guest;
    if (domid === target) return fail('EINVAL');
    if (guest.value.type === 'pv') return fail('EOPNOTSUPP');
    if (found.value.target !== null) return fail('EINVAL');
    found.value.target = target;
    return done(null);
  }

  /** XEN_DOMCTL_getdomaininfo; `activityOf` is asked for what the vCPUs do. */
  info(domid: number, nowUs: number, activityOf: ActivityOf = allIdle): Outcome<DomainInfo> {
    const found = domainOf(this.state, domid);
    return found.ok ? done(domainInfoOf(found.value, activityOf, nowUs)) : found;
  }

  /** XEN_SYSCTL_getdomaininfolist: every domain, zombies included, in the order of ids. */
  list(nowUs: number, activityOf: ActivityOf = allIdle): readonly DomainInfo[] {
    return Object.values(this.state.domains).map((domain) => domainInfoOf(domain, activityOf, nowUs));
  }
}
