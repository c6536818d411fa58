import {
  apiVersionOf,
  BLOCKED_MACHINES_NAMED,
  commandSubject,
  hostKind,
  REBALANCE_MOVES_MAX,
  type BlockedMachine,
  type PlanCause,
  type RebalancePlanSpec,
  type ServiceName,
} from '@xenolith/contracts';
import type { Dispatch, Reaction } from '@xenolith/engine';
import { sameJson, uuidFrom, type JsonObject, type LoggedEvent, type Uuid } from '@xenolith/kernel';
import type { CapacityIndex } from './capacity.index.js';
import { machineName } from './rebalance-plan.js';
import type { HostUnderMaintenance, KnownPlan, RebalanceIndex } from './rebalance.index.js';
import type { Proposals } from './rebalance.proposals.js';

/** Each is one local decision; longer means that the service is not there. */
const COMMAND_MS = 15_000;

const toService = (
  event: LoggedEvent,
  to: { readonly service: ServiceName; readonly type: string; readonly streamId: Uuid },
  data: object,
): Dispatch => ({
  key: `${to.type}/${to.streamId}`,
  commandId: uuidFrom(event.eventId, to.type, to.streamId),
  subject: commandSubject(to.service, to.type),
  type: to.type,
  streamId: to.streamId,
  data: data as JsonObject,
  timeoutMs: COMMAND_MS,
});

interface OperationDocument {
  readonly status?: { readonly steps?: readonly { readonly name: string; readonly phase: string }[] };
}

/** An operation that found no room has not touched the machine: all its other steps still wait. */
const hasBegun = (document: OperationDocument | null | undefined): boolean =>
  document?.status?.steps?.some(({ name, phase }) => name !== 'place' && phase !== 'Waiting') !== false;

const outcomeOf = (event: LoggedEvent): { readonly outcome: string; readonly message: string } => {
  const message = typeof event.data['message'] === 'string' ? event.data['message'] : '';
  switch (event.type) {
    case 'OperationSucceeded':
      return { outcome: 'Succeeded', message: '' };
    case 'OperationCancelled':
      return { outcome: 'Skipped', message };
    default:
      return { outcome: hasBegun(event.document) ? 'Failed' : 'Skipped', message };
  }
};

/** Tells plans of the ends of their migrations. */
const recordMoveEnds = (index: RebalanceIndex): Reaction => ({
  name: 'rebalance-move-ends',
  on: ['OperationSucceeded', 'OperationFailed', 'OperationCancelled'],
  react: (event) => {
    const known = index.moveOf(event.streamId);
    if (!known) return [];
    const to = { service: 'scheduler', type: 'RecordMoveEnded', streamId: known.plan } as const;
    return [toService(event, to, { move: known.move, ...outcomeOf(event) })];
  },
});

const spelled = (blocked: KnownPlan['blocked']): readonly BlockedMachine[] =>
  blocked.map(({ virtualMachine, message }) => ({ virtualMachine, message }));

/** Machines that the last plan did not bring away; the next one tries again after a pause. */
const putOff = (plan: KnownPlan, host: string): readonly BlockedMachine[] =>
  plan.moves
    .filter(({ from, phase }) => from === host && phase !== 'Succeeded')
    .map(({ virtualMachine, message = '' }) => ({ virtualMachine, message: `${message}; it is tried again` }));

const evacuationOf = ({ cluster, name }: HostUnderMaintenance): RebalancePlanSpec => ({
  cluster,
  mode: 'evacuate',
  hosts: [name],
  maxMoves: REBALANCE_MOVES_MAX,
  approved: true,
});

const namesOf = (blocked: readonly BlockedMachine[]): string =>
  blocked.map(({ virtualMachine }) => machineName(virtualMachine)).join();

