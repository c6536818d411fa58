import { ACTIVE_NAMESPACE_SCOPE, type OperationPhase, type PlacementRequest } from '@xenolith/contracts';
import { canonicalJson, uuidFrom, upcast, type AnyAggregate, type Uuid } from '@xenolith/kernel';
import { hostLedgerId, type HostLedgerState } from '@xenolith/scheduling';
import type { MemoryEventLog } from '@xenolith/testing';
import type { Evidence } from './evidence.js';
import { unlikeAvailability } from './availability.js';
import { staleViews } from './views.js';
import { unlikeMaintenance } from './maintenance.js';
import { unlikePower, wakingClusters } from './power.js';
import { isThingMissing, type MachineWithDisks } from './missing-things.js';
import type { Watcher } from './watcher.js';

const ENDED: readonly OperationPhase[] = ['Succeeded', 'Failed', 'Cancelled'];

interface Named {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly deletionTimestamp?: string;
    readonly finalizers?: readonly string[];
    readonly ownerReferences?: readonly { readonly uid: Uuid }[];
  };
}

interface Machine extends Named {
  readonly spec: MachineWithDisks['spec'];
  readonly status: {
    readonly powerState: string;
    readonly host?: string;
    readonly incarnation: number;
    readonly domid?: number;
  };
}

interface OperationDocument extends Named {
  readonly spec: { readonly action: string; readonly target: { readonly name: string; readonly uid?: Uuid } };
  readonly status: {
    readonly phase: OperationPhase;
    readonly step?: string;
    readonly message?: string;
    readonly waitsOn?: readonly string[];
  };
}

interface PlacementDocument extends Named {
  readonly spec: { readonly request: PlacementRequest };
  readonly status: {
    readonly phase: 'Pending' | 'Placed';
    readonly hostUid?: Uuid;
    readonly explanation?: { readonly refused: readonly { readonly filter: string; readonly example: string }[] };
  };
}

interface HostDocument extends Named {
  readonly spec: {
    readonly cluster: string;
    readonly unschedulable: boolean;
    readonly maintenance?: boolean;
    readonly parked?: boolean;
  };
  readonly status: {
    readonly hypervisor: 'xen' | 'kvm';
    readonly allocatableMemory: string;
    readonly conditions: readonly { status: string }[];
  };
}

/** What must hold once nothing is under way any more. */
export const brokenWhenQuiet = (evidence: Evidence, watcher: Watcher): readonly string[] => [
  ...unanswered(evidence),
  ...unended(evidence, watcher),
  ...unlikeHosts(evidence),
  ...orphans(evidence),
  ...unlikeLedgers(evidence, watcher),
  ...unlikeMaintenance(evidence),
  ...unlikePower(evidence),
  ...unlikeAvailability(evidence, watcher.hostLedgers),
  ...unlikeReplay(evidence),
  ...evidence.running().flatMap((views) => staleViews(views, evidence.log)),
];

/** What must hold once users have deleted all that they made, too. */
export const leftOver = (evidence: Evidence): readonly string[] => [
  ...['virtualmachine', 'virtualmachinesnapshot', 'volume', 'port', 'placement'].flatMap((category) =>
    documentsOf(evidence, category).map(({ document }) => `${document.kind} ${document.metadata.name} is left over`),
  ),
  ...evidence
    .hosts()
    .flatMap((host) =>
      host.domains.map((domain) => `a domain of ${domain.virtualMachine} is left over on ${host.name}`),
    ),
];

/** The sum of a run: equal logs give equal hashes. */
export const logHash = (log: MemoryEventLog): Uuid => uuidFrom(...log.log.map((event) => canonicalJson(event)));

interface Stored<Document extends Named> {
  readonly uid: Uuid;
  readonly document: Document;
}

const documentsOf = (evidence: Evidence, category?: string): readonly Stored<Named>[] =>
  evidence.log
    .documents(category === undefined ? undefined : [category])
    .documents.map(({ streamId, document }) => ({ uid: streamId, document: document as unknown as Named }));

const machinesOf = (evidence: Evidence) => documentsOf(evidence, 'virtualmachine') as readonly Stored<Machine>[];
const operationsOf = (evidence: Evidence) => documentsOf(evidence, 'operation') as readonly Stored<OperationDocument>[];
const placementsOf = (evidence: Evidence) => documentsOf(evidence, 'placement') as readonly Stored<PlacementDocument>[];
const hostsOf = (evidence: Evidence) => documentsOf(evidence, 'host') as readonly Stored<HostDocument>[];

