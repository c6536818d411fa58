import type { HostLedgerEvent, PlacementEvent } from '@xenolith/contracts';
import type { NewEvent } from '@xenolith/kernel';

/** An event in the words of Kubernetes' Events. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

/** What people read of a scheduling event; null for those that tell them nothing. */
export const describeSchedulingEvent = (stored: NewEvent): EventDescription | null => {
  const event = stored as unknown as PlacementEvent | HostLedgerEvent;
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
    case 'PlacementRequested':
    case 'HostCapacityDeclared':
    case 'HostCapacityReserved':
    case 'HostCapacityReleased':
      return null;
    default:
      // An event of another service.
      return null;
  }
};
