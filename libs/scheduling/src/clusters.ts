import type { ClusterSpec } from '@xenolith/contracts';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import type { SchedulingPolicy } from './scores.js';

/** Virtual CPUs per hardware thread where a host names a cluster that nobody made: the cluster kind's own default. */
const DEFAULT_CPU_OVERCOMMIT = 4;

interface KnownCluster {
  readonly name: string;
  readonly cpuOvercommit: number;
  readonly policy: SchedulingPolicy | undefined;
}

/** What clusters say of how their hosts are filled. */
export class Clusters {
  private readonly byUid = new Map<Uuid, KnownCluster>();
  private readonly byName = new Map<string, KnownCluster>();

  constructor(private readonly defaultPolicy: SchedulingPolicy) {}

  clear(): void {
    this.byUid.clear();
    this.byName.clear();
  }

  /** Answers the name of the cluster that has changed. */
  put(uid: Uuid, raw: JsonObject | null): string | undefined {
    const before = this.byUid.get(uid);
    if (before) this.byName.delete(before.name);
    this.byUid.delete(uid);
    if (!raw) return before?.name;
    const { metadata, spec } = raw as unknown as { metadata: { name: string }; spec: ClusterSpec };
    const cluster = { name: metadata.name, cpuOvercommit: spec.cpuOvercommit, policy: spec.placementPolicy };
    this.byUid.set(uid, cluster);
    this.byName.set(cluster.name, cluster);
    return cluster.name;
  }

  nameOf(uid: Uuid): string | undefined {
    return this.byUid.get(uid)?.name;
  }

  overcommit(name: string): number {
    return this.byName.get(name)?.cpuOvercommit ?? DEFAULT_CPU_OVERCOMMIT;
  }

  /** The policy of the cluster that is asked for; of any cluster, the one that all of them have, else the scheduler's own. */
  policy(name: string | undefined): SchedulingPolicy {
    if (name !== undefined) return this.byName.get(name)?.policy ?? this.defaultPolicy;
    const policies = new Set([...this.byUid.values()].map(({ policy }) => policy ?? this.defaultPolicy));
    const [only] = policies;
    return policies.size === 1 && only ? only : this.defaultPolicy;
  }
}