const unanswered = (evidence: Evidence): readonly string[] =>
  evidence.sent
    .filter((sent) => sent.reply === null)
    .map((sent) => `${sent.message.type} ${sent.message.commandId} was never answered`);

/** An operation may go on for ever only while it waits for what is really not there. */
const unended = (evidence: Evidence, watcher: Watcher): readonly string[] =>
  operationsOf(evidence).flatMap(({ uid, document }) => {
    const { phase, step, message, waitsOn } = document.status;
    if (ENDED.includes(phase)) return [];
    const waits = phase === 'Running' && waitsOn !== undefined && waitsOn.length > 0;
    const machine = machinesOf(evidence).find((stored) => stored.uid === document.spec.target.uid)?.document;
    if (waits && waitsOn.every((key) => isMissing({ evidence, watcher, machine }, key))) return [];
    const { action, target } = document.spec;
    return [`operation ${uid} (${action} of ${target.name}) is ${phase} at ${step ?? '-'}: ${message ?? ''}`];
  });

/** Whether what an operation waits for is really not there: a thing that nobody made, room that nobody freed, a host that nobody has. */
const isMissing = (
  waiter: { readonly evidence: Evidence; readonly watcher: Watcher; readonly machine: Machine | undefined },
  key: string,
): boolean => {
  const { evidence, watcher, machine } = waiter;
  if (/^(volume|network|image|storagedomain):/.test(key)) return isThingMissing(evidence, machine, key);
  return hasNoHost(evidence, watcher, key);
};

const hasNoHost = (evidence: Evidence, watcher: Watcher, stream: string): boolean => {
  const placements = placementsOf(evidence);
  const pending = placements.find(({ uid }) => uid === stream);
  if (pending?.document.status.phase !== 'Pending') return false;
  const { request } = pending.document.spec;
  const waking = wakingClusters(evidence);
  // One that could be woken is there for whoever waits.
  const isAway = ({ spec, status }: HostDocument): boolean =>
    spec.parked === true ? !waking.has(spec.cluster) : status.conditions[0]?.status !== 'True';
  return hostsOf(evidence).every(
    ({ uid, document }) =>
      document.spec.unschedulable ||
      document.spec.maintenance === true ||
      document.metadata.deletionTimestamp !== undefined ||
      isAway(document) ||
      !canRun(document, request) ||
      isFull(watcher.hostLedgers.get(hostLedgerId(uid)), request) ||
      placements.some((other) => sharesWord(other.document, request, uid)) ||
      isKeptFree(pending.document, document.metadata.name),
  );
};

/** Kept free for failovers: that this is so is looked at where the promise itself is. */
const isKeptFree = ({ status }: PlacementDocument, host: string): boolean =>
  status.explanation?.refused.some(({ filter, example }) => filter === 'availability' && example === host) === true;

const canRun = ({ status }: HostDocument, { hypervisor, guestType }: PlacementRequest): boolean =>
  (hypervisor === 'any' || hypervisor === status.hypervisor) && (status.hypervisor === 'xen' || guestType === 'hvm');

const isFull = (ledger: HostLedgerState | undefined, request: PlacementRequest): boolean =>
  ledger?.phase === 'declared' &&
  (ledger.capacity.memoryBytes - ledger.memoryBytes < request.memoryBytes ||
    ledger.capacity.vcpus - ledger.vcpus < request.vcpus);

const sharesWord = (placement: PlacementDocument, request: PlacementRequest, host: Uuid): boolean => {
  const other = placement.spec.request;
  return (
    placement.status.hostUid === host &&
    request.antiAffinity !== undefined &&
    other.antiAffinity === request.antiAffinity &&
    other.virtualMachine.namespace === request.virtualMachine.namespace
  );
};

/** Whether no host has anything of such a machine. */
const isNowhere = (powerState: string): boolean => powerState === 'Halted' || powerState === 'Suspended';

/** The log's picture of what runs, against what runs. */
const unlikeHosts = (evidence: Evidence): readonly string[] => {
  const broken: string[] = [];
  const domains = evidence.hosts().flatMap((host) => host.domains.map((domain) => ({ ...domain, host: host.name })));
  const running = new Map(domains.map((domain) => [domain.virtualMachine, domain]));
  for (const { uid, document } of machinesOf(evidence)) {
    const { powerState, host, incarnation, domid } = document.status;
    const domain = running.get(uid);
    running.delete(uid);
    const truth = domain && {
      host: domain.host,
      incarnation: domain.incarnation,
      domid: domain.domid,
      runs: domain.state === 'running',
    };
    const believed = isNowhere(powerState) ? undefined : { host, incarnation, domid, runs: powerState === 'Running' };
    if (canonicalJson(truth ?? null) !== canonicalJson(believed ?? null))
      broken.push(
        `machine ${document.metadata.name} (${uid}): the log says ${canonicalJson(believed ?? 'halted')}, the host ${canonicalJson(truth ?? 'nothing')}`,
      );
  }
  for (const [machine, place] of running) broken.push(`domain of ${machine} on ${place.host} belongs to nobody`);
  return broken;
};

