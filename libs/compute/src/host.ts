import {
  evolveObject,
  objectConsequences,
  objectResource,
  timestamp,
  type Condition,
  type HostEvent,
} from '@xenolith/contracts';
import { sameJson, uuidFrom, type Aggregate, type EventPlace, type NewEvent } from '@xenolith/kernel';
import { decideHost } from './host.decide.js';
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
  const wished = state.spec.maintenance === true;
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

const evolveOwn = (own: HostOwn, event: HostEvent, place: EventPlace): HostOwn => {
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
  consequences: (event, before, command) => objectConsequences(hostRules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 3,
  snapshotEvery: 100,
};
