export { EventStoreFault } from './append-batcher.js';
export { exportLog, type LogChunk, type LogState } from './backup/export-log.js';
export { importLog } from './backup/import-log.js';
export type { DocumentShapes } from './append-batch.js';
export type { DocumentChange, DocumentChangesQuery, DocumentVersion } from './document-history.js';
export { readBacklog, type LogBacklog } from './backlog.js';
export { PastBehind } from './log-past.js';
export { isOutage } from './outage.js';
export { openEventStore, type EventStore, type EventStoreOptions } from './event-store.js';
export { migrateEventStore } from './migrations.js';
export { ensureServiceRoles, type ServiceRole } from './roles.js';
export { readSchemaState, requireSchema, SchemaMismatch, type SchemaState } from './schema-check.js';
export { SCHEMA_REVISION } from './schema-hash.js';
export { runSequencer, type Sequencer, type SequencerOptions, type SequencerState } from './sequencer.js';
export { checkpointIn, LeaseLost } from './checkpoints.js';
export {
  openLogFeed,
  type LeasedFollower,
  type LogFeedOptions,
  type RunnerLease,
  type StoreLogFeed,
} from './log-feed.js';
export type { SqlRunner } from './connection.js';
export { SimulatedCrash, type Failpoint, type Report } from './reporting.js';
export { rebuildDocuments, type DocumentFold } from './document-rebuild.js';
export { runTimers, type TimersOptions } from './timers.js';
export { activateView, activeViewSchema, dropView, runView, type ViewDefinition } from './views.js';
export { verifyLog, type ChainAnchor, type LogVerdict, type VerifyOptions } from './verify-log.js';
export {
  archiveLog,
  ArchiveRefused,
  type ArchiveOptions,
  type ArchiveProgress,
  type ArchiveResult,
  type ArchiveStep,
} from './archive/archive-log.js';
export { ArchiveDamaged } from './archive/archive-format.js';
export { ArchiveUnavailable, type ArchiveStore } from './archive/archive-store.js';
export { lookAtArchive, type ArchiveState } from './archive/look-at-archive.js';
export { openArchiveStore } from './archive/open-archive-store.js';
export { openTimeline, type Timeline, type TimelineBound, type TimelineEntry } from './timeline.js';
