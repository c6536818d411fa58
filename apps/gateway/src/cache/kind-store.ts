import { atPosition, keyOf, namespaceRange, type CachedObject } from './cached-object.js';
import { ChangeRing, type Change, type ChangeType } from './change-ring.js';
import { selects, type Selection } from './selection.js';
import { SortedObjects } from './sorted-objects.js';

export interface ListPage {
  readonly objects: readonly CachedObject[];
  /** The key of the last object, when more follow. */
  readonly lastKey?: string;
  /** How many follow; known only where no selector narrows the list. */
  readonly remaining?: number;
}

export interface ListQuery {
  readonly selection: Selection;
  /** Only objects behind this key. */
  readonly after?: string;
  readonly limit?: number;
  /** The state as it was at this position; absent: now. */
  readonly asOf?: number;
}

type Listener = (changes: readonly Change[]) => void;

/** U+0000 makes it the next key that can exist. */
const justAfter = (key: string): string => `${key}\u0000`;

/** All objects of one kind, and what happened to them lately. */
export class KindStore {
  private readonly objects = new SortedObjects();
  readonly ring = new ChangeRing();
  private readonly listeners = new Set<Listener>();
  private fresh: Change[] = [];

  get size(): number {
    return this.objects.size;
  }

  load(objects: readonly CachedObject[], position: number): void {
    this.objects.load(objects);
    this.ring.reset(position);
    this.fresh = [];
  }

  get(key: string): CachedObject | undefined {
    return this.objects.get(key);
  }

  put(object: CachedObject): void {
    const held = this.objects.get(object.key);
    // A new object under an old name, without the old one's end in between, would be two objects to a client.
    if (held !== undefined && held.uid !== object.uid) this.remove(held, object.position, held.version);
    const previous = held?.uid === object.uid ? held : undefined;
    this.objects.set(object);
    this.record(previous === undefined ? 'ADDED' : 'MODIFIED', object, previous);
  }

  /** `position` is where the deletion is in the log. An object whose name went to another before is gone already. */
  remove(held: CachedObject, position: number, version: number): void {
    if (this.objects.get(held.key)?.uid !== held.uid) return;
    this.objects.delete(held.key);
    this.record('DELETED', atPosition(held, position, version), held);
  }

  /** Shows the changes since the last call to all who listen, at once. */
  flush(): void {
    if (this.fresh.length === 0) return;
    const changes = this.fresh;
    this.fresh = [];
    for (const listener of this.listeners) listener(changes);
  }

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** One page, in the order of keys; null when the state at `asOf` can't be told any more. */
  list(query: ListQuery): ListPage | null {
    const undone = query.asOf === undefined ? NOTHING_UNDONE : this.undoneSince(query.asOf);
    if (undone === null) return null;
    const { selection } = query;
    const range = rangeOf(selection);
    const from = query.after === undefined ? range.from : justAfter(query.after);
    const objects: CachedObject[] = [];
    for (const object of withUndone(this.objects.range(from, range.to), undone, { from, to: range.to })) {
      if (!selects(selection, object)) continue;
      if (query.limit !== undefined && objects.length === query.limit) {
        const lastKey = (objects.at(-1) as CachedObject).key;
        return { objects, lastKey, ...this.remaining(selection, lastKey, range.to) };
      }
      objects.push(object);
    }
    return { objects };
  }

  private remaining(selection: Selection, lastKey: string, to: string | undefined): { remaining?: number } {
    if (selection.matches !== undefined) return {};
    return { remaining: Math.max(1, this.objects.countRange(justAfter(lastKey), to)) };
  }

  /** What to put back, by key, to see the state at `position`: an object, or null where there was none. */
  private undoneSince(position: number): ReadonlyMap<string, CachedObject | null> | null {
    const changes = this.ring.since(position);
    if (changes === null) return null;
    const undone = new Map<string, CachedObject | null>();
    for (const change of changes) {
      if (!undone.has(change.object.key)) undone.set(change.object.key, change.previous ?? null);
    }
    return undone;
  }

  private record(type: ChangeType, object: CachedObject, previous: CachedObject | undefined): void {
    const change: Change = { position: object.position, type, object, previous, frames: new Map() };
    this.ring.push(change);
    this.fresh.push(change);
  }
}

/** The keys among which a selection can match; one alone when it names an object of one namespace. */
const rangeOf = (selection: Selection): { readonly from: string; readonly to: string | undefined } => {
  if (selection.name !== undefined && selection.namespace !== '') {
    const key = keyOf(selection.namespace, selection.name);
    return { from: key, to: justAfter(key) };
  }
  return selection.namespace === '' ? { from: '', to: undefined } : namespaceRange(selection.namespace);
};

const NOTHING_UNDONE: ReadonlyMap<string, CachedObject | null> = new Map();

/** Merges the living objects with those put back, both in the order of keys. */
function* withUndone(
  living: Generator<CachedObject>,
  undone: ReadonlyMap<string, CachedObject | null>,
  range: { readonly from: string; readonly to: string | undefined },
): Generator<CachedObject> {
  if (undone.size === 0) {
    yield* living;
    return;
  }
  const back = [...undone.values()]
    .filter((object): object is CachedObject => object !== null)
    .filter((object) => object.key >= range.from && (range.to === undefined || object.key < range.to))
    .sort((left, right) => (left.key < right.key ? -1 : 1));
  let next = 0;
  for (const object of living) {
    while (next < back.length && (back[next] as CachedObject).key < object.key) yield back[next++] as CachedObject;
    if (!undone.has(object.key)) yield object;
  }
  while (next < back.length) yield back[next++] as CachedObject;
}
