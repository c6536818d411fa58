import type { ServiceDefinition } from '@xenolith/engine';
import type { Uuid } from '@xenolith/kernel';
import type { MemoryEventLog } from '@xenolith/testing';
import type { Sent } from './users.js';

/** What really runs on a host, whatever the log believes. */
export interface HostTruth {
  readonly name: string;
  /** It has no power. */
  readonly off: boolean;
  readonly allocatableBytes: number;
  readonly domains: readonly {
    readonly virtualMachine: Uuid;
    readonly incarnation: number;
    readonly domid: number;
    readonly state: 'running' | 'paused' | 'shutdown';
    readonly memoryBytes: number;
    /** It takes no step: its guest is suspended, or moves away. */
    readonly standsStill: boolean;
  }[];
}

/** All that can be looked at from outside. */
export interface Evidence {
  readonly log: MemoryEventLog;
  readonly hosts: () => readonly HostTruth[];
  readonly sent: readonly Sent[];
  /** Definitions whose aggregates fold the log once more. */
  readonly definitions: () => readonly ServiceDefinition[];
  /** Definitions that run, with the indexes that they keep, each beside one that has seen nothing yet. */
  readonly running: () => readonly { readonly live: ServiceDefinition; readonly fresh: ServiceDefinition }[];
  /** Said since the last look. */
  readonly defects: string[];
}
