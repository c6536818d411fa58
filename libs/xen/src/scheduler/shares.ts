import { assert, present } from '@xenolith/kernel';
import { connectedParts, mostUrgent } from './share-limits.js';
import type { AffinityPart, Filling } from './share-limits.js';

/** What one vCPU wants: `demand` is the share of a pCPU that it uses when nothing keeps it from running, 0 to 1. */
export interface DemandingVcpu {
  readonly demand: number;
  /** Numbers of the pCPUs that it may run on, at least one. Absent: all. */
  readonly hardAffinity?: readonly number[];
}

export interface DemandingDomain {
  readonly weight: number;
  /** Percent of one pCPU; 0: none. */
  readonly cap: number;
  readonly vcpus: readonly DemandingVcpu[];
}

/** Shares of time, 0 to 1. */
export interface VcpuShare {
  /** Of one pCPU. */
  readonly share: number;
  /** Runnable without a pCPU. A vCPU that waits for I/O in between waits longer for a pCPU and thus asks for one less often. */
  readonly steal: number;
  /** Kept from running by its domain's cap. */
  readonly parked: number;
}

/** Shares that differ by less are the same: far below what a scheduler's nanoseconds can express. */
const PRECISION = 1e-12;

/** How far a capped domain is: the sum of what its fixed vCPUs have, and the weight of those that grow. */
interface CappedDomain {
  readonly vcpus: readonly Filling[];
  readonly most: number;
  fixed: number;
  weight: number;
}

const levelOf = (domain: CappedDomain): number =>
  domain.weight > 0 ? Math.max(0, domain.most - domain.fixed) / domain.weight : Infinity;

/**
 * What credit and credit2 settle at: every vCPU's share grows with its weight until it has what it demands, its domain has its cap, or the pCPUs that it may
 * run on are full; who could still grow goes on (weighted max-min fairness, exact under hard affinity by a maximum-flow argument). Deterministic; some
 * microseconds for a host without pinning. `xen/common/sched/credit.c` and `credit2.c` give each vCPU its domain's weight, so a domain with more vCPUs gets more.
 * Soft affinity and run-queues change where vCPUs run, not what they get. Returns the shares by domain, then vCPU.
 */
export const cpuShares = (
  pcpuCount: number,
  domains: readonly DemandingDomain[],
): readonly (readonly VcpuShare[])[] => {
  const vcpus = domains.map((domain, index) =>
    domain.vcpus.map(({ demand }): Filling => {
      assert(demand >= 0 && demand <= 1, 'a demand is a share of one pCPU');
      return { domain: index, demand, weight: domain.weight, share: 0, state: demand > 0 ? 'growing' : 'satisfied' };
    }),
  );
  const parts = connectedParts(
    pcpuCount,
    vcpus.flat(),
    domains.flatMap((domain) => domain.vcpus.map((vcpu) => vcpu.hardAffinity)),
  );
  const capped = domains.flatMap((domain, index): CappedDomain[] => {
    if (domain.cap === 0) return [];
    const members = present(vcpus[index], 'the domain has vCPUs');
    const growing = members.filter((vcpu) => vcpu.state === 'growing');
    return [{ vcpus: members, most: domain.cap / 100, fixed: 0, weight: growing.length * domain.weight }];
  });
  const byDomain = new Map(capped.map((domain) => [domain.vcpus[0]?.domain, domain]));
  fill(vcpus.flat(), parts, { capped, byDomain });
  return vcpus.map((members) => members.map(shareOf));
};

const shareOf = (vcpu: Filling): VcpuShare => {
  const missing = vcpu.demand > 0 ? Math.max(0, 1 - vcpu.share / vcpu.demand) : 0;
  const isCapped = vcpu.state === 'capped';
  return { share: vcpu.share, steal: isCapped ? 0 : missing, parked: isCapped ? missing : 0 };
};

interface Caps {
  readonly capped: readonly CappedDomain[];
  readonly byDomain: ReadonlyMap<number | undefined, CappedDomain>;
}

/** Raises the level (share by weight) from limit to limit, and fixes those who meet one. */
const fill = (vcpus: readonly Filling[], parts: readonly AffinityPart[], { capped, byDomain }: Caps): void => {
  const byDemand = vcpus
    .filter((vcpu) => vcpu.state === 'growing')
    .sort((one, other) => one.demand / one.weight - other.demand / other.weight);
  const partOf = new Map(parts.flatMap((part) => part.groups.flatMap((group) => group.vcpus.map((it) => [it, part]))));
  let next = 0;
  const fix = (vcpu: Filling, share: number, state: 'satisfied' | 'crowded' | 'capped'): void => {
    vcpu.share = share;
    vcpu.state = state;
    present(partOf.get(vcpu), 'every vCPU is in a part').fix(vcpu);
    const domain = byDomain.get(vcpu.domain);
    if (domain === undefined) return;
    domain.fixed += share;
    domain.weight = domain.vcpus.some((other) => other.state === 'growing') ? domain.weight - vcpu.weight : 0;
  };
  for (;;) {
    while (byDemand[next] !== undefined && byDemand[next]?.state !== 'growing') next += 1;
    const hungry = byDemand[next];
    if (hungry === undefined) return;
    const demandLevel = hungry.demand / hungry.weight;
    const tightest = capped.reduce<CappedDomain | null>(
      (best, domain) => (best === null || levelOf(domain) < levelOf(best) ? domain : best),
      null,
    );
    const capLevel = tightest === null ? Infinity : levelOf(tightest);
    const crowd = mostUrgent(parts, Math.min(demandLevel, capLevel) * (1 + PRECISION));
    if (crowd !== null) {
      for (const vcpu of crowd.vcpus) fix(vcpu, vcpu.weight * crowd.level, 'crowded');
    } else if (tightest !== null && capLevel < demandLevel) {
      for (const vcpu of tightest.vcpus) if (vcpu.state === 'growing') fix(vcpu, vcpu.weight * capLevel, 'capped');
    } else fix(hungry, hungry.demand, 'satisfied');
  }
};
