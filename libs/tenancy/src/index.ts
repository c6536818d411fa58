export { CollectorIndex, type Collectable } from './collector.index.js';
export { collector } from './collector.process.js';
export { NAMESPACE_CATEGORY, NAMESPACE_FINALIZER, namespaceAggregate, type NamespaceState } from './namespace.js';
export { describeTenancyEvent, ensureDefaultNamespaces, tenancyService } from './tenancy.service.js';
