import type { CachedObject } from './cached-object.js';

/** Chunks split beyond this many objects: an insertion moves at most so many pointers, and 100,000 objects are some 200 chunks. */
const CHUNK_OBJECTS = 1024;

/** The first index whose key is not below `key`. */
const lowerBound = (objects: readonly CachedObject[], key: string): number => {
  let [low, high] = [0, objects.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((objects[middle] as CachedObject).key < key) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** Objects of one kind in the order of their keys, cheap to insert into and to read from any key on. */
export class SortedObjects {
  /** Never empty chunks, but for a single one. */
  private chunks: CachedObject[][] = [[]];
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** Starts anew with `objects`, in any order. */
  load(objects: readonly CachedObject[]): void {
    const sorted = [...objects].sort((left, right) => (left.key < right.key ? -1 : left.key > right.key ? 1 : 0));
    this.chunks = [];
    for (let from = 0; from < sorted.length; from += CHUNK_OBJECTS / 2)
      this.chunks.push(sorted.slice(from, from + CHUNK_OBJECTS / 2));
    if (this.chunks.length === 0) this.chunks.push([]);
    this.count = sorted.length;
  }

  get(key: string): CachedObject | undefined {
    const chunk = this.chunks[this.chunkOf(key)] as CachedObject[];
    const found = chunk[lowerBound(chunk, key)];
    return found?.key === key ? found : undefined;
  }

  set(object: CachedObject): void {
    const chunkAt = this.chunkOf(object.key);
    const chunk = this.chunks[chunkAt] as CachedObject[];
    const at = lowerBound(chunk, object.key);
    if (chunk[at]?.key === object.key) {
      chunk[at] = object;
      return;
    }
    chunk.splice(at, 0, object);
    this.count += 1;
    if (chunk.length > CHUNK_OBJECTS) this.chunks.splice(chunkAt + 1, 0, chunk.splice(CHUNK_OBJECTS / 2));
  }

  delete(key: string): void {
    const chunkAt = this.chunkOf(key);
    const chunk = this.chunks[chunkAt] as CachedObject[];
    const at = lowerBound(chunk, key);
    if (chunk[at]?.key !== key) return;
    chunk.splice(at, 1);
    this.count -= 1;
    if (chunk.length === 0 && this.chunks.length > 1) this.chunks.splice(chunkAt, 1);
  }

  /** Objects with keys from `from` on and below `to`, in order. */
  *range(from: string, to?: string): Generator<CachedObject> {
    for (let chunkAt = this.chunkOf(from); chunkAt < this.chunks.length; chunkAt += 1) {
      const chunk = this.chunks[chunkAt] as CachedObject[];
      for (let at = lowerBound(chunk, from); at < chunk.length; at += 1) {
        const object = chunk[at] as CachedObject;
        if (to !== undefined && object.key >= to) return;
        yield object;
      }
    }
  }

  /** How many keys lie from `from` on and below `to`. */
  countRange(from: string, to?: string): number {
    return (to === undefined ? this.count : this.rank(to)) - this.rank(from);
  }

  /** How many keys lie below `key`. */
  private rank(key: string): number {
    const chunkAt = this.chunkOf(key);
    let below = lowerBound(this.chunks[chunkAt] as CachedObject[], key);
    for (let at = 0; at < chunkAt; at += 1) below += (this.chunks[at] as CachedObject[]).length;
    return below;
  }

  /** The chunk that holds `key`, or where it belongs: the last one whose first key is not above it. */
  private chunkOf(key: string): number {
    let [low, high] = [0, this.chunks.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const first = (this.chunks[middle] as CachedObject[])[0];
      if (first !== undefined && first.key <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