/** What is in use goes when its use ends. */
const isHeld = (finalizers: readonly string[]): boolean =>
  finalizers.some((finalizer) => /\/(lease|attachment|in-use|ports)$/.test(finalizer));

/** Objects whose owners or namespaces are gone, objects that never finish going, and claims of what is gone. */
const orphans = (evidence: Evidence): readonly string[] => {
  const all = documentsOf(evidence);
  const living = new Set(all.map((stored) => stored.uid));
  const broken: string[] = [];
  for (const { document } of all) {
    const { kind, metadata } = document;
    const owners = metadata.ownerReferences ?? [];
    if (owners.length > 0 && !owners.some((owner) => living.has(owner.uid)))
      broken.push(`${kind} ${metadata.name} outlived its owner ${owners[0]?.uid ?? ''}`);
    if (metadata.deletionTimestamp !== undefined && !isHeld(metadata.finalizers ?? []))
      broken.push(`${kind} ${metadata.name} never finishes going`);
    if (
      metadata.namespace !== undefined &&
      evidence.log.claimHolder(ACTIVE_NAMESPACE_SCOPE, metadata.namespace) === null
    )
      broken.push(`${kind} ${metadata.name} outlived its namespace ${metadata.namespace}`);
  }
  for (const [key, holder] of evidence.log.allClaims())
    if (!living.has(holder)) broken.push(`claim ${key.replace('\u0000', ' ')} is held by ${holder}, which is gone`);
  return broken;
};

/** Ledgers against placements, and placements against machines. */
const unlikeLedgers = (evidence: Evidence, watcher: Watcher): readonly string[] => {
  const placed = new Set<string>();
  const broken: string[] = [];
  const machines = new Map(machinesOf(evidence).map(({ uid, document }) => [uid, document]));
  for (const { uid, document } of placementsOf(evidence)) {
    const { hostUid } = document.status;
    if (hostUid === undefined) continue;
    placed.add(`${hostLedgerId(hostUid)}/${uid}`);
    const machine = machines.get(document.spec.request.virtualMachine.uid);
    const operations = operationsOf(evidence);
    const starting = operations.some(
      (operation) =>
        operation.document.status.phase === 'Running' && operation.document.spec.target.name === machine?.metadata.name,
    );
    if (machine === undefined || (isNowhere(machine.status.powerState) && !starting))
      broken.push(`placement ${document.metadata.name} holds capacity for a machine that does not run`);
  }
  for (const [ledger, state] of watcher.hostLedgers) {
    if (state.phase === 'undeclared') continue;
    for (const { placement } of state.reservations)
      if (!placed.delete(`${ledger}/${placement}`))
        broken.push(`ledger ${ledger} reserves for ${placement}, which is not placed there`);
  }
  for (const key of placed) broken.push(`placement ${key} is in no ledger`);
  return broken;
};

/** Documents against the fold of their streams' events. */
const unlikeReplay = (evidence: Evidence): readonly string[] => {
  const aggregates = new Map<string, AnyAggregate>(
    evidence.definitions().flatMap(({ aggregates: all }) => all.map((aggregate) => [aggregate.category, aggregate])),
  );
  const states = new Map<Uuid, { aggregate: AnyAggregate; state: unknown }>();
  const broken: string[] = [];
  for (const event of evidence.log.log) {
    const aggregate = aggregates.get(event.category);
    if (!aggregate) {
      broken.push(`nobody owns category ${event.category}`);
      continue;
    }
    const before = states.get(event.streamId)?.state ?? (aggregate.initial as unknown);
    const { streamId, version, metadata } = event;
    const place = { streamId, version, at: metadata.at, actor: metadata.actor };
    states.set(streamId, {
      aggregate,
      state: aggregate.evolve(before, upcast(event, aggregate.upcasters), place) as unknown,
    });
  }
  const newest = new Map(
    evidence.log.documents(undefined).documents.map((stored) => [stored.streamId, stored.document]),
  );
  for (const [streamId, { aggregate, state }] of states) {
    if (canonicalJson(aggregate.toResource(state)) !== canonicalJson(newest.get(streamId) ?? null))
      broken.push(`${aggregate.category} ${streamId} differs from its replay`);
  }
  return broken;
};
