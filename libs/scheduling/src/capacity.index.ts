import {
  categoryOf,
  clusterKind,
  hostKind,
  type ClusterSpec,
  type HostSpec,
  type PlacementExplanation,
  type PlacementRequest,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { bytesOf, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { chooseHost, fitsOn, type SchedulingPolicy, type Wish } from './choice.js';
import { deferralMessage, explain } from './explanation.js';
import { HostTable, type HostFacts } from './host-table.js';
import { OfferBook } from './offer-book.js';
import { PLACEMENT_CATEGORY } from './placement.js';
import type { Proposal } from './placement.decide.js';

const HOST_CATEGORY = categoryOf(hostKind);
const CLUSTER_CATEGORY = categoryOf(clusterKind);

/** Virtual CPUs per hardware thread where a host names a cluster that nobody made: the cluster kind's own default. */
const DEFAULT_CPU_OVERCOMMIT = 4;

/** Pending placements looked at for one change, oldest first: 10,000 checks of one host take about a millisecond. */
const PENDING_LOOKED_AT = 10_000;

/** A command that lost so many hosts to others waits instead; below the engine's own bound on attempts. */
const ATTEMPTS_MAX = 10;

interface KnownHost {
  readonly facts: Omit<HostFacts, 'vcpus'>;
  readonly threads: number;
}

/** A pending placement that should find room, and where. */
export interface Retry {
  readonly placement: Uuid;
  readonly proposal: Proposal & { readonly fits: true };
}

interface Known {
  readonly request: PlacementRequest;
  /** Null while it is pending. */
  readonly hostUid: Uuid | null;
}

interface PlacementDocument {
  readonly spec: { readonly request: PlacementRequest };
  readonly status: { readonly hostUid?: Uuid };
}

const wordOf = (request: PlacementRequest): string | null =>
  request.antiAffinity === undefined ? null : `${request.virtualMachine.namespace}/${request.antiAffinity}`;

/** All capacity and all placements, in memory, fed by the log: where a machine could go and who waits for room. */
export class CapacityIndex implements Index {
  readonly name = 'capacity';
  readonly categories = [CLUSTER_CATEGORY, HOST_CATEGORY, PLACEMENT_CATEGORY];
  private table = new HostTable();
  private offers = new OfferBook(this.table);
  private readonly hosts = new Map<Uuid, KnownHost>();
  private readonly overcommit = new Map<Uuid, { name: string; cpu: number }>();
  private readonly overcommitByName = new Map<string, number>();
  private readonly placements = new Map<Uuid, Known>();
  /** In the order in which they became pending: oldest first. */
  private readonly pending = new Map<Uuid, PlacementRequest>();
  /** Hosts (by uid) where a word of anti-affinity runs, with how many of its machines. */
  private readonly words = new Map<string, Map<Uuid, number>>();

  constructor(private readonly policy: SchedulingPolicy) {}

  load(documents: readonly StoredDocument[]): void {
    this.table = new HostTable();
    this.offers = new OfferBook(this.table);
    for (const known of [this.hosts, this.overcommit, this.overcommitByName, this.placements, this.pending, this.words])
      known.clear();
    const created = ({ document }: StoredDocument): string =>
      (document['metadata'] as { creationTimestamp: string }).creationTimestamp;
    const byAge = [...documents].sort(
      (left, right) => created(left).localeCompare(created(right)) || (left.streamId < right.streamId ? -1 : 1),
    );
    for (const category of this.categories)
      for (const stored of byAge)
        if (stored.category === category)
          this.put(category, { uid: stored.streamId, version: stored.version, document: stored.document });
  }

  apply(event: IndexedEvent): void {
    if (event.document === undefined) return;
    this.put(event.category, { uid: event.streamId, version: event.version, document: event.document });
  }

  /** The host for a placement, or why there is none. `attempt` above 1: the host of the attempt before refused. */
  propose(ask: {
    readonly placement: Uuid;
    readonly request: PlacementRequest;
    readonly commandId: Uuid;
    readonly attempt: number;
  }): Proposal {
    const contended = this.offers.again(ask.placement, ask.attempt);
    const wish = this.wish(ask.request, contended);
    const seed = parseInt(ask.commandId.slice(0, 8), 16);
    const choice = chooseHost(this.table, wish, { policy: this.policy, seed });
    const explanation: PlacementExplanation = explain(this.table, wish, choice, this.policy);
    if (choice.slot < 0 || ask.attempt > ATTEMPTS_MAX) {
      this.offers.end(ask.placement);
      const message =
        choice.slot < 0
          ? deferralMessage(explanation, wish)
          : `${ATTEMPTS_MAX} hosts in turn were taken by others at the same moment`;
      return { fits: false, message, explanation };
    }
    this.offers.make(ask.placement, choice.slot, ask.request);
    return this.proposal(choice.slot, explanation);
  }

  private proposal(slot: number, explanation: PlacementExplanation): Proposal & { fits: true } {
    const { table } = this;
    return {
      fits: true,
      host: table.names[slot] ?? '',
      hostUid: table.uids[slot] ?? '',
      capacity: {
        memoryBytes: table.memory[slot] ?? 0,
        vcpus: table.vcpus[slot] ?? 0,
        revision: table.revision[slot] ?? 0,
      },
      explanation,
    };
  }

  isPlaced(placement: Uuid): boolean {
    return (this.placements.get(placement)?.hostUid ?? null) !== null;
  }

  pendingRequest(placement: Uuid): PlacementRequest | undefined {
    return this.pending.get(placement);
  }

  /** The host that a pending placement would find now; none, or no longer pending: empty. */
  roomFor(placement: Uuid): readonly Retry[] {
    const request = this.pending.get(placement);
    if (!request) return [];
    const wish = this.wish(request);
    const choice = chooseHost(this.table, wish, { policy: this.policy, seed: 0 });
    if (choice.slot < 0) return [];
    return [{ placement, proposal: this.proposal(choice.slot, explain(this.table, wish, choice, this.policy)) }];
  }

  /** Up to `limit` pending placements, oldest first, that one host has room for together. */
  waitingFor(hostUid: Uuid, limit: number): readonly Retry[] {
    const slot = this.table.slotOf(hostUid);
    if (slot === undefined) return [];
    const found: Retry[] = [];
    const spoken = { memoryBytes: 0, vcpus: 0, words: new Set<string>() };
    const explanation = { considered: 1, refused: [], chosenBy: 'waited: the first host with room' };
    let looked = 0;
    for (const [placement, request] of this.pending) {
      if (found.length === limit || (looked += 1) > PENDING_LOOKED_AT) break;
      const word = wordOf(request);
      if ((word !== null && spoken.words.has(word)) || !fitsOn(this.table, slot, this.wish(request), spoken)) continue;
      found.push({ placement, proposal: this.proposal(slot, explanation) });
      spoken.memoryBytes += request.memoryBytes;
      spoken.vcpus += request.vcpus;
      if (word !== null) spoken.words.add(word);
    }
    return found;
  }

  /** Uids of the hosts of a cluster, by the cluster's uid. */
  hostsOfCluster(clusterUid: Uuid): readonly Uuid[] {
    const name = this.overcommit.get(clusterUid)?.name;
    return [...this.hosts].filter(([, host]) => host.facts.cluster === name).map(([uid]) => uid);
  }

  private wish(request: PlacementRequest, contended?: ReadonlySet<number>): Wish {
    const word = wordOf(request);
    const hosts = word === null ? undefined : this.words.get(word);
    return {
      request,
      ...(hosts ? { antiAffine: { has: (slot: number) => hosts.has(this.table.uids[slot] ?? '') } } : {}),
      ...(contended ? { contended } : {}),
    };
  }

  private put(category: string, object: { uid: Uuid; version: number; document: JsonObject | null }): void {
    if (category === PLACEMENT_CATEGORY) this.putPlacement(object.uid, object.document);
    else if (category === HOST_CATEGORY) this.putHost(object);
    else this.putCluster(object.uid, object.document);
  }

  private putCluster(uid: Uuid, raw: JsonObject | null): void {
    const before = this.overcommit.get(uid);
    if (before) this.overcommitByName.delete(before.name);
    this.overcommit.delete(uid);
    const document = raw as unknown as { metadata: { name: string }; spec: ClusterSpec } | null;
    const name = document?.metadata.name ?? before?.name;
    if (document) {
      this.overcommit.set(uid, { name: document.metadata.name, cpu: document.spec.cpuOvercommit });
      this.overcommitByName.set(document.metadata.name, document.spec.cpuOvercommit);
    }
    for (const [hostUid, host] of this.hosts) if (host.facts.cluster === name) this.show(hostUid, host);
  }

  private putHost(object: { uid: Uuid; version: number; document: JsonObject | null }): void {
    const host = object.document && hostOf(object.document, object.version);
    if (!host) {
      this.hosts.delete(object.uid);
      this.table.remove(object.uid);
      return;
    }
    this.hosts.set(object.uid, host);
    this.show(object.uid, host);
  }

  private show(uid: Uuid, host: KnownHost): void {
    const overcommit = this.overcommitByName.get(host.facts.cluster) ?? DEFAULT_CPU_OVERCOMMIT;
    this.table.put(uid, { ...host.facts, vcpus: Math.floor(host.threads * overcommit) });
  }

  private putPlacement(uid: Uuid, raw: JsonObject | null): void {
    const before = this.placements.get(uid);
    if (before?.hostUid) this.occupy(before.hostUid, before.request, -1);
    this.placements.delete(uid);
    const document = raw as unknown as PlacementDocument | null;
    const hostUid = document?.status.hostUid ?? null;
    if (document) this.placements.set(uid, { request: document.spec.request, hostUid });
    // One that stays pending keeps its place in the queue.
    if (document && hostUid === null) this.pending.set(uid, document.spec.request);
    else this.pending.delete(uid);
    this.offers.end(uid);
    if (document && hostUid !== null) this.occupy(hostUid, document.spec.request, 1);
  }

  private occupy(hostUid: Uuid, request: PlacementRequest, sign: 1 | -1): void {
    this.table.use(hostUid, request, sign);
    const word = wordOf(request);
    if (word !== null) this.countWord(word, hostUid, sign);
  }

  private countWord(word: string, hostUid: Uuid, change: 1 | -1): void {
    const hosts = this.words.get(word) ?? new Map<Uuid, number>();
    const count = (hosts.get(hostUid) ?? 0) + change;
    if (count > 0) hosts.set(hostUid, count);
    else hosts.delete(hostUid);
    if (hosts.size > 0) this.words.set(word, hosts);
    else this.words.delete(word);
  }
}

const hostOf = (raw: JsonObject, version: number): KnownHost | null => {
  const { metadata, spec, status } = raw as unknown as {
    metadata: { name: string; deletionTimestamp?: string };
    spec: HostSpec;
    status?: {
      conditions?: readonly { type: string; status: string }[];
      hypervisor?: 'xen' | 'kvm';
      cpus?: number;
      allocatableMemory?: string;
    };
  };
  if (!status?.hypervisor) return null;
  const ready = status.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True');
  return {
    threads: status.cpus ?? 0,
    facts: {
      name: metadata.name,
      cluster: spec.cluster,
      hypervisor: status.hypervisor,
      ready: ready === true,
      unschedulable: spec.unschedulable || metadata.deletionTimestamp !== undefined,
      memoryBytes: bytesOf(status.allocatableMemory ?? '0'),
      revision: version,
    },
  };
};
