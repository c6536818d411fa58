import {
  changePlacementDevicesData,
  commandSubject,
  deleteData,
  hostLedgerEvents,
  placementEvents,
  placementKind,
  placeVirtualMachineData,
  rebalancePlanEvents,
  rebalancePlanKind,
  reconsiderPlacementData,
  releasePlacementData,
  type ChangePlacementDevicesData,
  type PlacementRequest,
} from '@xenolith/contracts';
import { takenName, type CommandRoute, type Dispatch, type Reaction, type ServiceDefinition } from '@xenolith/engine';
import {
  ok,
  reject,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type LoggedEvent,
  type Reply,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { CapacityIndex } from './capacity.index.js';
import type { Retry } from './fitting-proposal.js';
import { hostLedgerAggregate } from './host-ledger.js';
import type { HostShare } from './host-share.js';
import { PLACEMENT_CATEGORY, type PlacementState } from './placement.js';
import { placementAggregate } from './placement.decide.js';
import { ANTI_AFFINITY_SCOPE } from './placement-keys.js';
import { rebalancePlanAggregate } from './rebalance-plan.decide.js';
import { rebalanceProcess } from './rebalance-plan.process.js';
import { rebalancing, type Rebalancing } from './rebalance.service.js';
import type { SchedulingPolicy } from './scores.js';

/** Pending placements tried again for one change; each that finds a host is a change itself, which goes on with the next ones. */
const RECONSIDERED_PER_EVENT = 64;

/** Hosts of a changed cluster that are gone through; the others follow with the next change on them. */
const HOSTS_PER_CLUSTER_CHANGE = 256;

/** A reconsideration is one local decision; longer means that the service is not there. */
const RECONSIDER_TIMEOUT_MS = 10_000;

/** What a cluster says is told again with the next change: waiting longer than for any other command helps nobody. */
const ASSESSMENT_TIMEOUT_MS = 15_000;

/**
 * A reconsideration brings the host that its sender saw, as the scheduler that answers may not have heard of the change yet. After so many
 * attempts it looks for itself, too.
 */
const PROPOSAL_ATTEMPTS = 3;

const placeAnswer = (state: unknown, streamId: Uuid): Reply => {
  const placement = state as PlacementState;
  switch (placement.phase) {
    case 'placed':
      return ok({
        host: placement.host,
        hostUid: placement.hostUid,
        pin: placement.numa?.pin ?? '',
        ...(placement.numa ? { numaNode: placement.numa.node } : {}),
        ...(placement.hypervisor ? { hypervisor: placement.hypervisor } : {}),
        ...(placement.devices ? { devices: placement.devices as unknown as JsonObject[] } : {}),
      });
    case 'pending':
      return reject('placement_pending', placement.message, { details: { explanation: placement.explanation } });
    case 'absent':
    case 'released':
      return reject('placement_unknown', `placement ${streamId} does not exist`);
  }
};

const proposed =
  (index: CapacityIndex) =>
  (message: CommandMessage, attempt: number): Result<JsonObject> => {
    const { streamId: placement, commandId } = message;
    if (index.isPlaced(placement)) return ok(message.data);
    const request = message.data['request'] as unknown as PlacementRequest;
    const proposal = index.propose({ placement, request, commandId, attempt, atMs: message.at });
    return ok({ ...message.data, proposal: proposal as unknown as JsonObject });
  };

const reproposed =
  (index: CapacityIndex) =>
  (message: CommandMessage, attempt: number): Result<JsonObject> => {
    const { streamId: placement, commandId } = message;
    const request = index.pendingRequest(placement);
    if (attempt <= PROPOSAL_ATTEMPTS || !request) return ok(message.data);
    const again = attempt - PROPOSAL_ATTEMPTS;
    const own = index.propose({ placement, request, commandId, attempt: again, atMs: message.at });
    return ok(own.fits ? { ...message.data, proposal: own as unknown as JsonObject } : message.data);
  };

const withDevices =
  (index: CapacityIndex) =>
  ({ streamId, data }: CommandMessage): Result<JsonObject> => {
    const found = index.proposeDevices(streamId, data as unknown as ChangePlacementDevicesData);
    if (found === null) return ok(data);
    return found.ok ? ok({ ...data, proposal: found.value }) : found;
  };

const routes = (index: CapacityIndex): readonly CommandRoute[] => {
  const deciding = {
    category: PLACEMENT_CATEGORY,
    // The index may be a moment behind: the ledger and the claim know better, and another host is tried.
    retryOn: ['host_ledger_full', 'host_ledger_affinity'],
    onClaimTaken: (claim: { scope: string; value: string; holder: Uuid }) =>
      claim.scope.startsWith(ANTI_AFFINITY_SCOPE) ? null : takenName(claim),
  };
  return [
    {
      ...deciding,
      type: 'PlaceVirtualMachine',
      schema: placeVirtualMachineData,
      prepare: proposed(index),
      begins: ({ streamId }) => !index.isPlaced(streamId) && index.pendingRequest(streamId) === undefined,
      answer: placeAnswer,
    },
    {
      ...deciding,
      type: 'ReconsiderPlacement',
      schema: reconsiderPlacementData,
      prepare: reproposed(index),
    },
    {
      type: 'ChangePlacementDevices',
      category: PLACEMENT_CATEGORY,
      schema: changePlacementDevicesData,
      // What another machine got meanwhile is found out by the ledger, and another device is tried.
      retryOn: ['host_ledger_full'],
      prepare: withDevices(index),
      answer: placeAnswer,
    },
    { type: 'ReleasePlacement', category: PLACEMENT_CATEGORY, schema: releasePlacementData },
    { type: 'DeletePlacement', category: PLACEMENT_CATEGORY, schema: deleteData },
  ];
};

const reconsideration = (event: LoggedEvent, { placement, proposal }: Retry): Dispatch => ({
  key: placement,
  commandId: uuidFrom(event.eventId, 'reconsider', placement),
  subject: commandSubject('scheduler', 'ReconsiderPlacement'),
  type: 'ReconsiderPlacement',
  streamId: placement,
  data: { proposal: proposal as unknown as JsonObject },
  timeoutMs: RECONSIDER_TIMEOUT_MS,
});

/** Pending placements that the event may have made room for. */
const concerned = (index: CapacityIndex, event: LoggedEvent): readonly Retry[] => {
  const onHost = (hostUid: unknown): readonly Retry[] =>
    typeof hostUid === 'string' ? index.waitingFor(hostUid, RECONSIDERED_PER_EVENT) : [];
  const byRule = (): readonly Retry[] => index.roomByRule(event.metadata.at, RECONSIDERED_PER_EVENT);
  switch (event.type) {
    case 'PlacementDeferred':
      // What made room may have come between the look at the index and this event.
      return index.roomFor(event.streamId, event.metadata.at);
    case 'PlacementReleased':
    case 'PlacementDevicesChanged':
      return [...onHost(event.data['hostUid']), ...byRule()];
    case 'PlacementDecided':
      // One that had waited found room: the next one may, too. And others may have waited to be near to it.
      return [...(event.data['requested'] === undefined ? onHost(event.data['hostUid']) : []), ...byRule()];
    case 'ClusterCreated':
    case 'ClusterSpecChanged': {
      const hosts = index.hostsOfCluster(event.streamId).slice(0, HOSTS_PER_CLUSTER_CHANGE);
      return [...hosts.flatMap(onHost), ...byRule()].slice(0, RECONSIDERED_PER_EVENT);
    }
    case 'VirtualMachineSpecChanged':
      // A machine that need not be restarted any more leaves room for failovers.
      return index.guards ? byRule() : [];
    default:
      // A host of other labels makes other places, and more of it may cover a loss: somebody may be let in elsewhere.
      return [...onHost(event.streamId), ...(event.type === 'HostMetadataChanged' || index.guards ? byRule() : [])];
  }
};

/** Tries pending placements again when something changed that may let them in: never by polling, oldest first, so many at a time. */
const reconsiderPending = (index: CapacityIndex): Reaction => ({
  name: 'placement-reconsideration',
  on: [
    'PlacementDeferred',
    'PlacementReleased',
    'PlacementDevicesChanged',
    'PlacementDecided',
    'ClusterCreated',
    'ClusterSpecChanged',
    'HostCreated',
    'HostRegistered',
    'HostBecameReady',
    'HostSpecChanged',
    'HostMetadataChanged',
    'VirtualMachineSpecChanged',
  ],
  react: (event) => {
    const retries = new Map(concerned(index, event).map((retry) => [retry.placement, retry]));
    index.expect([...retries.values()], event.metadata.at);
    return [...retries.values()].map((retry) => reconsideration(event, retry));
  },
});

/** Tells clusters whether what they promise of the loss of hosts holds, when that has changed. */
const assessAvailability = (index: CapacityIndex): Reaction => ({
  name: 'availability-assessment',
  on: [
    'PlacementReleased',
    'PlacementDecided',
    'ClusterCreated',
    'ClusterSpecChanged',
    'HostRegistered',
    'HostBecameReady',
    'HostBecameUnreachable',
    'HostSpecChanged',
    'HostMetadataChanged',
    'HostDeleted',
    'VirtualMachineSpecChanged',
  ],
  react: (event) =>
    [...index.failovers.assessments()].map(({ uid, found }) => ({
      key: `availability/${uid}`,
      commandId: uuidFrom(event.eventId, 'availability', uid),
      subject: commandSubject('compute', 'RecordClusterAvailability'),
      type: 'RecordClusterAvailability',
      streamId: uid,
      data: found,
      timeoutMs: ASSESSMENT_TIMEOUT_MS,
    })),
});

/** The scheduler with what it keeps in memory, for its companion. */
export interface SchedulingService extends ServiceDefinition {
  readonly rebalancing: Rebalancing;
  readonly capacity: CapacityIndex;
  readonly share: HostShare;
}

/** The scheduler: placements, the ledgers of hosts, and plans that move running machines. */
export const schedulingService = (
  options: { readonly policy: SchedulingPolicy } = { policy: 'balance' },
): SchedulingService => {
  const index = new CapacityIndex(options.policy);
  const moving = rebalancing(index);
  return {
    name: 'scheduler',
    kinds: [placementKind, rebalancePlanKind],
    aggregates: [rebalancePlanAggregate, placementAggregate, hostLedgerAggregate],
    routes: [...routes(index), ...moving.routes],
    // Volumes first: placements that are loaded ask where theirs are.
    indexes: [index.volumes, index.restarts, index, moving.index],
    processes: [rebalanceProcess],
    reactions: [reconsiderPending(index), assessAvailability(index), ...moving.reactions],
    eventSchemas: { ...placementEvents, ...hostLedgerEvents, ...rebalancePlanEvents },
    rebalancing: moving,
    capacity: index,
    share: index.share,
  };
};
