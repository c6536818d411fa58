import type { Uuid } from './ids.js';
import type { JsonObject } from './json.js';

/** What is known of an event's origin; stored with it. */
export interface EventMetadata {
  readonly commandId: Uuid;
  /** What the command was, such as `ChangeVirtualMachine`. Absent in events of older releases. */
  readonly command?: string;
  /** The first command of the chain that led here. */
  readonly correlationId: Uuid;
  /** The command or event that led directly here. */
  readonly causationId: Uuid;
  /** The position of the event that led directly here, where it was one. Absent in events of older releases. */
  readonly causePosition?: number;
  readonly actor: string;
  readonly sourceAddress?: string;
  /** W3C Trace Context. */
  readonly traceparent?: string;
  /** Milliseconds since the epoch: the command's time. */
  readonly at: number;
}

export interface NewEvent<Type extends string = string, Data = JsonObject> {
  readonly type: Type;
  readonly schemaVersion: number;
  readonly data: Data;
}

/** An event as its stream holds it. Versions of a stream start at 1 and have no gaps. */
export interface StoredEvent extends NewEvent {
  /** uuidFrom(commandId, streamId, index). */
  readonly eventId: Uuid;
  readonly streamId: Uuid;
  readonly category: string;
  readonly version: number;
  readonly metadata: EventMetadata;
}

/**
 * An event with its place in the log. Positions start at 1 and have no gaps. The last event of each stream write carries the document that
 * the write left: `null` is a tombstone, `undefined` means that this event is not the last of its write or that its stream shows no document.
 */
export interface LoggedEvent extends StoredEvent {
  readonly position: number;
  readonly document?: JsonObject | null;
}

/** `exact` states the version the stream must have; `no_stream` that it must not exist yet; `any` states nothing. */
export type ExpectedVersion = 'any' | 'no_stream' | { readonly exact: number };

export interface StreamWrite {
  readonly streamId: Uuid;
  readonly category: string;
  readonly expected: ExpectedVersion;
  /** At least one. */
  readonly events: readonly NewEvent[];
  /** The document after these events; null for a tombstone or a stream that shows none. */
  readonly document: JsonObject | null;
  /** No event may follow. */
  readonly ends: boolean;
}

/**
 * Keys that must be unique, or must exist, at the moment of the append. `claim` of a key that another stream holds fails, of one that the same
 * stream holds does nothing; `release` of a key that the stream does not hold does nothing; `require` fails unless somebody holds the key.
 */
export interface ClaimChange {
  readonly op: 'claim' | 'release' | 'require';
  /** Such as `name/compute.xenolith.dev/VirtualMachine/default` or `ip/<network uid>`. */
  readonly scope: string;
  readonly value: string;
  /** The stream that holds or will hold the key. */
  readonly holder: Uuid;
}

/** A row whose due time sends a command. `set` with a known id replaces; `cancel` of an unknown id does nothing. */
export type NewTimer =
  | {
      readonly op: 'set';
      readonly id: Uuid;
      readonly dueAt: number;
      readonly subject: string;
      readonly command: JsonObject;
    }
  | { readonly op: 'cancel'; readonly id: Uuid };

export interface AppendRequest {
  readonly commandId: Uuid;
  /** Hash of what the command asks for: the same id with another hash is refused. */
  readonly requestHash: string;
  /** May be empty: then only the result is recorded, as for a rejection. All writes happen or none. */
  readonly writes: readonly StreamWrite[];
  readonly claims: readonly ClaimChange[];
  readonly timers: readonly NewTimer[];
  /** Commands that must never take effect from now on (an undo names its do): each unless it has a result already. */
  readonly cancels: readonly Uuid[];
  readonly metadata: EventMetadata;
  /** Stored under the command's id, answered again to the same id. `versions` are added by the store. */
  readonly result: JsonObject;
}

export interface StreamVersion {
  readonly streamId: Uuid;
  readonly version: number;
}

