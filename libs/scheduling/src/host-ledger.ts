import {
  changeHostReservationData,
  eventOf,
  releaseHostCapacityData,
  reserveHostCapacityData,
  type AntiAffineMachine,
  type HostCapacity,
  type HostLedgerEvent,
  type ReserveHostCapacityData,
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
import { freeOfNode } from './node-memory.js';
import { areFar } from './placement-keys.js';

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
      readonly reservations: readonly Reservation[];
    };

/** What one placement has of the host. */
export interface Reservation {
  readonly placement: Uuid;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly virtualMachine: Uuid;
  readonly numaNode?: number | undefined;
  readonly resources?: Readonly<Record<string, number>> | undefined;
  readonly machine?: AntiAffineMachine | undefined;
}

export const HOST_LEDGER_CATEGORY = 'hostledger';

/** A ledger's stream never ends and grows with each placement; a snapshot bounds what a restart reads of it. */
const SNAPSHOT_EVERY = 200;

/** As many as the largest fleet that is planned for has hosts: 10 MB of them. */
const KNOWN_IDS = 50_000;
const knownIds = new Map<Uuid, Uuid>();

/** Hashed once for each host: it is asked for with every placement. */
export const hostLedgerId = (hostUid: Uuid): Uuid => {
  const known = knownIds.get(hostUid);
  if (known !== undefined) return known;
  const id = uuidFrom('hostledger', hostUid);
  if (knownIds.size >= KNOWN_IDS) knownIds.clear();
  knownIds.set(hostUid, id);
  return id;
};

interface Used {
  readonly memoryBytes: number;
  readonly vcpus: number;
  /**
   * A list, though each is looked for by its placement: every scheduler makes a new state for every placement, and a list is copied as fast as
   * memory is, where an object of so many names of its own takes a shape of its own each time.
   */
  readonly reservations: readonly Reservation[];
}

const EMPTY: Used = {
  memoryBytes: 0,
  vcpus: 0,
  reservations: [],
};

type Asked = Omit<ReserveHostCapacityData, 'host' | 'hostUid' | 'capacity'>;

const full = (host: string, free: string, asked: string): Result<never> =>
  reject('host_ledger_full', `host ${host} has ${free} left, ${asked} were asked`);

const freeOn = (
  numaNode: number,
  { numaNodes = [] }: HostCapacity,
  { memoryBytes, reservations }: Used,
): { readonly memoryBytes: number; readonly vcpus: number } => {
  const rooms = numaNodes.map((node) => node.memoryBytes);
  let [spread, vcpus] = [memoryBytes, numaNodes[numaNode]?.vcpus ?? 0];
  for (const reservation of reservations) {
    if (reservation.numaNode === undefined) continue;
    rooms[reservation.numaNode] = (rooms[reservation.numaNode] ?? 0) - reservation.memoryBytes;
    spread -= reservation.memoryBytes;
    if (reservation.numaNode === numaNode) vcpus -= reservation.vcpus;
  }
  return { memoryBytes: freeOfNode(rooms, Math.max(1, numaNodes.length), numaNode, spread), vcpus };
};

/** What is asked beside the memory and vCPUs of the host as a whole; null: nothing is in the way. */
const refusedBeside = (host: string, capacity: HostCapacity, used: Used, asked: Asked): Result<never> | null => {
  const { numaNode, resources = {}, machine } = asked;
  const there = used.reservations;
  if (numaNode !== undefined) {
    const { memoryBytes, vcpus } = freeOn(numaNode, capacity, used);
    if (asked.memoryBytes > memoryBytes || asked.vcpus > vcpus) {
      const free = `${approximateBytes(memoryBytes)} and ${vcpus} vCPUs on NUMA node ${numaNode}`;
      return full(host, free, `${approximateBytes(asked.memoryBytes)} and ${asked.vcpus} vCPUs`);
    }
  }
  for (const [name, count] of Object.entries(resources)) {
    const total = capacity.resources?.[name] ?? 0;
    const free = there.reduce((left, reservation) => left - (reservation.resources?.[name] ?? 0), total);
    if (count > free) return full(host, `${free} ${name}`, String(count));
  }
  const far = there.find(
    (other) =>
      machine && other.machine && other.virtualMachine !== asked.virtualMachine && areFar(machine, other.machine),
  );
  if (!far) return null;
  return reject(
    'host_ledger_affinity',
    `host ${host} runs virtual machine ${far.virtualMachine}, which is to be far from ${asked.virtualMachine}`,
  );
};

