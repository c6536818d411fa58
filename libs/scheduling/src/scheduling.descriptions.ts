import type { HostLedgerEvent, PlacementEvent, RebalancePlanEvent } from '@xenolith/contracts';
import type { NewEvent } from '@xenolith/kernel';
import { cantMove, counted } from './rebalance-plan.js';

/** An event in the words of Kubernetes' Events. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

/** What people read of a scheduling event; null for those that tell them nothing. */
export const describeSchedulingEvent = (stored: NewEvent): EventDescription | null => {
  const event = stored as unknown as PlacementEvent | HostLedgerEvent | RebalancePlanEvent;
  switch (event.type) {
    case 'PlacementDeferred':
      return { reason: 'FailedScheduling', message: event.data.message, type: 'Warning' };
    case 'PlacementDecided': {
      const how = event.data.explanation.chosenBy;
      return {
        reason: 'Scheduled',
        message: `placed on host ${event.data.host}${how === undefined ? '' : ` (${how})`}`,
        type: 'Normal',
      };
    }
    case 'PlacementReleased':
      return {
        reason: 'Released',
        message: `capacity given back${event.data.reason === '' ? '' : `: ${event.data.reason}`}`,
        type: 'Normal',
      };
    case 'RebalancePlanProposed': {
      const { moves, blocked } = event.data;
      const message = `${counted(moves.length, 'move', 'moves')} proposed${cantMove(blocked)}`;
      return { reason: 'Proposed', message, type: 'Normal' };
    }
    case 'RebalancePlanApproved':
      return { reason: 'Approved', message: `approved by ${event.data.by}`, type: 'Normal' };
    case 'RebalancePlanCancelRequested':
      return { reason: 'Cancelling', message: `${event.data.because}; what has begun ends first`, type: 'Normal' };
    case 'RebalancePlanCompleted':
      return { reason: 'Completed', message: event.data.message, type: 'Normal' };
    case 'RebalancePlanFailed':
      return { reason: 'Failed', message: event.data.message, type: 'Warning' };
    case 'RebalancePlanCancelled':
      return { reason: 'Cancelled', message: event.data.message, type: 'Normal' };
    case 'RebalanceMoveEnded': {
      const { move, outcome, message } = event.data;
      if (outcome === 'Succeeded') return null;
      return { reason: `Move${outcome}`, message: `move ${move + 1}: ${message}`, type: 'Warning' };
    }
    case 'RebalanceMoveStarted':
    case 'RebalancePauseEnded':
    case 'RebalancePlanCreated':
    case 'RebalancePlanMetadataChanged':
    case 'RebalancePlanSpecChanged':
    case 'RebalancePlanDeletionRequested':
    case 'RebalancePlanDeleted':
    case 'PlacementRequested':
    case 'PlacementDevicesChanged':
    case 'HostCapacityDeclared':
    case 'HostCapacityReserved':
    case 'HostCapacityReleased':
    case 'HostReservationChanged':
      return null;
    default:
      // An event of another service.
      return null;
  }
};
