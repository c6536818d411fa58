import {
  eventOf,
  releaseHostCapacityData,
  reserveHostCapacityData,
  type HostCapacity,
  type HostLedgerEvent,
} from '@xenolith/contracts';
import {
  approximateBytes,
  ok,
  reject,
  sameJson,
  uuidFrom,
  type Aggregate,
  type Command,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import type { Demand } from './host-table.js';

/**
 * What is promised of one host. Every placement reserves and releases here in its own append, at this stream's exact version, so nothing is
 * promised twice, however stale the index that chose the host.
 */
export type HostLedgerState =
  | { readonly phase: 'undeclared' }
  | {
      readonly phase: 'declared';
      readonly capacity: HostCapacity;
      readonly memoryBytes: number;
      readonly vcpus: number;
      readonly reservations: Readonly<Record<string, Demand>>;
    };

export const HOST_LEDGER_CATEGORY = 'hostledger';

/** A ledger's stream never ends and grows with each placement; a snapshot bounds what a restart reads of it. */
const SNAPSHOT_EVERY = 200;

export const hostLedgerId = (hostUid: Uuid): Uuid => uuidFrom('hostledger', hostUid);

const EMPTY: Demand & { readonly reservations: Readonly<Record<string, Demand>> } = {
  memoryBytes: 0,
  vcpus: 0,
  reservations: {},
};

const reserve = (command: Command, state: HostLedgerState): Result<readonly NewEvent[]> => {
  const { host, hostUid, capacity: told, ...reservation } = reserveHostCapacityData.parse(command.data);
  const used = state.phase === 'declared' ? state : EMPTY;
  // A sender that looked at an older state of the host than the ledger knows does not turn it back.
  const news = state.phase === 'undeclared' || told.revision >= state.capacity.revision;
  const capacity = news ? told : state.capacity;
  const free = { memoryBytes: capacity.memoryBytes - used.memoryBytes, vcpus: capacity.vcpus - used.vcpus };
  if (reservation.memoryBytes > free.memoryBytes || reservation.vcpus > free.vcpus)
    return reject(
      'host_ledger_full',
      `host ${host} has ${approximateBytes(free.memoryBytes)} and ${free.vcpus} vCPUs left, ${approximateBytes(reservation.memoryBytes)} and ${reservation.vcpus} vCPUs were asked`,
    );
  const known =
    state.phase === 'declared' && sameJson({ ...state.capacity, revision: 0 }, { ...capacity, revision: 0 });
  const declared = eventOf('HostCapacityDeclared', { host, hostUid, capacity });
  return ok([...(known ? [] : [declared]), eventOf('HostCapacityReserved', reservation)]);
};

/**
 * A placement reserves once and releases once: its own stream sees to that. So the event is written without looking whether the reservation is
 * known, and the append at this stream's exact version finds out a state that is behind.
 */
const release = (command: Command): Result<readonly NewEvent[]> =>
  ok([eventOf('HostCapacityReleased', releaseHostCapacityData.parse(command.data))]);

const decide = (command: Command, state: HostLedgerState): Result<readonly NewEvent[]> => {
  switch (command.type) {
    case 'ReserveHostCapacity':
      return reserve(command, state);
    case 'ReleaseHostCapacity':
      return release(command);
    default:
      return reject('command_unknown', `a host ledger knows no command ${command.type}`);
  }
};

const evolve = (state: HostLedgerState, stored: NewEvent): HostLedgerState => {
  const event = stored as unknown as HostLedgerEvent;
  if (event.type === 'HostCapacityDeclared')
    return { ...(state.phase === 'declared' ? state : EMPTY), phase: 'declared', capacity: event.data.capacity };
  if (state.phase === 'undeclared') return state;
  switch (event.type) {
    case 'HostCapacityReserved': {
      const { placement, memoryBytes, vcpus } = event.data;
      return {
        ...state,
        memoryBytes: state.memoryBytes + memoryBytes,
        vcpus: state.vcpus + vcpus,
        reservations: { ...state.reservations, [placement]: { memoryBytes, vcpus } },
      };
    }
    case 'HostCapacityReleased': {
      const { [event.data.placement]: released, ...reservations } = state.reservations;
      return {
        ...state,
        memoryBytes: state.memoryBytes - (released?.memoryBytes ?? 0),
        vcpus: state.vcpus - (released?.vcpus ?? 0),
        reservations,
      };
    }
  }
};

export const hostLedgerAggregate: Aggregate<HostLedgerState> = {
  category: HOST_LEDGER_CATEGORY,
  initial: { phase: 'undeclared' },
  decide,
  evolve,
  toResource: () => null,
  stateVersion: 1,
  snapshotEvery: SNAPSHOT_EVERY,
};