const reserve = (command: Command, state: HostLedgerState): Result<readonly NewEvent[]> => {
  const { host, hostUid, capacity: told, ...reservation } = reserveHostCapacityData.parse(command.data);
  const used = state.phase === 'declared' ? state : EMPTY;
  const { whole: capacity, events } = declared({ host, hostUid, capacity: told }, state);
  const free = { memoryBytes: capacity.memoryBytes - used.memoryBytes, vcpus: capacity.vcpus - used.vcpus };
  if (reservation.memoryBytes > free.memoryBytes || reservation.vcpus > free.vcpus)
    return reject(
      'host_ledger_full',
      `host ${host} has ${approximateBytes(free.memoryBytes)} and ${free.vcpus} vCPUs left, ${approximateBytes(reservation.memoryBytes)} and ${reservation.vcpus} vCPUs were asked`,
    );
  const beside = refusedBeside(host, capacity, used, reservation);
  return beside ?? ok([...events, eventOf('HostCapacityReserved', reservation)]);
};

/** What there is of the host, as the ledger knows it with what a sender tells; and the event that says so, if that is news. */
const declared = (
  { host, hostUid, capacity: told }: Pick<ReserveHostCapacityData, 'host' | 'hostUid' | 'capacity'>,
  state: HostLedgerState,
): { readonly whole: HostCapacity; readonly events: readonly NewEvent[] } => {
  // A sender that looked at an older state of the host than the ledger knows does not turn it back.
  const news = state.phase === 'undeclared' || told.revision >= state.capacity.revision;
  // Senders tell of NUMA nodes and counted things to those who ask for them only.
  const whole = state.phase === 'undeclared' ? told : { ...state.capacity, ...(news ? told : state.capacity) };
  const known = state.phase === 'declared' && sameJson({ ...state.capacity, revision: 0 }, { ...whole, revision: 0 });
  return { whole, events: known ? [] : [eventOf('HostCapacityDeclared', { host, hostUid, capacity: whole })] };
};

const reservationOf = ({ reservations }: Used, placement: Uuid): Reservation | undefined =>
  reservations.find((reservation) => reservation.placement === placement);

/** A placement that is gone has nothing to change. */
const changeReservation = (command: Command, state: HostLedgerState): Result<readonly NewEvent[]> => {
  const { placement, resources, ...sender } = changeHostReservationData.parse(command.data);
  const own = state.phase === 'declared' ? reservationOf(state, placement) : undefined;
  if (state.phase === 'undeclared' || own === undefined) return ok([]);
  const { whole, events } = declared(sender, state);
  const reservations = state.reservations.filter((reservation) => reservation !== own);
  const asked = { placement, virtualMachine: own.virtualMachine, vcpus: 0, memoryBytes: 0, resources };
  const beside = refusedBeside(sender.host, whole, { ...state, reservations }, asked);
  return beside ?? ok([...events, eventOf('HostReservationChanged', { placement, resources })]);
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
    case 'ChangeHostReservation':
      return changeReservation(command, state);
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
    case 'HostCapacityReserved':
      return {
        ...state,
        memoryBytes: state.memoryBytes + event.data.memoryBytes,
        vcpus: state.vcpus + event.data.vcpus,
        reservations: [...state.reservations, event.data],
      };
    case 'HostReservationChanged': {
      const { placement, resources } = event.data;
      const reservations = state.reservations.map((reservation) =>
        reservation.placement === placement ? { ...reservation, resources } : reservation,
      );
      return { ...state, reservations };
    }
    case 'HostCapacityReleased': {
      const released = reservationOf(state, event.data.placement);
      return {
        ...state,
        memoryBytes: state.memoryBytes - (released?.memoryBytes ?? 0),
        vcpus: state.vcpus - (released?.vcpus ?? 0),
        reservations: state.reservations.filter((reservation) => reservation !== released),
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
  stateVersion: 3,
  snapshotEvery: SNAPSHOT_EVERY,
};
