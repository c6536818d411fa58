export { totalPages } from './balloon-motion.js';
export * from './cpu-set.js';
export * from './domain-info.js';
export { DEFAULT_WEIGHT, Domains, type DestroyProgress, type DomainSettings } from './domains.js';
export {
  EVENT_CHANNEL_STATUS,
  type EventChannel,
  type EventChannelStatus,
  type EventChannelsState,
} from './event-channel-state.js';
export { EventChannels, type EventChannelView } from './event-channels.js';
export { NR_VIRQS, VIRQ } from './event-ports.js';
export {
  GRANT_STATUS,
  type GrantError,
  type GrantStatus,
  type GrantStatusName,
  type GrantUse,
} from './grant-entries.js';
export {
  CONSOLE_GRANT,
  XENSTORE_GRANT,
  type GrantEntry,
  type GrantMapping,
  type GrantTableState,
} from './grant-state.js';
export { GrantTables, type CopyEnd, type GrantOutcome } from './grant-tables.js';
export * from './hypervisor.js';
export { SHUTDOWN, type ShutdownEffect, type ShutdownReason } from './lifecycle.js';
export * from './limits.js';
export { DEFAULT_BALLOON_RATE, Memory, type BalloonTarget, type PopulateRequest } from './memory.js';
export { PageSharing, type SharingCounts } from './page-sharing.js';
export {
  type BalloonState,
  type DomainState,
  type HypervisorState,
  type MachineEffect,
  type NodeState,
  type SchedulerName,
  type SharedFrames,
  type Upcall,
  type VcpuState,
  type WatchdogState,
} from './state.js';
export { type CpuTopology, type HostCapabilities } from './topology.js';
export { Vcpus, type Affinity } from './vcpus.js';
export { Watchdogs } from './watchdogs.js';