/** Events after which a plan, or a machine's freedom to move, is otherwise; `streamId` is the plan or the machine. */
const OF_PLANS = ['RebalancePlanCompleted', 'RebalancePlanFailed', 'RebalancePlanCancelled', 'RebalancePauseEnded'];
const OF_MACHINES = [
  'VirtualMachineStarted',
  'VirtualMachinePaused',
  'VirtualMachineUnpaused',
  'VirtualMachineRebooted',
  'VirtualMachineMigrated',
  'VirtualMachineReconfigured',
  'VirtualMachineSnapshotTaken',
  'VirtualMachineReverted',
  'VirtualMachineSpecChanged',
  'VirtualMachineObserved',
  'VirtualMachineHostRegained',
  'VirtualMachineOperationEnded',
];
/** Those after which a host may take machines that it did not. */
const OF_ROOM = [
  'PlacementReleased',
  'HostRegistered',
  'HostBecameReady',
  'HostSpecChanged',
  'HostMetadataChanged',
  'ClusterCreated',
  'ClusterSpecChanged',
];
const OF_THE_HOST = ['PlacementDecided', 'HostEvacuationProgressed', 'HostBecameUnreachable'];

/**
 * Empties hosts under maintenance: by one approved plan at a time, the next when something has changed that may let more machines go. Hosts are told
 * how many are left and which can't move.
 */
class Evacuations {
  constructor(
    private readonly index: RebalanceIndex,
    private readonly capacity: CapacityIndex,
    private readonly proposals: Proposals,
  ) {}

  react(event: LoggedEvent): readonly Dispatch[] {
    const ended = event.type === 'HostSpecChanged' ? this.ofEndedMaintenance(event) : [];
    return [
      ...ended,
      ...this.index
        .underMaintenance()
        .filter((host) => this.concerns(event, host))
        .flatMap((host) => this.look(event, host)),
    ];
  }

  /** A maintenance that is no longer wished for lets its plans go no further. */
  private ofEndedMaintenance(event: LoggedEvent): readonly Dispatch[] {
    const wished = new Set(this.index.underMaintenance().map(({ maintenance }) => maintenance));
    return this.index
      .allPlans()
      .filter((plan) => plan.maintenance !== null && !wished.has(plan.maintenance))
      .filter((plan) => plan.phase === 'Executing' || plan.pausing)
      .map((plan) => {
        const to = { service: 'scheduler', type: 'CancelRebalancePlan', streamId: plan.uid } as const;
        return toService(event, to, { because: 'the maintenance has ended' });
      });
  }

  private concerns(event: LoggedEvent, host: HostUnderMaintenance): boolean {
    const { type, streamId, data } = event;
    if (streamId === host.uid || data['hostUid'] === host.uid) return true;
    if (OF_PLANS.includes(type)) return this.plansOf(host).some((plan) => plan.uid === streamId);
    const left = this.index.placedOn(host.uid);
    const freed = type === 'VirtualMachineSpecChanged' && this.capacity.guards && host.blocked.length > 0;
    if (OF_MACHINES.includes(type) && !freed)
      return [...left.values()].some(({ virtualMachine }) => virtualMachine.uid === streamId);
    if (!(freed || OF_ROOM.includes(type)) || left.size === 0 || this.openPlan(host)) return false;
    // Where hosts are kept free for failovers, room on one may let a machine go to another, as may a machine
    // that need not be restarted any more.
    if (type.startsWith('Cluster') || this.capacity.guards) return true;
    const changed = type === 'PlacementReleased' ? data['hostUid'] : streamId;
    const requests = left.values();
    return typeof changed === 'string' && this.capacity.hasRoomForAny(changed, { from: host.name, requests });
  }

  private look(event: LoggedEvent, host: HostUnderMaintenance): readonly Dispatch[] {
    const remaining = this.index.placedOn(host.uid).size;
    const open = this.openPlan(host);
    if (remaining === 0) return this.tell(event, host, { remaining, blocked: [] });
    if (open) {
      const blocked = [...spelled(open.blocked), ...(open.pausing ? putOff(open, host.name) : [])];
      return this.tell(event, host, { remaining, blocked });
    }
    const found = this.proposals.asked(host.name, evacuationOf(host), { atMs: event.metadata.at });
    // A host that the capacity index does not know has not registered.
    if (!found.ok) return [];
    const { moves, blocked } = found.value;
    const told = this.tell(event, host, { remaining, blocked: spelled(blocked) });
    return moves.length === 0 ? told : [this.propose(event, host), ...told];
  }

