import { changeData, deleteData, namespaceEvents, namespaceKind, PROTECTED_NAMESPACES } from '@xenolith/contracts';
import type { ServiceDefinition } from '@xenolith/engine';
import { uuidFrom, type CommandMessage, type NewEvent } from '@xenolith/kernel';
import { Collector } from './collector.js';
import { CollectorIndex } from './collector.index.js';
import { NAMESPACE_CATEGORY, namespaceAggregate } from './namespace.js';

/** Namespaces, and the collection of what they and other owners leave behind. It runs inside the gateway. */
export const tenancyService = (): ServiceDefinition => {
  const index = new CollectorIndex();
  const category = NAMESPACE_CATEGORY;
  return {
    name: 'gateway',
    kinds: [namespaceKind],
    aggregates: [namespaceAggregate],
    routes: [
      { type: 'ChangeNamespace', category, schema: changeData },
      { type: 'DeleteNamespace', category, schema: deleteData },
    ],
    indexes: [index],
    processes: [],
    reactions: [new Collector(index).reaction()],
    eventSchemas: { ...namespaceEvents },
  };
};

/** Commands that make the platform's own namespaces. Their ids never change, so that sending them at each start makes them once. */
export const ensureDefaultNamespaces = (now: number): readonly CommandMessage[] =>
  PROTECTED_NAMESPACES.map((name) => {
    const commandId = uuidFrom('ensure-namespace', name);
    return {
      commandId,
      type: 'ChangeNamespace',
      streamId: uuidFrom('namespace', name),
      data: {
        intent: 'create',
        metadata: {
          name,
          labels: {},
          annotations: {},
          finalizers: [],
          ownerReferences: [],
          managedFields: [],
        },
        spec: { finalizers: [] },
      },
      actor: 'system:gateway',
      correlationId: commandId,
      causationId: commandId,
      at: now,
    };
  });

/** An event in the words of Kubernetes' Events. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

/** What people read of a tenancy event; null for those that tell them nothing. */
export const describeTenancyEvent = (event: NewEvent): EventDescription | null => {
  switch (event.type) {
    case 'NamespaceCreated':
      return { reason: 'Created', message: 'the namespace is active', type: 'Normal' };
    case 'NamespaceDeletionRequested':
      return { reason: 'Terminating', message: 'everything in the namespace is being deleted', type: 'Normal' };
    default:
      return null;
  }
};