/** The stored outcome of a command. */
export interface CommandResult {
  readonly commandId: Uuid;
  readonly requestHash: string;
  readonly result: JsonObject;
  readonly versions: readonly StreamVersion[];
  readonly cancelled: boolean;
}

export type AppendOutcome =
  | { readonly status: 'appended'; readonly versions: readonly StreamVersion[] }
  /** The command id has a result already; nothing was written. `cancelled`: an undo came first. */
  | { readonly status: 'known'; readonly stored: CommandResult }
  | { readonly status: 'conflict'; readonly streamId: Uuid; readonly actual: number }
  | { readonly status: 'claim_taken'; readonly scope: string; readonly value: string; readonly holder: Uuid }
  | { readonly status: 'claim_missing'; readonly scope: string; readonly value: string }
  | { readonly status: 'stream_ended'; readonly streamId: Uuid };

/** The newest document of an object, as a cache loads it. */
export interface StoredDocument {
  readonly streamId: Uuid;
  readonly category: string;
  readonly version: number;
  readonly position: number;
  readonly document: JsonObject;
}

export interface Snapshot {
  readonly streamId: Uuid;
  readonly version: number;
  readonly stateVersion: number;
  readonly state: JsonObject;
}

/** The log, as command handlers and readers see it. Rejections are values; a broken connection throws. */
export interface EventLog {
  append(request: AppendRequest): Promise<AppendOutcome>;
  /** Events of a stream with versions above `afterVersion`, in order. */
  readStream(streamId: Uuid, afterVersion?: number): Promise<readonly StoredEvent[]>;
  commandResult(commandId: Uuid): Promise<CommandResult | null>;
  /** Who holds a claim, or null. */
  claimHolder(scope: string, value: string): Promise<Uuid | null>;
  snapshot(streamId: Uuid, stateVersion: number): Promise<Snapshot | null>;
  saveSnapshot(snapshot: Snapshot): Promise<void>;
  /** Up to `limit` events with positions above `after`, in order, with the documents they left. */
  readLog(after: number, limit: number): Promise<readonly LoggedEvent[]>;
  /** The same for who knows living objects already: the documents that their events left may be missing. */
  readEvents(after: number, limit: number): Promise<readonly LoggedEvent[]>;
  /** Up to `limit` events of one category with positions above `after` and not above `until`, in order, without their documents. What was archived is left out. */
  readCategory(
    category: string,
    range: { readonly after: number; readonly until: number; readonly limit: number },
  ): Promise<readonly LoggedEvent[]>;
  /** The position of the newest event that has one; 0 when the log is empty. Every append acknowledged before the call is at or below the answer. */
  head(): Promise<number>;
  /** The newest documents of living objects with the position to follow the log from, exact as of `position`. */
  documents(
    categories?: readonly string[],
  ): Promise<{ readonly position: number; readonly documents: readonly StoredDocument[] }>;
  /** The same page by page, for who keeps less of a document than all of it; answers the position. A page is let go when `onPage` has settled. */
  scanDocuments(
    categories: readonly string[] | undefined,
    onPage: (documents: readonly StoredDocument[]) => void | Promise<void>,
  ): Promise<number>;
}

export interface Subscription {
  /** Settles when no handler runs any more. */
  stop(): Promise<void>;
}

/** The ordered flow of the log's events. */
export interface LogFeed {
  /**
   * Calls `onBatch` with the events after `after`, in order and without gaps, one call at a time, for ever: first from Postgres, then as the
   * sequencer announces them. A handler that throws gets the same batch again, after a pause that grows to five seconds.
   */
  follow(follower: {
    readonly name: string;
    readonly after: number;
    readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
  }): Promise<Subscription>;
  /**
   * The same with a checkpoint kept in the store and one runner at a time over all processes: another takes over when this one's connection dies.
   * `onBatch` runs again after a crash for events whose checkpoint was not saved, so it must be idempotent by position.
   */
  followLeased(follower: {
    readonly name: string;
    readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
    /** Called when this process becomes the runner, before the first batch, and when it stops being it. */
    readonly onLease?: (held: boolean) => Promise<void>;
  }): Promise<Subscription>;
}