  /** The plan that is carried out, or whose successor is put off. */
  private openPlan(host: HostUnderMaintenance): KnownPlan | undefined {
    return this.plansOf(host).find((plan) => plan.phase === 'Executing' || plan.pausing);
  }

  private plansOf({ maintenance }: HostUnderMaintenance): readonly KnownPlan[] {
    return this.index.allPlans().filter((plan) => plan.maintenance === maintenance);
  }

  /** Nothing where the host says so already. Messages that only got other figures are not worth an event. */
  private tell(
    event: LoggedEvent,
    host: HostUnderMaintenance,
    found: { readonly remaining: number; readonly blocked: readonly BlockedMachine[] },
  ): readonly Dispatch[] {
    const blocked = found.blocked.slice(0, BLOCKED_MACHINES_NAMED);
    const same = host.remaining === found.remaining && namesOf(host.blocked) === namesOf(blocked);
    if (same && (OF_THE_HOST.includes(event.type) || sameJson(host.blocked, blocked))) return [];
    const to = { service: 'compute', type: 'RecordHostEvacuation', streamId: host.uid } as const;
    return [toService(event, to, { maintenance: host.maintenance, remaining: found.remaining, blocked })];
  }

  private propose(event: LoggedEvent, host: HostUnderMaintenance): Dispatch {
    const { maintenance, uid: hostUid, name } = host;
    const streamId = uuidFrom(maintenance, event.eventId);
    const unfinished = this.plansOf(host).filter(({ moves }) => moves.some(({ phase }) => phase !== 'Succeeded'));
    const attempt = Math.max(0, ...unfinished.map((plan) => plan.attempt + 1));
    const cause: PlanCause = { by: 'Maintenance', maintenance, hostUid, attempt };
    const owner = { apiVersion: apiVersionOf(hostKind), kind: hostKind.kind, name, uid: hostUid, controller: true };
    const to = { service: 'scheduler', type: 'ProposeRebalancePlan', streamId } as const;
    const planName = `evacuate-${name}-${streamId.slice(0, 8)}`;
    return toService(event, to, { name: planName, spec: evacuationOf(host), cause, ownerReferences: [owner] });
  }
}

const evacuateHosts = (evacuations: Evacuations): Reaction => ({
  name: 'evacuate-hosts-under-maintenance',
  on: [...OF_PLANS, ...OF_MACHINES, ...OF_ROOM, ...OF_THE_HOST],
  react: (event) => evacuations.react(event),
});

/** Hosts that a plan has left empty are parked, unless somebody needs them by now. */
const parkHosts = ({ index, capacity, proposals }: Parts): Reaction => ({
  name: 'park-hosts-of-plans',
  on: ['RebalancePlanCompleted'],
  react: (event) => {
    const plan = index.allPlans().find(({ uid }) => uid === event.streamId);
    if (plan === undefined || plan.parks.length === 0) return [];
    const { table } = capacity.standing();
    const reasons = new Map(plan.parks.map(({ host, reason }) => [host, reason]));
    return proposals.stillParkable(plan.cluster, [...reasons.keys()], event.metadata.at).flatMap(({ host }) => {
      const streamId = table.uids[table.slotNamed(host) ?? -1];
      if (streamId === undefined) return [];
      const to = { service: 'compute', type: 'ParkHost', streamId } as const;
      return [toService(event, to, { reason: `plan ${plan.name}: ${reasons.get(host) ?? ''}` })];
    });
  },
});

interface Parts {
  readonly index: RebalanceIndex;
  readonly capacity: CapacityIndex;
  readonly proposals: Proposals;
}

export const rebalanceReactions = (parts: Parts): readonly Reaction[] => [
  parkHosts(parts),
  recordMoveEnds(parts.index),
  evacuateHosts(new Evacuations(parts.index, parts.capacity, parts.proposals)),
];
