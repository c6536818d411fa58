import {
  clusterCommands,
  clusterKind,
  decideObject,
  eventOf,
  evolveObject,
  invalid,
  notFound,
  objectConsequences,
  objectResource,
  type ClusterAvailability,
  type ClusterEvent,
  type ClusterSpec,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  sameJson,
  type Aggregate,
  type Command,
  type EventPlace,
  type FieldCause,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { trusted } from './trusted.js';

export interface ClusterOwn {
  readonly hosts: number;
  readonly readyHosts: number;
  readonly parkedHosts?: number;
  readonly highAvailability?: ClusterAvailability;
}

export type ClusterState = ObjectState<ClusterSpec, ClusterOwn>;

/** Machines that are spread over all hosts leave none that could be parked. */
const contradictions = ({ powerManagement, rebalancing }: ClusterSpec): readonly FieldCause[] => {
  const mode = powerManagement?.mode ?? 'Off';
  if (mode === 'Off' || rebalancing?.mode !== 'balance') return [];
  const message = `can't be balance where power management is ${mode}: one would spread machines over the hosts that the other empties`;
  return [{ field: 'spec.rebalancing.mode', reason: 'FieldValueInvalid', message }];
};

const clusterRules: ObjectRules<ClusterSpec, ClusterOwn> = {
  kind: clusterKind,
  initialOwn: () => ({ hosts: 0, readyHosts: 0 }),
  checkCreate: contradictions,
  onSpecChange: (cluster, wished) => {
    const causes = contradictions(wished);
    if (causes.length > 0) return invalid(clusterKind, cluster.meta, causes);
    return ok([eventOf('ClusterSpecChanged', { spec: wished })]);
  },
  onDeletion: (cluster) =>
    cluster.own.hosts === 0
      ? ok([])
      : reject(
          'object_in_use',
          `cluster "${cluster.meta.name}" has ${cluster.own.hosts} hosts; move them to another cluster or delete them first`,
        ),
  status: (cluster) => ({ ...cluster.own }),
};

const decide = (command: Command, state: ClusterState): Result<readonly NewEvent[]> => {
  const shared = decideObject(clusterRules, command, state);
  if (shared !== null) return shared;
  switch (command.type) {
    case 'RecordClusterHosts': {
      if (state.phase !== 'present') return notFound(clusterKind, command.streamId);
      const counts = trusted(clusterCommands.RecordClusterHosts, command);
      const { hosts, readyHosts, parkedHosts = 0 } = state.own;
      const same = sameJson(counts, { hosts, readyHosts, parkedHosts });
      return ok(same ? [] : [eventOf('ClusterHostsCounted', counts)]);
    }
    case 'RecordClusterAvailability': {
      if (state.phase !== 'present') return notFound(clusterKind, command.streamId);
      const assessed = trusted(clusterCommands.RecordClusterAvailability, command);
      const same = sameJson(assessed, state.own.highAvailability);
      return ok(same ? [] : [eventOf('ClusterAvailabilityAssessed', assessed)]);
    }
    default:
      return reject('command_unknown', `clusters know no command ${command.type}`);
  }
};

const evolve = (state: ClusterState, event: NewEvent, place: EventPlace): ClusterState => {
  const shared = evolveObject(clusterRules, state, event, place);
  if (shared !== null || state.phase === 'absent') return shared ?? state;
  const { type, data } = event as ClusterEvent;
  if (type === 'ClusterHostsCounted') return { ...state, own: { ...state.own, ...data } };
  if (type === 'ClusterAvailabilityAssessed') return { ...state, own: { ...state.own, highAvailability: data } };
  return state;
};

export const clusterAggregate: Aggregate<ClusterState> = {
  category: 'cluster',
  initial: { phase: 'absent' },
  decide,
  evolve,
  toResource: (state) => objectResource(clusterRules, state),
  consequences: (event, before, command) => objectConsequences(clusterRules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
  snapshotEvery: 100,
};
