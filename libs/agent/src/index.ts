export { Agent, type AgentOptions, type AgentPorts } from './agent.js';
export type { DirectToolCall } from './direct-tools.js';
export { profiledHosts } from './host-making.js';
export { hostUid, type MadeHost, type TextPacker } from './fleet.js';
export type { HostInspection } from './inspection.js';
export { journalEntry, MemoryJournal, type Journal, type JournalEntry } from './journal.js';
export type { AgentObserver } from './observer.js';
