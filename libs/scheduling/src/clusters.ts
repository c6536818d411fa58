import type { ClusterAvailability, ClusterSpec } from '@xenolith/contracts';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import type { Guarantee } from './availability/failover-planner.js';
import type { SchedulingPolicy } from './scores.js';

/** Virtual CPUs per hardware thread where a host names a cluster that nobody made: the cluster kind's own default. */
const DEFAULT_CPU_OVERCOMMIT = 4;

interface KnownCluster {
  readonly name: string;
  readonly cpuOvercommit: number;
  readonly policy: SchedulingPolicy | undefined;
  /** What it promises of the loss of hosts; null: nothing. */
  readonly guarantee: Guarantee | null;
  /** Whether that holds, as the cluster says. */
  readonly told: ClusterAvailability | undefined;
}

const guaranteeOf = ({ highAvailability }: ClusterSpec): Guarantee | null => {
  const { hostFailures = 0, eviction = 'Never' } = highAvailability ?? {};
  return hostFailures === 0 ? null : { hostFailures, eviction };
};

const isPowered = ({ powerManagement }: ClusterSpec): boolean => (powerManagement?.mode ?? 'Off') !== 'Off';

interface ClusterDocument {
  readonly metadata: { readonly name: string };
  readonly spec: ClusterSpec;
  readonly status?: { readonly highAvailability?: ClusterAvailability };
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
    const { metadata, spec, status } = raw as unknown as ClusterDocument;
    const cluster = {
      name: metadata.name,
      cpuOvercommit: spec.cpuOvercommit,
      // Where hosts are to become empty, new machines leave them so.
      policy: spec.placementPolicy ?? (isPowered(spec) ? 'density' : undefined),
      guarantee: guaranteeOf(spec),
      told: status?.highAvailability,
    };
    this.byUid.set(uid, cluster);
    this.byName.set(cluster.name, cluster);
    return cluster.name;
  }

  nameOf(uid: Uuid): string | undefined {
    return this.byUid.get(uid)?.name;
  }

  guarantee(name: string): Guarantee | null {
    return this.byName.get(name)?.guarantee ?? null;
  }

  /** What clusters promise, by their names; not those that promise nothing. */
  guarantees(): ReadonlyMap<string, Guarantee> {
    return new Map([...this.byName].flatMap(([name, { guarantee }]) => (guarantee ? [[name, guarantee]] : [])));
  }

  /** What clusters say of their guarantees. */
  *told(): Iterable<{ readonly uid: Uuid; readonly name: string; readonly told: ClusterAvailability | undefined }> {
    for (const [uid, { name, told }] of this.byUid) yield { uid, name, told };
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
