export * from './paths.js';
export { ANY_DOMAIN, type Access, type Permission } from './permissions.js';
export { DEFAULT_QUOTAS, QUOTA_NAMES, type QuotaName, type Quotas } from './quota.js';
export type { StoreDomains } from './store-domains.js';
export { NO_TRANSACTION, Xenstore, type DirectoryPart } from './xenstore.js';
export { PAYLOAD_MAX, type Answer, type WatchEvent } from './xenstore-answer.js';
export { createXenstore, XENSTORE_FEATURES, type XenstoreState } from './xenstore-state.js';
export { eventMessage, serve, type Served } from './xenstore-requests.js';
export * from './xenstore-wire.js';
