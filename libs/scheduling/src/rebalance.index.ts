import {
  categoryOf,
  clusterKind,
  hostKind,
  virtualMachineKind,
  type BlockedMachine,
  type MachineReference,
  type PlacementRequest,
  type PowerManagementPolicy,
  NO_POWER_MANAGEMENT,
  type RebalancePhase,
  type RebalancingPolicy,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';
import { movability } from './machine-document.js';
import { PLACEMENT_CATEGORY } from './placement.js';
import { moveOperation, REBALANCE_PLAN_CATEGORY } from './rebalance-plan.js';

const HOST_CATEGORY = categoryOf(hostKind);
const CLUSTER_CATEGORY = categoryOf(clusterKind);
const MACHINE_CATEGORY = categoryOf(virtualMachineKind);

/** A host that is to be empty. */
export interface HostUnderMaintenance {
  readonly uid: Uuid;
  readonly name: string;
  readonly cluster: string;
  readonly maintenance: Uuid;
  /** What the host says; null: nothing yet. */
  readonly remaining: number | null;
  readonly blocked: readonly BlockedMachine[];
}

/** What is to be known of a plan beside its own stream. */
export interface KnownPlan {
  readonly uid: Uuid;
  readonly cluster: string;
  readonly mode: string;
  readonly phase: RebalancePhase;
  readonly maintenance: Uuid | null;
  readonly attempt: number;
  readonly pausing: boolean;
  readonly scheduled: boolean;
  readonly name: string;
  readonly parks: readonly { readonly host: string; readonly reason: string }[];
  readonly blocked: readonly (BlockedMachine & { readonly host: string })[];
  readonly moves: readonly {
    readonly virtualMachine: MachineReference;
    readonly from: string;
    readonly phase: string;
    readonly message?: string;
  }[];
}

/** A cluster whose policy moves running machines. */
export interface RebalancedCluster extends RebalancingPolicy {
  readonly uid: Uuid;
  readonly name: string;
}

/** A cluster whose policy looks after the power of its hosts. */
export interface PoweredCluster extends PowerManagementPolicy {
  readonly uid: Uuid;
  readonly name: string;
}

interface HostDocument {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly cluster: string };
  readonly status?: {
    readonly maintenance?: {
      readonly uid: Uuid;
      readonly remaining?: number;
      readonly blocked?: readonly BlockedMachine[];
    };
  };
}

interface PlacementDocument {
  readonly spec: { readonly request: PlacementRequest };
  readonly status: { readonly hostUid?: Uuid };
}

interface PlanDocument {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly cluster: string; readonly mode: string };
  readonly status: {
    readonly phase: RebalancePhase;
    readonly cause: string;
    readonly maintenance?: Uuid;
    readonly attempt?: number;
    readonly pausing?: boolean;
    readonly blocked?: KnownPlan['blocked'];
    readonly moves: KnownPlan['moves'];
    readonly parks?: KnownPlan['parks'];
  };
}

const planOf = (uid: Uuid, { metadata, spec, status }: PlanDocument): KnownPlan => ({
  uid,
  cluster: spec.cluster,
  mode: spec.mode,
  phase: status.phase,
  maintenance: status.maintenance ?? null,
  attempt: status.attempt ?? 0,
  pausing: status.pausing === true,
  scheduled: status.cause === 'Schedule' || status.cause === 'PowerManagement',
  name: metadata.name,
  parks: status.parks ?? [],
  blocked: status.blocked ?? [],
  moves: status.moves,
});

const hostOf = (uid: Uuid, { metadata, spec, status }: HostDocument): HostUnderMaintenance | null => {
  if (!status?.maintenance) return null;
  const { uid: maintenance, remaining = null, blocked = [] } = status.maintenance;
  return { uid, name: metadata.name, cluster: spec.cluster, maintenance, remaining, blocked };
};

/** What moving running machines needs to know beside capacity: who wants a host empty, which machines may move, which plans there are. */
export class RebalanceIndex implements Index {
  readonly name = 'rebalancing';
  readonly categories = [
    HOST_CATEGORY,
    CLUSTER_CATEGORY,
    PLACEMENT_CATEGORY,
    MACHINE_CATEGORY,
    REBALANCE_PLAN_CATEGORY,
  ];
  private readonly maintained = new Map<Uuid, HostUnderMaintenance>();
  private readonly clusters = new Map<Uuid, RebalancedCluster>();
  private readonly powers = new Map<Uuid, PoweredCluster>();
  private readonly placements = new Map<Uuid, { readonly hostUid: Uuid; readonly request: PlacementRequest }>();
  private readonly byHost = new Map<Uuid, Map<Uuid, PlacementRequest>>();
  /** Why machines can't move; null: they can. */
  private readonly machines = new Map<Uuid, string | null>();
  private readonly plans = new Map<Uuid, KnownPlan>();
  /** Moves that are still to end, by the uid of their Operation. */
  private readonly moves = new Map<Uuid, { readonly plan: Uuid; readonly move: number }>();

