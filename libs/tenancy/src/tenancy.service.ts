import {
  changeData,
  deleteData,
  namespaceEvents,
  namespaceKind,
  PROTECTED_NAMESPACES,
  type ChangeData,
} from '@xenolith/contracts';
import type { ServiceDefinition } from '@xenolith/engine';
import { uuidFrom, type CommandMessage, type JsonObject, type NewEvent } from '@xenolith/kernel';
import { CollectorIndex } from './collector.index.js';
import { collector } from './collector.process.js';
import { NAMESPACE_CATEGORY, namespaceAggregate } from './namespace.js';

/** What the gateway owns of the log. */
export const tenancyService = (): ServiceDefinition => {
  const index = new CollectorIndex();
  return {
    name: 'gateway',
    kinds: [namespaceKind],
    aggregates: [namespaceAggregate],
    routes: [
      { type: 'ChangeNamespace', category: NAMESPACE_CATEGORY, schema: changeData },
      { type: 'DeleteNamespace', category: NAMESPACE_CATEGORY, schema: deleteData },
    ],
    indexes: [index],
    processes: [],
    reactions: [collector(index)],
    eventSchemas: namespaceEvents,
  };
};

/** Commands that make the namespaces which are always there. Their ids are fixed: sent at every start, they take effect once. */
export const ensureDefaultNamespaces = (at: number): readonly CommandMessage[] =>
  PROTECTED_NAMESPACES.map((name) => {
    const commandId = uuidFrom('ensure-namespace', name);
    const data: ChangeData = {
      intent: 'create',
      metadata: { name, labels: {}, annotations: {}, finalizers: [], ownerReferences: [], managedFields: [] },
      spec: { finalizers: [] },
    };
    return {
      commandId,
      type: 'ChangeNamespace',
      streamId: uuidFrom('namespace', name),
      data: data as unknown as JsonObject,
      actor: 'system:gateway',
      correlationId: commandId,
      causationId: commandId,
      at,
    };
  });

/** What an event of a namespace says as a Kubernetes Event; null: nothing that people need to hear. */
export const describeTenancyEvent = (
  event: NewEvent,
): { readonly reason: string; readonly message: string; readonly type: 'Normal' | 'Warning' } | null => {
  switch (event.type) {
    case 'NamespaceCreated':
      return { reason: 'Created', message: 'the namespace is active', type: 'Normal' };
    case 'NamespaceDeletionRequested':
      return { reason: 'Terminating', message: 'everything in the namespace is being deleted', type: 'Normal' };
    default:
      return null;
  }
};
