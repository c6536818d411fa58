import type { CachedObject } from './cached-object.js';

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** What one write did to one object. Everything that is sent about it is encoded once and kept in `frames`. */
export interface Change {
  readonly position: number;
  readonly type: ChangeType;
  /** The object after the write; for a deletion its last state, at the deletion's position. */
  readonly object: CachedObject;
  /** The object before the write: undefined for a creation. */
  readonly previous: CachedObject | undefined;
  readonly frames: Map<string, Buffer>;
}

/**
 * Changes of one kind that are kept for watches that resume, and for later pages of a list. At the platform's highest rate, some 1,000 changes a
 * second, that is four seconds; what happened before is read from the log. An object's text in it is shared with its neighbours.
 */
const KEPT_CHANGES = 4096;
/** Kept changes hold at most so many characters of documents, however large single ones are. */
const KEPT_CHARACTERS = 32 * 2 ** 20;

/** The newest changes of one kind, in order. */
export class ChangeRing {
  private readonly changes: Change[] = [];
  private characters = 0;
  private floorPosition = 0;

  /** Every change above this position is here. */
  get floor(): number {
    return this.floorPosition;
  }

  /** Starts anew: nothing is known of what happened up to `floor`. */
  reset(floor: number): void {
    this.changes.length = 0;
    this.characters = 0;
    this.floorPosition = floor;
  }

  push(change: Change): void {
    this.changes.push(change);
    this.characters += change.object.characters;
    while (this.changes.length > KEPT_CHANGES || this.characters > KEPT_CHARACTERS) this.dropOldest();
  }

  /**
   * Puts what was read from the log in front: everything above `from`, up to `to`. Does nothing when that is not what comes before the oldest change,
   * any more, or when there is no room.
   */
  extend(earlier: readonly Change[], { from, to }: { readonly from: number; readonly to: number }): void {
    const characters = earlier.reduce((sum, change) => sum + change.object.characters, this.characters);
    const fits = this.changes.length + earlier.length <= KEPT_CHANGES && characters <= KEPT_CHARACTERS;
    if (!fits || to !== this.floorPosition) return;
    this.changes.unshift(...earlier);
    this.characters = characters;
    this.floorPosition = from;
  }

  /** Changes above `position`, oldest first; null when some of them are not kept any more. */
  since(position: number): readonly Change[] | null {
    if (position < this.floorPosition) return null;
    let [low, high] = [0, this.changes.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.changes[middle] as Change).position <= position) low = middle + 1;
      else high = middle;
    }
    return this.changes.slice(low);
  }

  /** The change that left the stream `uid` at `version`, looked for among the newest. */
  find(uid: string, version: number): Change | undefined {
    return this.changes.findLast((change) => change.object.uid === uid && change.object.version === version);
  }

  private dropOldest(): void {
    const oldest = this.changes.shift();
    if (oldest === undefined) return;
    this.characters -= oldest.object.characters;
    this.floorPosition = oldest.position;
  }
}
