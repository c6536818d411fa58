import {
  changeData,
  deleteData,
  namespaceEvents,
  namespaceKind,
  RBAC_KINDS,
  rbacEvents,
  resourceQuotaEvents,
  resourceQuotaKind,
} from '@xenolith/contracts';
import type { ServiceDefinition } from '@xenolith/engine';
import type { NewEvent } from '@xenolith/kernel';
import { rbacAggregates, rbacRoutes } from './access/roles.js';
import { QuotaIndex } from './quota/quota.index.js';
import { QuotaKeeper } from './quota/quota.reaction.js';
import { resourceQuotaAggregate, resourceQuotaRoutes } from './quota/resource-quota.js';
import { Collector } from './collector.js';
import { CollectorIndex } from './collector.index.js';
import { NAMESPACE_CATEGORY, namespaceAggregate } from './namespace.js';

/** Namespaces, roles and bindings, quotas, and the collection of what they and other owners leave behind. It runs inside the gateway. */
export const tenancyService = (): ServiceDefinition => {
  const index = new CollectorIndex();
  const quotas = new QuotaIndex();
  const category = NAMESPACE_CATEGORY;
  return {
    name: 'gateway',
    kinds: [namespaceKind, ...RBAC_KINDS, resourceQuotaKind],
    aggregates: [namespaceAggregate, ...rbacAggregates, resourceQuotaAggregate],
    routes: [
      { type: 'ChangeNamespace', category, schema: changeData },
      { type: 'DeleteNamespace', category, schema: deleteData },
      ...rbacRoutes,
      ...resourceQuotaRoutes,
    ],
    indexes: [index, quotas],
    processes: [],
    reactions: [new Collector(index).reaction(), new QuotaKeeper(quotas).reaction()],
    eventSchemas: { ...namespaceEvents, ...rbacEvents, ...resourceQuotaEvents },
  };
};

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
