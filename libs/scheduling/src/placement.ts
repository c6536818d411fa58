import {
  apiVersionOf,
  categoryOf,
  placementKind,
  timestamp,
  virtualMachineKind,
  type Condition,
  type GivenDevice,
  type PlacementEvent,
  type PlacementExplanation,
  type PlacementRequest,
  type ReservedNumaNode,
} from '@xenolith/contracts';
import type { HeldKey } from './placement-keys.js';
import type { EventPlace, JsonObject, NewEvent, Uuid } from '@xenolith/kernel';

interface Requested {
  readonly uid: Uuid;
  readonly name: string;
  readonly request: PlacementRequest;
  readonly createdAt: string;
}

export interface PendingPlacement extends Requested {
  readonly phase: 'pending';
  readonly message: string;
  readonly explanation: PlacementExplanation;
}

export interface PlacedPlacement extends Requested {
  readonly phase: 'placed';
  readonly host: string;
  readonly hostUid: Uuid;
  readonly explanation: PlacementExplanation;
  readonly placedAt: string;
  readonly numa?: ReservedNumaNode | undefined;
  readonly hypervisor?: 'xen' | 'kvm' | undefined;
  readonly keys?: readonly HeldKey[] | undefined;
  readonly devices?: readonly GivenDevice[] | undefined;
}

export type PlacementState =
  { readonly phase: 'absent' } | PendingPlacement | PlacedPlacement | { readonly phase: 'released' };

export const PLACEMENT_CATEGORY = categoryOf(placementKind);

const NOT_TRIED: PlacementExplanation = { considered: 0, refused: [] };

/** Machines come and go under one name; the run's placement is told apart by the start of its uid. */
export const placementName = (request: PlacementRequest, uid: Uuid): string =>
  `${request.virtualMachine.name}-${uid.slice(0, 8)}`;

const requested = (data: { name: string; request: PlacementRequest }, place: EventPlace): Requested => ({
  uid: place.streamId,
  name: data.name,
  request: data.request,
  createdAt: timestamp(place.at),
});

export const evolvePlacement = (state: PlacementState, stored: NewEvent, place: EventPlace): PlacementState => {
  const event = stored as unknown as PlacementEvent;
  switch (event.type) {
    case 'PlacementRequested':
      return { phase: 'pending', ...requested(event.data, place), message: '', explanation: NOT_TRIED };
    case 'PlacementDeferred':
      return state.phase === 'pending' ? { ...state, ...event.data } : state;
    case 'PlacementDecided': {
      const before = event.data.requested ? requested(event.data.requested, place) : state;
      if (!('request' in before)) return state;
      const { uid, name, request, createdAt } = before;
      const { requested: _requested, ...found } = event.data;
      return { phase: 'placed', uid, name, request, createdAt, placedAt: timestamp(place.at), ...found };
    }
    case 'PlacementDevicesChanged':
      return state.phase === 'placed' ? { ...state, devices: event.data.devices } : state;
    case 'PlacementReleased':
      return { phase: 'released' };
  }
};

const placedMessage = (explanation: PlacementExplanation): string => explanation.chosenBy ?? '';

const scheduled = (state: PendingPlacement | PlacedPlacement): Condition =>
  state.phase === 'placed'
    ? {
        type: 'Scheduled',
        status: 'True',
        reason: 'Placed',
        message: placedMessage(state.explanation),
        lastTransitionTime: state.placedAt,
      }
    : {
        type: 'Scheduled',
        status: 'False',
        reason: 'NoHostFits',
        message: state.message,
        lastTransitionTime: state.createdAt,
      };

export const placementResource = (state: PlacementState): JsonObject | null => {
  if (state.phase === 'absent' || state.phase === 'released') return null;
  const { name, uid, namespace } = state.request.virtualMachine;
  const placed = state.phase === 'placed';
  return {
    apiVersion: apiVersionOf(placementKind),
    kind: placementKind.kind,
    metadata: {
      name: state.name,
      namespace,
      uid: state.uid,
      generation: 1,
      creationTimestamp: state.createdAt,
      // Not blocking: a placement outlives its machine's domain, and compute releases it then.
      ownerReferences: [
        {
          apiVersion: apiVersionOf(virtualMachineKind),
          kind: virtualMachineKind.kind,
          name,
          uid,
          controller: true,
          blockOwnerDeletion: false,
        },
      ],
    },
    spec: { request: state.request as unknown as JsonObject },
    status: {
      phase: placed ? 'Placed' : 'Pending',
      ...(placed ? { host: state.host, hostUid: state.hostUid } : {}),
      ...(placed && state.numa ? { numaNode: state.numa.node } : {}),
      ...(placed && state.devices ? { devices: state.devices as unknown as JsonObject[] } : {}),
      message: placed ? placedMessage(state.explanation) : state.message,
      explanation: state.explanation as unknown as JsonObject,
      conditions: [scheduled(state)],
    },
  };
};
