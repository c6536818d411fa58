import {
  evolveObject,
  objectConsequences,
  objectResource,
  timestamp,
  type Condition,
  type HostEvent,
  type HostPowerEvent,
} from '@xenolith/contracts';
import { sameJson, uuidFrom, type Aggregate, type EventPlace, type NewEvent } from '@xenolith/kernel';
import { decideHost } from './host.decide.js';
import { evolvePower, isPowerEvent, powerConsequences } from './host.power.js';
import { hostRules } from './host.rules.js';
import {
  sameRun,
  type HostOwn,
  type HostState,
  type Maintenance,
  type Registration,
  type RunOfMachine,
  type StrayDomain,
} from './host.state.js';

const readyCondition = (status: Condition['status'], reason: string, message: string, at: number): Condition => ({
  type: 'Ready',
  status,
  reason,
  message,
  lastTransitionTime: timestamp(at),
});

/** An inventory is whole: what it does not name any more is no stray any more. */
const straysOf = (own: HostOwn, seen: readonly RunOfMachine[], version: number): readonly StrayDomain[] =>
  seen.map((run) => own.strays.find((known) => sameRun(known, run)) ?? { ...run, phase: 'examining', seen: version });

const progressed = (
  maintenance: Maintenance,
  data: Extract<HostEvent, { type: 'HostEvacuationProgressed' }>['data'],
  place: EventPlace,
): Maintenance => {
  const turned = (maintenance.remaining === 0) !== (data.remaining === 0);
  return { ...maintenance, ...data, ...(turned ? { turnedAt: timestamp(place.at) } : {}) };
};

/** A maintenance begins and ends with the wish for it. */
const asWished = (state: HostState, place: EventPlace): HostState => {
  if (state.phase !== 'present') return state;
  const wished = state.spec.maintenance === true || state.spec.parked === true;
  if (wished === (state.own.maintenance !== null)) return state;
  const now = timestamp(place.at);
  const uid = uuidFrom(place.streamId, 'maintenance', place.version);
  const maintenance = wished ? { uid, since: now, remaining: null, blocked: [], turnedAt: now } : null;
  return { ...state, own: { ...state.own, maintenance } };
};

const lostSince = (own: HostOwn, { lostDaemons }: Registration, place: EventPlace): string | null => {
  if (lostDaemons === undefined) return null;
  const same = sameJson(own.registration?.lostDaemons ?? [], lostDaemons);
  return same && own.lostSince !== null ? own.lostSince : timestamp(place.at);
};

/** What a change of its power says of a host’s readiness: a host that is to be off is not missed. */
const readiness = (own: HostOwn, event: HostPowerEvent, { at }: EventPlace): Condition => {
  switch (event.type) {
    case 'HostShutdownBegun':
      return readyCondition('False', 'ShuttingDown', `it is being powered off: ${own.power.reason}`, at);
    case 'HostPoweredOff':
      return readyCondition('False', 'Parked', `it is powered off: ${own.power.reason}`, at);
    case 'HostWakeBegun':
      return readyCondition('False', 'Starting', `it is being powered on: ${event.data.reason}`, at);
    case 'HostPowerFailed':
      return { ...own.ready, message: event.data.message };
    case 'HostParkingBegun':
    case 'HostParkingEnded':
    case 'HostPoweredOn':
    case 'HostWoken':
      return own.ready;
  }
};

const evolveOwn = (own: HostOwn, event: HostEvent, place: EventPlace): HostOwn => {
  const power = evolvePower(own.power, event, place);
  if (isPowerEvent(event)) return { ...own, power, ready: readiness(own, event, place) };
  return { ...evolveRest(own, event, place), power };
};

const evolveRest = (own: HostOwn, event: Exclude<HostEvent, HostPowerEvent>, place: EventPlace): HostOwn => {
  switch (event.type) {
    case 'HostRegistered':
      return { ...own, registration: event.data, lostSince: lostSince(own, event.data, place) };
    case 'HostBecameReady':
      return { ...own, ready: readyCondition('True', 'AgentReady', 'the agent answers', place.at) };
    case 'HostBecameUnreachable': {
      const since = timestamp(event.data.lastHeartbeatAt);
      const message = `no heartbeat since ${since}; what runs there may still run`;
      return { ...own, ready: readyCondition('Unknown', 'HeartbeatsMissing', message, place.at) };
    }
    case 'HostCrashed':
      return { ...own, strays: [] };
    case 'HostInventoryDiffered':
      return { ...own, strays: straysOf(own, event.data.strays, place.version) };
    case 'HostStrayDomainConfirmed':
      return {
        ...own,
        strays: own.strays.map((known) => (sameRun(known, event.data) ? { ...known, phase: 'destroying' } : known)),
      };
    case 'HostStrayDomainSettled':
      return { ...own, strays: own.strays.filter((known) => !sameRun(known, event.data)) };
    case 'HostEvacuationProgressed':
      return { ...own, maintenance: own.maintenance && progressed(own.maintenance, event.data, place) };
    case 'HostCreated':
    case 'HostMetadataChanged':
    case 'HostSpecChanged':
    case 'HostDeletionRequested':
    case 'HostDeleted':
      return own;
  }
};

const evolve = (state: HostState, event: NewEvent, place: EventPlace): HostState => {
  const shared = evolveObject(hostRules, state, event, place);
  if (shared !== null) return event.type === 'HostSpecChanged' ? asWished(shared, place) : shared;
  return state.phase === 'absent' ? state : { ...state, own: evolveOwn(state.own, event as HostEvent, place) };
};

export const hostAggregate: Aggregate<HostState> = {
  category: 'host',
  initial: { phase: 'absent' },
  decide: decideHost,
  evolve,
  toResource: (state) => objectResource(hostRules, state),
  consequences: (event, before, command) => ({
    ...objectConsequences(hostRules, event, before, command),
    ...powerConsequences(event as HostEvent, before, command),
  }),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 4,
  snapshotEvery: 100,
};
