export { Agent, hostNames, type AgentOptions, type AgentPorts, type HostInspection } from './agent.js';
export { hostUid, type TextPacker } from './fleet.js';
export { journalEntry, MemoryJournal, type Journal, type JournalEntry } from './journal.js';
export type { AgentObserver } from './observer.js';
