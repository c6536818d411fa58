import {
  commandSubject,
  FOREGROUND_FINALIZER,
  namespaceKind,
  operationKind,
  ORPHAN_FINALIZER,
  type OperationPhase,
} from '@xenolith/contracts';
import type { Dispatch, Reaction } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type LoggedEvent } from '@xenolith/kernel';
import { COLLECTOR_FINALIZERS, type Collectable, type CollectorIndex } from './collector.index.js';

/** Deciding a deletion is one append; longer means that the owning service is not there, and the event is shown again. */
const COLLECT_TIMEOUT_MS = 10_000;

const UNDER_WAY: readonly (OperationPhase | undefined)[] = ['Running', 'Compensating', 'NeedsOperator'];

const command = (event: LoggedEvent, target: Collectable, verb: 'Delete' | 'Release', data: JsonObject): Dispatch => {
  const type = `${verb}${target.kind.kind}`;
  return {
    key: `${type}/${target.uid}`,
    commandId: uuidFrom(event.eventId, type, target.uid),
    subject: commandSubject(target.kind.service, type),
    type,
    streamId: target.uid,
    data,
    timeoutMs: COLLECT_TIMEOUT_MS,
  };
};

/** An operation under way is never collected: it would be cancelled, and what it tears down would stay. Its end brings another event. */
const mayGo = (object: Collectable): boolean =>
  !object.deleting &&
  !(object.kind.kind === operationKind.kind && UNDER_WAY.includes(object.phase as OperationPhase | undefined));

const remove = (event: LoggedEvent, targets: readonly Collectable[], propagationPolicy: string): Dispatch[] =>
  targets.filter(mayGo).map((target) => command(event, target, 'Delete', { propagationPolicy }));

/** An object whose owners are all gone goes too. */
const abandoned = (index: CollectorIndex, object: Collectable): boolean =>
  object.owners.length > 0 && object.owners.every((owner) => index.object(owner) === undefined);

/** What follows for a living object that changed, and for what hangs on it. */
const fate = (index: CollectorIndex, event: LoggedEvent, object: Collectable): Dispatch[] => {
  const terminating = index.namespace(object.namespace)?.deleting === true;
  const going = abandoned(index, object) || terminating ? remove(event, [object], 'Background') : [];
  if (!object.deleting) return going;
  if (object.kind === namespaceKind)
    return [...remove(event, index.residentsOf(object.name), 'Background'), ...released(index, event)];
  const dependents = index.dependentsOf(object.uid);
  if (object.finalizers.includes(ORPHAN_FINALIZER)) {
    return [
      ...dependents.map((dependent) => command(event, dependent, 'Release', { owner: object.uid })),
      ...released(index, event),
    ];
  }
  if (object.finalizers.includes(FOREGROUND_FINALIZER)) {
    return [...remove(event, dependents, 'Foreground'), ...released(index, event)];
  }
  return [];
};

/** Objects whose last owner the event took away. */
const left = (index: CollectorIndex, event: LoggedEvent): readonly Collectable[] =>
  index.dependentsOf(event.streamId).filter((dependent) => abandoned(index, dependent));

/** Objects on their way out whose last dependent or resident is gone by now. */
const released = (index: CollectorIndex, event: LoggedEvent): Dispatch[] =>
  index.waiting().flatMap((object) => {
    const empty = object.kind === namespaceKind ? index.residentsOf(object.name) : index.dependentsOf(object.uid);
    if (empty.length > 0) return [];
    return COLLECTOR_FINALIZERS.filter((finalizer) => object.finalizers.includes(finalizer)).map((finalizer) =>
      command(event, object, 'Release', { finalizer }),
    );
  });

/**
 * Garbage collection by owner references, as Kubernetes does it (background, foreground, orphan), and the emptying of namespaces. It reads the index,
 * which is at least as new as the event, so that a repeated or late event asks for nothing wrong: every command is one that the present calls for.
 */
export const collector = (index: CollectorIndex): Reaction => ({
  name: 'collector',
  on: 'every',
  react: (event) => {
    if (event.document === undefined) return [];
    const object = index.object(event.streamId);
    const all = object
      ? fate(index, event, object)
      : [...remove(event, left(index, event), 'Background'), ...released(index, event)];
    return [...new Map(all.map((dispatch) => [dispatch.key, dispatch])).values()];
  },
});
