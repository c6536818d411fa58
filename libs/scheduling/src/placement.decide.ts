import {
  changePlacementDevicesData,
  countedResources,
  eventOf,
  givenDevice,
  placementExplanation,
  hostCapacity,
  placeVirtualMachineData,
  releasePlacementData,
  reservedNumaNode,
  type PlacementEvent,
  type PlacementRequest,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  sameJson,
  type Aggregate,
  type AlsoCommand,
  type ClaimChange,
  type Command,
  type Consequences,
  type JsonObject,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { z } from 'zod';
import { reservedResources } from './device-choice.js';
import { HOST_LEDGER_CATEGORY, hostLedgerId } from './host-ledger.js';
import { ANTI_AFFINITY_SCOPE, antiAffineMachine, type HeldKey } from './placement-keys.js';
import {
  evolvePlacement,
  PLACEMENT_CATEGORY,
  placementName,
  placementResource,
  type PlacementState,
} from './placement.js';

/** What `prepare` found in the index: a host that should do, or why none does. The ledger has the last word. */
const proposal = z.discriminatedUnion('fits', [
  z.object({
    fits: z.literal(true),
    host: z.string(),
    hostUid: z.string(),
    capacity: hostCapacity,
    explanation: placementExplanation,
    numa: reservedNumaNode.optional(),
    hypervisor: z.enum(['xen', 'kvm']).optional(),
    keys: z.array(z.object({ scope: z.string(), value: z.string() })).optional(),
    devices: z.array(givenDevice).optional(),
  }),
  z.object({ fits: z.literal(false), message: z.string(), explanation: placementExplanation }),
]);
export type Proposal = z.infer<typeof proposal>;

/** Which devices of its host a placed machine would have, as the index sees it. */
const devicesProposal = z.object({
  host: z.string(),
  hostUid: z.string(),
  capacity: hostCapacity,
  devices: z.array(givenDevice),
  resources: countedResources,
});

const proposalOf = (command: Command): Proposal | null => {
  const found = command.data['proposal'];
  return found === undefined ? null : proposal.parse(found);
};

const event = (type: PlacementEvent['type'], data: object): NewEvent => eventOf(type, data as JsonObject);

const place = (command: Command, state: PlacementState): Result<readonly NewEvent[]> => {
  const { proposal: _found, ...data } = command.data;
  const { request } = placeVirtualMachineData.parse(data);
  const found = proposalOf(command);
  switch (state.phase) {
    case 'placed':
      return ok([]);
    case 'released':
      return reject(
        'placement_unknown',
        `placement ${command.streamId} of virtual machine "${request.virtualMachine.name}" was released; ask for a new one`,
      );
    case 'absent':
      return ok(found ? firstEvents(command.streamId, request, found) : []);
    case 'pending': {
      if (!found) return ok([]);
      if (found.fits) return ok([decided(found)]);
      return ok(found.message === state.message ? [] : [deferred(found)]);
    }
  }
};

const deferred = ({ message, explanation }: Proposal & { fits: false }): NewEvent =>
  event('PlacementDeferred', { message, explanation });

const foundHost = ({
  host,
  hostUid,
  explanation,
  numa,
  hypervisor,
  keys,
  devices,
}: Proposal & { fits: true }): object => ({
  host,
  hostUid,
  explanation,
  ...(hypervisor ? { hypervisor } : {}),
  ...(numa ? { numa } : {}),
  ...(keys ? { keys } : {}),
  ...(devices ? { devices } : {}),
});

const decided = (found: Proposal & { fits: true }): NewEvent => event('PlacementDecided', foundHost(found));

const firstEvents = (uid: Uuid, request: PlacementRequest, found: Proposal): readonly NewEvent[] => {
  const requested = { name: placementName(request, uid), request };
  if (!found.fits) return [event('PlacementRequested', requested), deferred(found)];
  return [event('PlacementDecided', { ...foundHost(found), requested })];
};

const reconsider = (command: Command, state: PlacementState): Result<readonly NewEvent[]> => {
  const found = proposalOf(command);
  return ok(state.phase === 'pending' && found?.fits === true ? [decided(found)] : []);
};

const changeDevices = (command: Command, state: PlacementState): Result<readonly NewEvent[]> => {
  const { proposal: found, ...data } = command.data;
  changePlacementDevicesData.parse(data);
  if (state.phase !== 'placed' || found === undefined)
    return reject('placement_unknown', `placement ${command.streamId} has no host yet, or not any more`);
  const { devices, hostUid } = devicesProposal.parse(found);
  return ok(sameJson(devices, state.devices ?? []) ? [] : [event('PlacementDevicesChanged', { devices, hostUid })]);
};

const release = (state: PlacementState, reason: string): Result<readonly NewEvent[]> => {
  if (state.phase === 'absent' || state.phase === 'released') return ok([]);
  const hostUid = state.phase === 'placed' ? { hostUid: state.hostUid } : {};
  return ok([event('PlacementReleased', { reason, ...hostUid })]);
};

const decide = (command: Command, state: PlacementState): Result<readonly NewEvent[]> => {
  switch (command.type) {
    case 'PlaceVirtualMachine':
      return place(command, state);
    case 'ReconsiderPlacement':
      return reconsider(command, state);
    case 'ChangePlacementDevices':
      return changeDevices(command, state);
    case 'ReleasePlacement':
      return release(state, releasePlacementData.parse(command.data).reason);
    case 'DeletePlacement':
      return release(state, 'its virtual machine is gone');
    default:
      return reject('command_unknown', `a placement knows no command ${command.type}`);
  }
};

/** Machines of one namespace with the same word never share a host: each holds the word on its host. Other keys are those that the placement was decided with. */
const affinityClaims = (
  op: 'claim' | 'release',
  placement: {
    readonly uid: Uuid;
    readonly request: PlacementRequest;
    readonly hostUid: Uuid;
    readonly keys?: readonly HeldKey[] | undefined;
  },
): ClaimChange[] => {
  const { virtualMachine, antiAffinity } = placement.request;
  const held = (placement.keys ?? []).map((key): ClaimChange => ({ op, ...key, holder: placement.uid }));
  if (antiAffinity === undefined) return held;
  return [
    ...held,
    {
      op,
      scope: `${ANTI_AFFINITY_SCOPE}${virtualMachine.namespace}`,
      value: `${antiAffinity}/${placement.hostUid}`,
      holder: placement.uid,
    },
  ];
};

const toLedger = (hostUid: Uuid, type: string, data: object): AlsoCommand => ({
  category: HOST_LEDGER_CATEGORY,
  streamId: hostLedgerId(hostUid),
  type,
  data: data as JsonObject,
});

const consequences = (stored: NewEvent, before: PlacementState, command: Command): Consequences => {
  const placed = stored as unknown as PlacementEvent;
  const uid = command.streamId;
  if (placed.type === 'PlacementReleased') {
    if (before.phase !== 'placed') return {};
    return {
      claims: affinityClaims('release', before),
      also: [toLedger(before.hostUid, 'ReleaseHostCapacity', { placement: uid })],
    };
  }
  if (placed.type === 'PlacementDevicesChanged') {
    const { host, hostUid, capacity, resources } = devicesProposal.parse(command.data['proposal']);
    return {
      also: [toLedger(hostUid, 'ChangeHostReservation', { host, hostUid, capacity, placement: uid, resources })],
    };
  }
  if (placed.type !== 'PlacementDecided') return {};
  const found = proposalOf(command);
  const request = placed.data.requested?.request ?? ('request' in before ? before.request : null);
  if (!request || !found?.fits) return {};
  const { host, hostUid, capacity, numa, keys, devices } = found;
  const { vcpus, memoryBytes, virtualMachine } = request;
  const resources = reservedResources(request, devices);
  const machine = antiAffineMachine(request);
  const reservation = {
    placement: uid,
    virtualMachine: virtualMachine.uid,
    vcpus,
    memoryBytes,
    ...(numa ? { numaNode: numa.node } : {}),
    ...(resources ? { resources } : {}),
    ...(machine ? { machine } : {}),
  };
  return {
    claims: affinityClaims('claim', { uid, request, hostUid, keys }),
    also: [toLedger(hostUid, 'ReserveHostCapacity', { host, hostUid, capacity, ...reservation })],
  };
};

export const placementAggregate: Aggregate<PlacementState> = {
  category: PLACEMENT_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: evolvePlacement,
  toResource: placementResource,
  consequences,
  ended: (state) => state.phase === 'released',
  stateVersion: 1,
};
