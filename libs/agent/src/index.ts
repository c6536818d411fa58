export { Agent, hostNames, type AgentOptions, type AgentPorts } from './agent.js';
export { hostUid, type TextPacker } from './fleet.js';
export type { HostInspection } from './inspection.js';
export { journalEntry, MemoryJournal, type Journal, type JournalEntry } from './journal.js';
export type { AgentObserver } from './observer.js';
