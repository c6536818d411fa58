import type { StoredDocument, StoredEvent } from './event-log.js';
import type { Uuid } from './ids.js';
import type { JsonObject } from './json.js';

/** A place of the log and when it was reached. */
export interface Moment {
  readonly position: number;
  /** When the newest event up to there was recorded, in milliseconds since the epoch; 0 at the beginning of the log. */
  readonly recordedAt: number;
}

/** Names an object as of a position: by its name, or by its uid when several had that name one after the other. */
export interface PastObjectQuery {
  readonly category: string;
  readonly position: number;
  /** Empty for kinds without one. */
  readonly namespace: string;
  readonly name: string;
  readonly uid?: Uuid;
}

/** From when to when an object was shown. */
export interface Life {
  readonly streamId: Uuid;
  readonly category: string;
  readonly namespace: string;
  readonly name: string;
  /** The position of the event that brought its first document. */
  readonly born: number;
  /** The position of its tombstone; null: it is alive. */
  readonly ended: number | null;
}

export interface PastListQuery {
  readonly category: string;
  readonly position: number;
  /** Absent: all namespaces. */
  readonly namespace?: string;
  /** Only objects behind this one, in the order of namespace, then name, by bytes. */
  readonly after?: { readonly namespace: string; readonly name: string };
  readonly limit: number;
}

/** An event as a reader of an object's history sees it. */
export interface PastEvent extends StoredEvent {
  readonly position: number;
  /** Milliseconds since the epoch, by the clock of the store. */
  readonly recordedAt: number;
  /** What the write left of which it is the last event; null is a tombstone. */
  readonly document?: JsonObject | null;
}

/** The log as a time machine. Reads are exact: what a reader that followed the log up to a position had then. */
export interface LogPast {
  /** The newest place. Reads of the past may lag behind the log by some hundred milliseconds: they wait for it, and throw when it takes too long. */
  newest(): Promise<Moment>;
  /** The last place before the first event that was recorded after `time`: the newest that anybody can have seen then. */
  momentAt(time: number): Promise<Moment>;
  /** When a position was reached. */
  momentOf(position: number): Promise<Moment>;
  /** The document that an object showed; null: there was none of that name. Of several in one moment, the one that came last. */
  documentAt(query: PastObjectQuery): Promise<StoredDocument | null>;
  documentsAt(query: PastListQuery): Promise<readonly StoredDocument[]>;
  /** How many `documentsAt` would give without a limit. */
  countAt(query: Omit<PastListQuery, 'limit'>): Promise<number>;
  /** Lives of a name, or of a stream, that began up to `upTo`; the newest first, some tens at most. */
  lives(
    of: ({ readonly category: string; readonly namespace: string; readonly name: string } | { readonly uid: Uuid }) & {
      readonly upTo: number;
    },
  ): Promise<readonly Life[]>;
  /** Events of a stream with versions above `after` and positions up to `upTo`, oldest first. */
  eventsOf(query: {
    readonly streamId: Uuid;
    readonly after: number;
    readonly upTo: number;
    readonly limit: number;
  }): Promise<readonly PastEvent[]>;
  /** What a command wrote, in the order of the log; empty when it wrote nothing, or is not known any more. */
  eventsOfCommand(commandId: Uuid): Promise<readonly PastEvent[]>;
  /** Events with positions above `after`, oldest first. */
  eventsAfter(after: number, limit: number): Promise<readonly PastEvent[]>;
}
