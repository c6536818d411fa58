import { categoryOf } from '@xenolith/contracts';
import { KeyLock } from '@xenolith/engine';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import type { ServedKind } from '../discovery/index.js';
import { atPosition, cachedObject, indexerOf, type CachedObject, type Indexer } from './cached-object.js';
import type { Change } from './change-ring.js';
import type { DocumentCache } from './document-cache.js';
import { selectablePaths } from './selectable-paths.js';

/** A document as a write left it; `null` is a tombstone. */
interface DocumentVersion {
  readonly version: number;
  readonly position: number;
  readonly document: JsonObject | null;
}

export interface DocumentChange extends DocumentVersion {
  readonly streamId: Uuid;
  /** When it was recorded, in milliseconds since the epoch. */
  readonly recordedAt: number;
  readonly previous?: DocumentVersion;
}

/** Reads what happened to the documents of a category above one position and up to another, in order. */
export type ReadDocumentChanges = (query: {
  readonly category: string;
  readonly after: number;
  readonly upTo: number;
}) => Promise<readonly DocumentChange[]>;

/**
 * A watch may resume so many positions back: at the platform's highest rate, some 2,000 events a second, most of a minute; on one that does little, days.
 * Reading them takes a second or two; who was away for longer is better served by a list.
 */
export const RESUMABLE_POSITIONS = 100_000;
/** Positions that one statement walks: some tens of milliseconds, and at most as many documents in memory. */
export const WINDOW_POSITIONS = 2_000;

/** Changes above the position that was asked for, all of them up to `upTo`. */
export interface HistoryPage {
  readonly changes: readonly Change[];
  readonly upTo: number;
}

/**
 * What happened before this gateway's memory begins: after a restart, or when more happened than it keeps. Those who come back after a restart mostly
 * ask for the same stretch: it is read once, and put back in front of what is remembered.
 */
export class LogHistory {
  /** One statement at a time for each kind, so that a thousand watches that come back do not take every connection. */
  private readonly locks = new KeyLock();
  private readonly indexers = new Map<ServedKind, Indexer>();

  constructor(
    private readonly cache: DocumentCache,
    private readonly read: ReadDocumentChanges | undefined,
  ) {}

  /** The next stretch above `position`; null when that is too long ago, or the kind's changes are not in the log. */
  async page(kind: ServedKind, position: number): Promise<HistoryPage | null> {
    const { read } = this;
    if (read === undefined || kind.definition === null) return null;
    const category = categoryOf(kind);
    const release = await this.locks.acquire(category);
    try {
      const { ring } = this.cache.store(kind);
      const kept = ring.since(position);
      if (kept !== null) return { changes: kept, upTo: kept.at(-1)?.position ?? position };
      if (this.cache.position - position > RESUMABLE_POSITIONS) return null;
      const floor = ring.floor;
      const upTo = Math.min(floor, position + WINDOW_POSITIONS);
      const changes = this.asChanges(kind, await read({ category, after: position, upTo }));
      if (upTo === floor) ring.extend(changes, { from: position, to: floor });
      return { changes, upTo };
    } finally {
      release();
    }
  }

  private asChanges(kind: ServedKind, stored: readonly DocumentChange[]): readonly Change[] {
    const indexer = this.indexers.get(kind) ?? indexerOf(selectablePaths(kind));
    this.indexers.set(kind, indexer);
    return changesOf(indexer, stored);
  }
}

/** What a watch shows of what writes left, in the order of the log. */
export const changesOf = (indexer: Indexer, stored: readonly DocumentChange[]): readonly Change[] => {
  const seen = new Map<Uuid, CachedObject>();
  const objectOf = (uid: Uuid, { document, position, version }: DocumentVersion): CachedObject | undefined =>
    document === null ? undefined : cachedObject({ uid, position, version, document, indexer });
  const changes: Change[] = [];
  for (const change of stored) {
    const { streamId: uid, position, version, previous: before } = change;
    // The text is shared with the neighbour's where that is in the stretch too.
    const previous = seen.get(uid) ?? (before === undefined ? undefined : objectOf(uid, before));
    const object = objectOf(uid, change);
    if (object !== undefined) {
      seen.set(uid, object);
      const type = previous === undefined ? 'ADDED' : 'MODIFIED';
      changes.push({ position, type, object, previous, frames: new Map() });
    } else if (previous !== undefined) {
      seen.delete(uid);
      const last = { ...atPosition(previous, position), version };
      changes.push({ position, type: 'DELETED', object: last, previous, frames: new Map() });
    }
  }
  return changes;
};
