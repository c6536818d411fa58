import { MemoryConnection } from './memory-connection.js';
import { MemoryStore } from './memory-store.js';

/**
 * The event log in memory, with the semantics of the one in Postgres. Processes reach it through connections, which can be killed as a process can: what
 * a killed connection had asked for may have happened or not, and it never learns.
 */
export class MemoryEventLog extends MemoryStore {
  connect(): MemoryConnection {
    return new MemoryConnection(this);
  }
}
