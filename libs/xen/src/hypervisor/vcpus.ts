import { done, fail, type Outcome } from '../outcome.js';
import { allCpus, cpusOf, intersect, intersects, type CpuSet } from './cpu-set.js';
import { shutDown, SHUTDOWN, type ShutdownEffect } from './lifecycle.js';
import { limitsOf } from './limits.js';
import { domainOf, type DomainState, type HypervisorState, type VcpuState } from './state.js';
import { nodeAffinityOf, onlineCpuCount } from './topology.js';

/** Where a vCPU may run (hard) and prefers to (soft). */
export interface Affinity {
  readonly hard: CpuSet;
  readonly soft: CpuSet;
}

/** Weights are of 16 bits and never 0 (public/domctl.h, tools/libs/light/libxl_sched.c). */
const MAX_WEIGHT = 65_535;

/** vCPUs, their affinity and their domain's share of the CPUs. Errors common to all: ESRCH, no such domain. */
export class Vcpus {
  constructor(private readonly state: HypervisorState) {}

  private onlineCpus(): CpuSet {
    return allCpus(onlineCpuCount(this.state.hardware, limitsOf(this.state.limits)));
  }

  private vcpu(domid: number, vcpu: number): Outcome<{ readonly domain: DomainState; readonly vcpu: VcpuState }> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    const found = domain.value.vcpus[vcpu];
    return found ? done({ domain: domain.value, vcpu: found }) : fail('EINVAL');
  }

  /** VCPUOP_up. ENOENT: no such vCPU. */
  up(domid: number, vcpu: number): Outcome<null> {
    const found = this.vcpu(domid, vcpu);
    if (!found.ok) return found.errno === 'EINVAL' ? fail('ENOENT') : found;
    found.value.vcpu.online = true;
    return done(null);
  }

  /** VCPUOP_down. The last one that goes down shuts the domain down with poweroff (xen/common/domain.c): then the answer says what follows. ENOENT: no such vCPU. */
  down(domid: number, vcpu: number, nowUs: number): Outcome<ShutdownEffect | null> {
    const found = this.vcpu(domid, vcpu);
    if (!found.ok) return found.errno === 'EINVAL' ? fail('ENOENT') : found;
    const { domain } = found.value;
    const isLast = domain.vcpus.every((other, id) => id === vcpu || !other.online);
    if (isLast) return done(shutDown(this.state, domain, SHUTDOWN.poweroff, nowUs));
    found.value.vcpu.online = false;
    return done(null);
  }

  /**
   * XEN_DOMCTL_setvcpuaffinity; answers what the scheduler will use: hard within the online CPUs, soft within both. EINVAL: neither is given, no such vCPU, or no
   * online CPU in the hard affinity. Soft affinity may be any.
   */
  setAffinity(
    domid: number,
    vcpu: number,
    affinity: { readonly hard?: CpuSet; readonly soft?: CpuSet },
  ): Outcome<Affinity> {
    const found = this.vcpu(domid, vcpu);
    if (!found.ok) return found;
    const { hard, soft } = affinity;
    if (!hard && !soft) return fail('EINVAL');
    const online = this.onlineCpus();
    if (hard && !intersects(hard, online)) return fail('EINVAL');
    if (hard) found.value.vcpu.hardAffinity = hard;
    if (soft) found.value.vcpu.softAffinity = soft;
    const effectiveHard = intersect(found.value.vcpu.hardAffinity ?? online, online);
    return done({ hard: effectiveHard, soft: intersect(found.value.vcpu.softAffinity ?? online, effectiveHard) });
  }

  /** XEN_DOMCTL_getvcpuaffinity: as it was set; every online CPU where it was not. EINVAL: no such vCPU. */
  affinity(domid: number, vcpu: number): Outcome<Affinity> {
    const found = this.vcpu(domid, vcpu);
    if (!found.ok) return found;
    const online = this.onlineCpus();
    return done({ hard: found.value.vcpu.hardAffinity ?? online, soft: found.value.vcpu.softAffinity ?? online });
  }

  /**
   * XEN_DOMCTL_setnodeaffinity: which nodes the domain's memory shall come from, from now on. All of them means: those of its vCPUs' affinity, as at creation. EINVAL: none of
   * them exists.
   */
  setNodeAffinity(domid: number, nodes: CpuSet): Outcome<null> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    const count = this.state.nodes.length;
    const existing = cpusOf(intersect(nodes, allCpus(count)));
    if (existing.length === 0) return fail('EINVAL');
    domain.value.nodeAffinity = existing.length === count ? null : existing;
    return done(null);
  }

  /** XEN_DOMCTL_getnodeaffinity: nodes, ascending. */
  nodeAffinity(domid: number): Outcome<readonly number[]> {
    const domain = domainOf(this.state, domid);
    return domain.ok ? done(nodeAffinityOf(domain.value, this.state.hardware, limitsOf(this.state.limits))) : domain;
  }

  /**
   * `xl sched-credit2` and `xl sched-credit`: weight 1 to 65535; cap in percent of one CPU, 0 for none, at most 100 for each vCPU (tools/libs/light/libxl_sched.c). EINVAL: out of
   * range; nothing changed.
   */
  setSchedulerParameters(
    domid: number,
    parameters: { readonly weight?: number; readonly cap?: number },
  ): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const { weight = found.value.weight, cap = found.value.cap } = parameters;
    if (!Number.isInteger(weight) || weight < 1 || weight > MAX_WEIGHT) return fail('EINVAL');
    if (!Number.isInteger(cap) || cap < 0 || cap > 100 * found.value.vcpus.length) return fail('EINVAL');
    found.value.weight = weight;
    found.value.cap = cap;
    return done(null);
  }
}
