import {
  evolveObject,
  objectConsequences,
  objectResource,
  timestamp,
  type Condition,
  type HostEvent,
} from '@xenolith/contracts';
import type { Aggregate, EventPlace, NewEvent } from '@xenolith/kernel';
import { decideHost } from './host.decide.js';
import { hostRules } from './host.rules.js';
import { sameRun, type HostOwn, type HostState, type RunOfMachine, type StrayDomain } from './host.state.js';

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

const evolveOwn = (own: HostOwn, event: HostEvent, place: EventPlace): HostOwn => {
  switch (event.type) {
    case 'HostRegistered':
      return { ...own, registration: event.data };
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
  if (shared !== null) return shared;
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
  stateVersion: 1,
  snapshotEvery: 100,
};
