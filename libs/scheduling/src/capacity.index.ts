import {
  categoryOf,
  clusterKind,
  hostKind,
  type ChangePlacementDevicesData,
  type PlacementRequest,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { sameJson, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { AvailabilityBook, type Occupied } from './availability/availability-book.js';
import { FailoverPlans } from './availability/failover-plans.js';
import { RestartRules } from './availability/restart-rules.js';
import { byAge } from './by-age.js';
import { Clusters } from './clusters.js';
import { exchangeDevices, proposeDevices } from './device-choice.js';
import { deferralMessage, explainChoice, explainRefusal } from './explanation.js';
import { asksAsItsClass, fitsOn, type Wish } from './filters.js';
import { cellToReserve } from './host-cells.js';
import { emptyFleet } from './fleet.js';
import { factsOf, hostOf, type KnownHost } from './host-document.js';
import { HostShare } from './host-share.js';
import { withoutHostname } from './host-traits.js';
import { machineWish } from './machine-affinity.js';
import { fittingProposal, type Retry } from './fitting-proposal.js';
import { PendingPlacements } from './pending-placements.js';
import { PLACEMENT_CATEGORY } from './placement.js';
import { beganAtMs, knownPlacement, type KnownPlacement, type PlacementDocument } from './placement-document.js';
import type { Proposal } from './placement.decide.js';
import type { Standing } from './planning/standing.js';
import type { SchedulingPolicy } from './scores.js';
import { VolumeIndex } from './volume.index.js';
import { WordBook, wordOf } from './word-book.js';

const HOST_CATEGORY = categoryOf(hostKind);
const CLUSTER_CATEGORY = categoryOf(clusterKind);

/** Pending placements looked at for one change, oldest first: 10,000 checks of one host take about a millisecond. */
const PENDING_LOOKED_AT = 10_000;

/** Pending placements with rules about other machines looked at for one change: each may look at every host. */
const BY_RULE_LOOKED_AT = 64;

/** Pending placements that hosts are woken for at once: those behind them wait for the next look. */
const WAITING_LOOKED_AT = 256;

/** A command that lost so many hosts to others waits instead; below the engine's own bound on attempts. */
const ATTEMPTS_MAX = 10;

/** A moment before all others: promises of that age are taken back before anybody hears of them. */
const UNTIL_SAID = 0;

const WAITED = { considered: 1, refused: [], chosenBy: 'waited: the first host with room', decidedBy: 'filters' };

type Refused = Proposal & { readonly fits: false };

/** All capacity and all placements, in memory, fed by the log: where a machine could go and who waits for room. */
export class CapacityIndex implements Index {
  readonly name = 'capacity';
  readonly categories = [CLUSTER_CATEGORY, HOST_CATEGORY, PLACEMENT_CATEGORY];
  /** Hosts that this scheduler takes first among equals, as others look after the rest. */
  readonly share = new HostShare();
  readonly volumes = new VolumeIndex();
  private fleet = emptyFleet(this.share);
  private readonly hosts = new Map<Uuid, KnownHost>();
  private readonly clusters: Clusters;
  private readonly placements = new Map<Uuid, KnownPlacement>();
  private readonly pending = new PendingPlacements();
  readonly pendingCount = (): number => this.pending.size;
  private readonly words = new WordBook<Uuid>();
  private availability = this.plannedFailovers();
  /** An index of its own, to be loaded before this one. */
  readonly restarts = new RestartRules((machine) => this.availability.ruleChanged(machine));

  constructor(policy: SchedulingPolicy) {
    this.clusters = new Clusters(policy);
  }

  load(documents: readonly StoredDocument[]): void {
    this.fleet = emptyFleet(this.share);
    this.availability = this.plannedFailovers();
    const { hosts, clusters, placements, pending, words } = this;
    for (const each of [hosts, clusters, placements, pending, words]) each.clear();
    const known = byAge(documents);
    for (const category of this.categories)
      for (const { streamId: uid, version, document, category: own } of known.documents)
        if (own === category) this.put(category, { uid, version, document, atMs: known.atMs });
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
    this.availability.breakPromise(placement);
    const wish = this.wish(request, contended);
    const found = this.find(wish, parseInt(ask.commandId.slice(0, 8), 16), ask.atMs);
    if (!found.fits || attempt > ATTEMPTS_MAX) {
      offers.end(placement);
      if (!found.fits) return found;
      const message = `${ATTEMPTS_MAX} hosts in turn were taken by others at the same moment`;
      return { fits: false, message, explanation: found.explanation };
    }
    offers.make(placement, this.fleet.table.slotOf(found.hostUid) ?? 0, request);
    this.promise(placement, request, found, ask.atMs);
    return found;
  }

  private promise(placement: Uuid, request: PlacementRequest, found: Retry['proposal'], atMs: number): void {
    const slot = this.fleet.table.slotOf(found.hostUid) ?? 0;
    this.availability.promise({ placement, request, slot, cell: found.numa?.node }, atMs);
  }

  private find(wish: Wish, seed: number, nowMs: number): Proposal {
    const { request } = wish;
    const { search, outlook, table, refusals } = this.fleet;
    const alike = asksAsItsClass(wish);
    const known = alike ? refusals.get(wish.class) : undefined;
    if (known && known.revision === table.journal.revision) return known.refused;
    const policy = this.clusters.policy(request.cluster);
    const choice = search.choose(wish, { policy, seed, nowMs });
    if (choice) return fittingProposal(this.fleet, wish, { ...choice, explanation: explainChoice(choice, policy) });
    const explanation = explainRefusal(outlook, wish, search.refusal(wish));
    const refused: Refused = { fits: false, message: deferralMessage(explanation, wish), explanation };
    if (alike) refusals.set(wish.class, { revision: table.journal.revision, refused });
    return refused;
  }

  isPlaced(placement: Uuid): boolean {
    return (this.placements.get(placement)?.hostUid ?? null) !== null;
  }

  /** Null: it is not placed. */
  proposeDevices(placement: Uuid, change: ChangePlacementDevicesData): ReturnType<typeof proposeDevices> | null {
    const known = this.placements.get(placement);
    return known && this.isPlaced(placement) ? proposeDevices(this.fleet.table, known, change) : null;
  }

  pendingRequest(placement: Uuid): PlacementRequest | undefined {
    return this.pending.request(placement);
  }

  /** The host that a pending placement would find now; none, or no longer pending: empty. */
  roomFor(placement: Uuid, atMs: number): readonly Retry[] {
    const request = this.pending.request(placement);
    if (!request) return [];
    const proposal = this.find(this.wish(request), 0, atMs);
    return proposal.fits ? [{ placement, proposal }] : [];
  }

  /** Up to `limit` pending placements with rules about other machines that would find a host now, as one of those has come or gone. */
  roomByRule(atMs: number, limit: number): readonly Retry[] {
    const found: Retry[] = [];
    let looked = 0;
    for (const placement of this.pending.ruled()) {
      if (found.length === limit || (looked += 1) > BY_RULE_LOOKED_AT) break;
      const retries = this.roomFor(placement, atMs);
      found.push(...retries);
      this.expect(retries, UNTIL_SAID);
    }
    return this.unsaid(found);
  }

  /** Those that are about to be placed so count from now on where hosts are kept free for failovers. */
  expect(retries: readonly Retry[], atMs: number): void {
    for (const { placement, proposal } of retries) {
      const request = this.pending.request(placement);
      if (request) this.promise(placement, request, proposal, atMs);
    }
  }

  /** What was thought of machines that are let in together is taken back: a question changes nothing. */
  private unsaid(found: readonly Retry[]): readonly Retry[] {
    for (const { placement } of found) this.availability.breakPromise(placement);
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
    let looked = 0;
    for (const [placement, request] of this.pending.all()) {
      if (found.length === limit || (looked += 1) > PENDING_LOOKED_AT) break;
      // Most of those who wait lack memory here as elsewhere: nothing else need be looked at.
      if (table.freeMemory(slot) - spoken.memoryBytes < request.memoryBytes) continue;
      const word = wordOf(request);
      const wish = this.wish(request);
      if ((word !== null && words.has(word)) || !fitsOn(outlook, slot, wish, spoken)) continue;
      const cell = cellToReserve(table, slot, request);
      const proposal = fittingProposal(this.fleet, wish, { slot, cell, explanation: WAITED });
      found.push({ placement, proposal });
      this.promise(placement, request, proposal, UNTIL_SAID);
      spoken.memoryBytes += request.memoryBytes;
      spoken.vcpus += request.vcpus;
      if (word !== null) words.add(word);
    }
    return this.unsaid(found);
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
    const { placements, clusters, restarts } = this;
    return { table, lifetimes, mix, placements, threadsOf, policyOf, guarantees: clusters.guarantees(), restarts };
  }

  /** Requests that wait for room, oldest first; of many the oldest only. */
  waiting(): readonly PlacementRequest[] {
    const oldest = [...this.pending.all()].slice(0, WAITING_LOOKED_AT);
    return oldest.map(([, request]) => this.volumes.located(this.amongAlike(request)));
  }

  /** Whether any cluster promises to survive the loss of hosts, so that room anywhere in it may let a machine in anywhere else. */
  get guards(): boolean {
    return !this.availability.idle;
  }

  /** Plans for the loss of hosts, as they are now. */
  get failovers(): FailoverPlans {
    return new FailoverPlans(this.fleet.table, this.availability, this.clusters);
  }

  private plannedFailovers(): AvailabilityBook {
    const { fleet, placements } = this;
    const occupied = function* (): Iterable<Occupied> {
      for (const [placement, { request, hostUid, cell }] of placements)
        if (hostUid !== null) yield { placement, request, slot: fleet.table.slotOf(hostUid) ?? -1, cell };
    };
    return new AvailabilityBook(fleet, occupied, (machine) => this.restarts.of(machine));
  }

  /** Uids of the hosts of a cluster, by the cluster's uid. */
  hostsOfCluster(clusterUid: Uuid): readonly Uuid[] {
    const name = this.clusters.nameOf(clusterUid);
    return [...this.hosts].filter(([, host]) => host.facts.cluster === name).map(([uid]) => uid);
  }

  /** A machine that leaves a host while it runs goes on under the same kind of hypervisor. */
  private amongAlike(request: PlacementRequest): PlacementRequest {
    if (request.exceptHost === undefined) return request;
    const { table } = this.fleet;
    const left = this.hosts.get(table.uids[table.slotNamed(request.exceptHost) ?? -1] ?? '');
    return left ? { ...request, hypervisor: left.facts.hypervisor } : request;
  }

  private wish(asked: PlacementRequest, contended?: ReadonlySet<number>): Wish {
    const { affinity, classes, table } = this.fleet;
    const request = this.volumes.located(this.amongAlike(asked));
    const hosts = this.words.hostsOf(request);
    return {
      request,
      class: classes.of(request),
      antiAffine: hosts && { has: (slot: number) => hosts.has(table.uids[slot] ?? '') },
      contended,
      machines: machineWish(affinity, request),
      availability: this.availability.checkOf(request),
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
    if (name === undefined) return;
    for (const [hostUid, host] of this.hosts) if (host.facts.cluster === name) this.show(hostUid, host);
    this.availability.promiseOf(name, this.clusters.guarantee(name));
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
      const slot = table.slotOf(object.uid);
      table.remove(object.uid);
      if (slot !== undefined) this.availability.hostChanged(slot);
    }
    if (sameJson(withoutHostname(before ?? {}), withoutHostname(host?.facts.labels ?? {}))) return;
    affinity.relabelled();
    this.availability.relabelled();
  }

  private show(uid: Uuid, host: KnownHost): void {
    const { table } = this.fleet;
    table.put(uid, factsOf(host, this.clusters.overcommit(host.facts.cluster)));
    this.availability.hostChanged(table.slotOf(uid) ?? 0);
  }

  private putPlacement(uid: Uuid, raw: JsonObject | null, atMs: number): void {
    const before = this.placements.get(uid);
    const document = raw as unknown as PlacementDocument | null;
    const hostUid = document?.status.hostUid ?? null;
    if (before?.hostUid && before.hostUid !== hostUid) this.vacate(uid, before, atMs);
    this.placements.delete(uid);
    const known = document && knownPlacement(document, this.volumes);
    if (known) this.placements.set(uid, known);
    if (known && hostUid === null) this.pending.wait(uid, document);
    else this.pending.end(uid);
    this.fleet.offers.end(uid);
    if (hostUid === null) this.availability.breakPromise(uid);
    if (!known || hostUid === null) return;
    if (before?.hostUid === hostUid) {
      exchangeDevices(this.fleet.table, before, known);
      return;
    }
    this.occupy(uid, known, { bornAtMs: beganAtMs(document) ?? atMs, nowMs: atMs });
  }

  private occupy(
    placement: Uuid,
    { request, hostUid, cell }: KnownPlacement,
    { bornAtMs, nowMs }: { readonly bornAtMs: number; readonly nowMs: number },
  ): void {
    const { table, affinity, lifetimes, mix } = this.fleet;
    const { memoryBytes, vcpus, resources, labels } = request;
    const { namespace, uid } = request.virtualMachine;
    const slot = table.use(hostUid ?? '', { memoryBytes, vcpus, cell, resources }, 1);
    lifetimes.placed(placement, { machine: uid, namespace, memoryBytes, vcpus, slot, bornAtMs, nowMs });
    mix.count(request, 1);
    const far = request.affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
    if (labels || far.length > 0) affinity.put(placement, { uid, namespace, labels: labels ?? {}, far, slot });
    this.words.count(request, hostUid ?? '', 1);
    this.availability.placed({ placement, request, slot, cell });
  }

  private vacate(placement: Uuid, { request, hostUid, cell }: KnownPlacement, atMs: number): void {
    const { table, affinity, lifetimes, mix } = this.fleet;
    const { memoryBytes, vcpus, resources } = request;
    affinity.remove(placement);
    lifetimes.released(placement, atMs);
    mix.count(request, -1);
    const slot = table.use(hostUid ?? '', { memoryBytes, vcpus, cell, resources }, -1);
    this.words.count(request, hostUid ?? '', -1);
    this.availability.released({ placement, request, slot, cell });
  }
}