  /** Hosts that are to be empty. */
  underMaintenance(): readonly HostUnderMaintenance[] {
    return [...this.maintained.values()];
  }

  rebalancedClusters(): readonly RebalancedCluster[] {
    return [...this.clusters.values()];
  }

  /** Those whose policy parks hosts, by name. */
  poweredClusters(): readonly PoweredCluster[] {
    const powered = [...this.powers.values()].filter(({ mode }) => mode !== 'Off');
    return powered.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  powerOf(cluster: string): PowerManagementPolicy {
    return [...this.powers.values()].find(({ name }) => name === cluster) ?? NO_POWER_MANAGEMENT;
  }

  /** What is placed on a host, by placement. */
  placedOn(hostUid: Uuid): ReadonlyMap<Uuid, PlacementRequest> {
    return this.byHost.get(hostUid) ?? new Map<Uuid, PlacementRequest>();
  }

  /** Why a machine can't leave its host; undefined: it can. */
  fixed(machine: Uuid): string | undefined {
    const why = this.machines.get(machine);
    return why === undefined ? 'its machine is gone, and gives back what it held' : (why ?? undefined);
  }

  allPlans(): readonly KnownPlan[] {
    return [...this.plans.values()];
  }

  /** The plan and move that an Operation carries out, until the plan has heard of its end. */
  moveOf(operation: Uuid): { readonly plan: Uuid; readonly move: number } | undefined {
    return this.moves.get(operation);
  }

  load(documents: readonly StoredDocument[]): void {
    const { maintained, clusters, powers, placements, byHost, machines, plans, moves } = this;
    for (const known of [maintained, clusters, powers, placements, byHost, machines, plans, moves]) known.clear();
    for (const { category, streamId, document } of documents) this.put(category, streamId, document);
  }

  apply({ category, streamId, document }: IndexedEvent): void {
    if (document !== undefined) this.put(category, streamId, document);
  }

  private put(category: string, uid: Uuid, document: JsonObject | null): void {
    switch (category) {
      case HOST_CATEGORY:
        this.putHost(uid, document);
        break;
      case CLUSTER_CATEGORY:
        this.putCluster(uid, document);
        break;
      case PLACEMENT_CATEGORY:
        this.putPlacement(uid, document);
        break;
      case MACHINE_CATEGORY:
        if (document) this.machines.set(uid, movability(document));
        else this.machines.delete(uid);
        break;
      default:
        this.putPlan(uid, document);
    }
  }

  private putHost(uid: Uuid, document: JsonObject | null): void {
    const host = document && hostOf(uid, document as unknown as HostDocument);
    if (host) this.maintained.set(uid, host);
    else this.maintained.delete(uid);
  }

  private putCluster(uid: Uuid, raw: JsonObject | null): void {
    const document = raw as unknown as {
      readonly metadata: { readonly name: string };
      readonly spec: { readonly rebalancing?: RebalancingPolicy; readonly powerManagement?: PowerManagementPolicy };
    } | null;
    const power = document?.spec.powerManagement;
    if (document && power) this.powers.set(uid, { ...power, uid, name: document.metadata.name });
    else this.powers.delete(uid);
    const policy = document?.spec.rebalancing;
    if (document && policy && policy.mode !== 'off')
      this.clusters.set(uid, { ...policy, uid, name: document.metadata.name });
    else this.clusters.delete(uid);
  }

  private putPlacement(uid: Uuid, raw: JsonObject | null): void {
    const before = this.placements.get(uid);
    if (before) this.vacate(uid, before.hostUid);
    this.placements.delete(uid);
    const document = raw as unknown as PlacementDocument | null;
    const hostUid = document?.status.hostUid;
    if (!document || hostUid === undefined) return;
    const { request } = document.spec;
    this.placements.set(uid, { hostUid, request });
    const there = this.byHost.get(hostUid) ?? new Map<Uuid, PlacementRequest>();
    this.byHost.set(hostUid, there.set(uid, request));
  }

  private vacate(placement: Uuid, hostUid: Uuid): void {
    const there = this.byHost.get(hostUid);
    there?.delete(placement);
    if (there?.size === 0) this.byHost.delete(hostUid);
  }

  private putPlan(uid: Uuid, document: JsonObject | null): void {
    for (const place of this.plans.get(uid)?.moves.keys() ?? []) this.moves.delete(moveOperation(uid, place));
    this.plans.delete(uid);
    if (!document) return;
    const plan = planOf(uid, document as unknown as PlanDocument);
    this.plans.set(uid, plan);
    if (plan.phase !== 'Executing') return;
    for (const [move, { phase }] of plan.moves.entries())
      if (phase === 'Pending' || phase === 'Running') this.moves.set(moveOperation(uid, move), { plan: uid, move });
  }
}
