import {
  categoryOf,
  clusterKind,
  hostKind,
  HOSTNAME_LABEL,
  millisecondsOf,
  type PlacementExplanation,
  type PlacementRequest,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { sameJson, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { Clusters } from './clusters.js';
import { deferralMessage, explainChoice, explainRefusal } from './explanation.js';
import { cellFor, fitsOn, NO_CELL, type Wish } from './filters.js';
import { emptyFleet } from './fleet.js';
import { factsOf, hostOf, type KnownHost } from './host-document.js';
import { machineWish } from './machine-affinity.js';
import { PLACEMENT_CATEGORY } from './placement.js';
import type { Proposal } from './placement.decide.js';
import type { Standing } from './planning/what-if.js';
import { affinityKeys } from './placement-keys.js';
import type { SchedulingPolicy } from './scores.js';

const HOST_CATEGORY = categoryOf(hostKind);
const CLUSTER_CATEGORY = categoryOf(clusterKind);

/** Pending placements looked at for one change, oldest first: 10,000 checks of one host take about a millisecond. */
const PENDING_LOOKED_AT = 10_000;

/** Pending placements with rules about other machines looked at for one change: each may look at every host. */
const BY_RULE_LOOKED_AT = 64;

/** A command that lost so many hosts to others waits instead; below the engine's own bound on attempts. */
const ATTEMPTS_MAX = 10;

/** A pending placement that should find room, and where. */
export interface Retry {
  readonly placement: Uuid;
  readonly proposal: Proposal & { readonly fits: true };
}

interface Known {
  readonly request: PlacementRequest;
  /** Null while it is pending. */
  readonly hostUid: Uuid | null;
  readonly cell: number | undefined;
}

interface PlacementDocument {
  readonly metadata: { readonly creationTimestamp: string };
  readonly spec: { readonly request: PlacementRequest };
  readonly status: {
    readonly hostUid?: Uuid;
    readonly numaNode?: number;
    readonly conditions?: readonly { readonly lastTransitionTime: string }[];
  };
}

type Refused = Proposal & { readonly fits: false };

const wordOf = (request: PlacementRequest): string | null =>
  request.antiAffinity === undefined ? null : `${request.virtualMachine.namespace}/${request.antiAffinity}`;

/** All capacity and all placements, in memory, fed by the log: where a machine could go and who waits for room. */
export class CapacityIndex implements Index {
  readonly name = 'capacity';
  readonly categories = [CLUSTER_CATEGORY, HOST_CATEGORY, PLACEMENT_CATEGORY];
  private fleet = emptyFleet();
  private readonly hosts = new Map<Uuid, KnownHost>();
  private readonly clusters: Clusters;
  private readonly placements = new Map<Uuid, Known>();
  /** In the order in which they became pending: oldest first. */
  private readonly pending = new Map<Uuid, PlacementRequest>();
  /** Those of them whose room depends on what other machines do elsewhere. */
  private readonly pendingByRule = new Set<Uuid>();
  /** Hosts (by uid) where a word of anti-affinity runs, with how many of its machines. */
  private readonly words = new Map<string, Map<Uuid, number>>();

  constructor(policy: SchedulingPolicy) {
    this.clusters = new Clusters(policy);
  }

  load(documents: readonly StoredDocument[]): void {
    this.fleet = emptyFleet();
    const { hosts, clusters, placements, pending, pendingByRule, words } = this;
    for (const known of [hosts, clusters, placements, pending, pendingByRule, words]) known.clear();
    const created = ({ document }: StoredDocument): string =>
      (document['metadata'] as { creationTimestamp: string }).creationTimestamp;
    const byAge = [...documents].sort(
      (left, right) => created(left).localeCompare(created(right)) || (left.streamId < right.streamId ? -1 : 1),
    );
    // The documents tell no time; the youngest of them is about as old as what is known.
    const youngest = byAge.at(-1);
    const atMs = (youngest && millisecondsOf(created(youngest))) ?? 0;
    for (const category of this.categories)
      for (const { streamId: uid, version, document, category: own } of byAge)
        if (own === category) this.put(category, { uid, version, document, atMs });
  }

  apply(event: IndexedEvent): void {
    const { streamId: uid, version, document, metadata } = event;
    if (document !== undefined) this.put(event.category, { uid, version, document, atMs: metadata.at });
  }

  /** The host for a placement, or why there is none. `attempt` above 1: the host of the attempt before refused. */
  propose(ask: {
    readonly placement: Uuid;
    readonly request: PlacementRequest;
    readonly commandId: Uuid;
    readonly attempt: number;
    /** When it is asked, in milliseconds since the epoch. */
    readonly atMs: number;
  }): Proposal {
    const { offers } = this.fleet;
    const { placement, request, attempt } = ask;
    const contended = offers.again(placement, attempt);
    const wish = this.wish(request, contended);
    const found = this.find(wish, parseInt(ask.commandId.slice(0, 8), 16), ask.atMs);
    if (!found.fits || attempt > ATTEMPTS_MAX) {
      offers.end(placement);
      if (!found.fits) return found;
      const message = `${ATTEMPTS_MAX} hosts in turn were taken by others at the same moment`;
      return { fits: false, message, explanation: found.explanation };
    }
    offers.make(placement, this.fleet.table.slotOf(found.hostUid) ?? 0, request);
    return found;
  }

  private find(wish: Wish, seed: number, nowMs: number): Proposal {
    const { request } = wish;
    const { search, outlook, table, refusals } = this.fleet;
    const alike = !wish.antiAffine && !wish.contended && !wish.machines && !request.host && !request.exceptHost;
    const known = alike ? refusals.get(wish.class) : undefined;
    if (known && known.revision === table.revision) return known.refused;
    const policy = this.clusters.policy(request.cluster);
    const choice = search.choose(wish, { policy, seed, nowMs });
    if (choice) return this.proposal(wish, choice, explainChoice(choice, policy));
    const explanation = explainRefusal(outlook, wish, search.refusal(wish));
    const refused: Refused = { fits: false, message: deferralMessage(explanation, wish), explanation };
    if (alike) refusals.set(wish.class, { revision: table.revision, refused });
    return refused;
  }

  private proposal(
    wish: Wish,
    { slot, cell }: { readonly slot: number; readonly cell: number },
    explanation: PlacementExplanation,
  ): Proposal & { fits: true } {
    const { table, affinity } = this.fleet;
    const asksThings = wish.class.resources.length > 0;
    const keys = wish.machines ? affinityKeys(affinity, wish, slot) : [];
    const numaNodes = cell === NO_CELL ? {} : { numaNodes: table.cellsOf(slot) };
    const hypervisor = table.traits.get(table.group[slot] ?? 0)?.hypervisor;
    return {
      fits: true,
      host: table.names[slot] ?? '',
      hostUid: table.uids[slot] ?? '',
      capacity: {
        memoryBytes: table.memory[slot] ?? 0,
        vcpus: table.vcpus[slot] ?? 0,
        revision: table.stream[slot] ?? 0,
        ...numaNodes,
        ...(asksThings ? { resources: table.resourcesOf(slot) } : {}),
      },
      explanation,
      ...(cell === NO_CELL ? {} : { numa: { node: cell, pin: table.pins[slot]?.[cell] ?? '' } }),
      ...(hypervisor === undefined ? {} : { hypervisor }),
      ...(keys.length === 0 ? {} : { keys: [...keys] }),
    };
  }

  isPlaced(placement: Uuid): boolean {
    return (this.placements.get(placement)?.hostUid ?? null) !== null;
  }

  pendingRequest(placement: Uuid): PlacementRequest | undefined {
    return this.pending.get(placement);
  }

  /** The host that a pending placement would find now; none, or no longer pending: empty. */
  roomFor(placement: Uuid, atMs: number): readonly Retry[] {
    const request = this.pending.get(placement);
    if (!request) return [];
    const proposal = this.find(this.wish(request), 0, atMs);
    return proposal.fits ? [{ placement, proposal }] : [];
  }

  /** Up to `limit` pending placements with rules about other machines that would find a host now, as one of those has come or gone. */
  roomByRule(atMs: number, limit: number): readonly Retry[] {
    const found: Retry[] = [];
    let looked = 0;
    for (const placement of this.pendingByRule) {
      if (found.length === limit || (looked += 1) > BY_RULE_LOOKED_AT) break;
      found.push(...this.roomFor(placement, atMs));
    }
    return found;
  }

  /** Up to `limit` pending placements, oldest first, that one host has room for together. */
  waitingFor(hostUid: Uuid, limit: number): readonly Retry[] {
    const { table, outlook } = this.fleet;
    const slot = table.slotOf(hostUid);
    if (slot === undefined) return [];
    const found: Retry[] = [];
    const spoken = { memoryBytes: 0, vcpus: 0 };
    const words = new Set<string>();
    const explanation = {
      considered: 1,
      refused: [],
      chosenBy: 'waited: the first host with room',
      decidedBy: 'filters',
    };
    let looked = 0;
    for (const [placement, request] of this.pending) {
      if (found.length === limit || (looked += 1) > PENDING_LOOKED_AT) break;
      // Most of those who wait lack memory here as elsewhere: nothing else need be looked at.
      if (table.freeMemory(slot) - spoken.memoryBytes < request.memoryBytes) continue;
      const word = wordOf(request);
      const wish = this.wish(request);
      if ((word !== null && words.has(word)) || !fitsOn(outlook, slot, wish, spoken)) continue;
      const { numa } = request;
      const cell = numa && numa !== 'none' ? cellFor(table, slot, request) : NO_CELL;
      found.push({ placement, proposal: this.proposal(wish, { slot, cell }, explanation) });
      spoken.memoryBytes += request.memoryBytes;
      spoken.vcpus += request.vcpus;
      if (word !== null) words.add(word);
    }
    return found;
  }

  /** Whether one host would take any of the machines that are to leave another. */
  hasRoomForAny(
    hostUid: Uuid,
    leaving: { readonly from: string; readonly requests: Iterable<PlacementRequest> },
  ): boolean {
    const { table, outlook } = this.fleet;
    const slot = table.slotOf(hostUid);
    if (slot === undefined || table.names[slot] === leaving.from) return false;
    for (const { host: _there, ...request } of leaving.requests) {
      if (table.freeMemory(slot) < request.memoryBytes) continue;
      if (fitsOn(outlook, slot, this.wish({ ...request, exceptHost: leaving.from }))) return true;
    }
    return false;
  }

  /** What is placed where at this moment, for a copy on which moves are tried. */
  standing(): Standing {
    const { table, lifetimes, mix } = this.fleet;
    const threadsOf = (hostUid: Uuid): number => this.hosts.get(hostUid)?.threads ?? 0;
    const policyOf = (cluster: string | undefined): SchedulingPolicy => this.clusters.policy(cluster);
    return { table, lifetimes, mix, placements: this.placements, threadsOf, policyOf };
  }

  /** Uids of the hosts of a cluster, by the cluster's uid. */
  hostsOfCluster(clusterUid: Uuid): readonly Uuid[] {
    const name = this.clusters.nameOf(clusterUid);
    return [...this.hosts].filter(([, host]) => host.facts.cluster === name).map(([uid]) => uid);
  }

  /** A machine that leaves a host while it runs goes on under the same kind of hypervisor. */
  private amongAlike(request: PlacementRequest): PlacementRequest {
    if (request.exceptHost === undefined) return request;
    for (const { facts } of this.hosts.values())
      if (facts.name === request.exceptHost) return { ...request, hypervisor: facts.hypervisor };
    return request;
  }

  private wish(asked: PlacementRequest, contended?: ReadonlySet<number>): Wish {
    const { affinity, classes, table } = this.fleet;
    const request = this.amongAlike(asked);
    const word = wordOf(request);
    const hosts = word === null ? undefined : this.words.get(word);
    return {
      request,
      class: classes.of(request),
      antiAffine: hosts && { has: (slot: number) => hosts.has(table.uids[slot] ?? '') },
      contended,
      machines: machineWish(affinity, request),
    };
  }

  private put(
    category: string,
    object: { uid: Uuid; version: number; document: JsonObject | null; atMs: number },
  ): void {
    if (category === PLACEMENT_CATEGORY) this.putPlacement(object.uid, object.document, object.atMs);
    else if (category === HOST_CATEGORY) this.putHost(object);
    else this.putCluster(object.uid, object.document);
  }

  private putCluster(uid: Uuid, document: JsonObject | null): void {
    const name = this.clusters.put(uid, document);
    for (const [hostUid, host] of this.hosts) if (host.facts.cluster === name) this.show(hostUid, host);
  }

  private putHost(object: { uid: Uuid; version: number; document: JsonObject | null }): void {
    const { table, affinity } = this.fleet;
    const host = object.document && hostOf(object.document, object.version);
    const before = this.hosts.get(object.uid)?.facts.labels;
    if (host) {
      this.hosts.set(object.uid, host);
      this.show(object.uid, host);
    } else {
      this.hosts.delete(object.uid);
      table.remove(object.uid);
    }
    const { [HOSTNAME_LABEL]: _name, ...topology } = host?.facts.labels ?? {};
    const { [HOSTNAME_LABEL]: _before, ...former } = before ?? {};
    if (!sameJson(former, topology)) affinity.relabelled();
  }

  private show(uid: Uuid, host: KnownHost): void {
    this.fleet.table.put(uid, factsOf(host, this.clusters.overcommit(host.facts.cluster)));
  }

  private putPlacement(uid: Uuid, raw: JsonObject | null, atMs: number): void {
    const before = this.placements.get(uid);
    const document = raw as unknown as PlacementDocument | null;
    const hostUid = document?.status.hostUid ?? null;
    if (before?.hostUid && before.hostUid !== hostUid) this.vacate(uid, before, atMs);
    this.placements.delete(uid);
    const cell = document?.status.numaNode;
    const known = document && { request: document.spec.request, hostUid, cell };
    if (known) this.placements.set(uid, known);
    // One that stays pending keeps its place in the queue.
    if (known && hostUid === null) this.wait(uid, known.request);
    else {
      this.pending.delete(uid);
      this.pendingByRule.delete(uid);
    }
    this.fleet.offers.end(uid);
    if (!known || hostUid === null || before?.hostUid === hostUid) return;
    const since = document.status.conditions?.[0]?.lastTransitionTime ?? document.metadata.creationTimestamp;
    this.occupy(uid, known, { bornAtMs: millisecondsOf(since) ?? atMs, nowMs: atMs });
  }

  private wait(placement: Uuid, request: PlacementRequest): void {
    this.pending.set(placement, request);
    if (request.labels || request.affinity) this.pendingByRule.add(placement);
  }

  private occupy(
    placement: Uuid,
    { request, hostUid, cell }: Known,
    { bornAtMs, nowMs }: { readonly bornAtMs: number; readonly nowMs: number },
  ): void {
    const { table, affinity, lifetimes, mix } = this.fleet;
    const { memoryBytes, vcpus, resources, labels } = request;
    const { namespace, uid } = request.virtualMachine;
    const slot = table.use(hostUid ?? '', { memoryBytes, vcpus, cell, resources }, 1);
    lifetimes.placed(placement, { namespace, memoryBytes, vcpus, slot, bornAtMs, nowMs });
    mix.count(request, 1);
    const far = request.affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
    if (labels || far.length > 0) affinity.put(placement, { uid, namespace, labels: labels ?? {}, far, slot });
    this.countWord(request, hostUid ?? '', 1);
  }

  private vacate(placement: Uuid, { request, hostUid, cell }: Known, atMs: number): void {
    const { table, affinity, lifetimes, mix } = this.fleet;
    const { memoryBytes, vcpus, resources } = request;
    affinity.remove(placement);
    lifetimes.released(placement, atMs);
    mix.count(request, -1);
    table.use(hostUid ?? '', { memoryBytes, vcpus, cell, resources }, -1);
    this.countWord(request, hostUid ?? '', -1);
  }

  private countWord(request: PlacementRequest, hostUid: Uuid, change: 1 | -1): void {
    const word = wordOf(request);
    if (word === null) return;
    const hosts = this.words.get(word) ?? new Map<Uuid, number>();
    const count = (hosts.get(hostUid) ?? 0) + change;
    if (count > 0) hosts.set(hostUid, count);
    else hosts.delete(hostUid);
    if (hosts.size > 0) this.words.set(word, hosts);
    else this.words.delete(word);
  }
}
