const NOWHERE = -1;
const NO_SLOTS = new Int32Array(0);

/** Sets of small numbers in numbered buckets: moving one is a constant effort, and each bucket lies side by side in memory. */
export class SlotBuckets {
  private readonly members: Int32Array[] = [];
  /** How many slots each bucket has; replaced when there are more buckets. */
  counts = new Int32Array(64);
  /** A bit for each bucket that has a slot. */
  occupied = new Uint32Array(2);
  private bucketOf = new Int32Array(64).fill(NOWHERE);
  private placeOf = new Int32Array(64);

  /** Puts a slot into a bucket; a negative one takes it out. */
  move(slot: number, bucket: number): void {
    if (slot >= this.bucketOf.length) this.grow(slot);
    const before = this.bucketOf[slot] as number;
    if (before === bucket) return;
    if (before !== NOWHERE) this.takeOut(slot, before);
    this.bucketOf[slot] = bucket < 0 ? NOWHERE : bucket;
    if (bucket < 0) return;
    if (bucket >= this.members.length) this.growTo(bucket + 1);
    let list = this.members[bucket] as Int32Array;
    const place = this.counts[bucket] as number;
    if (place === list.length) {
      const larger = new Int32Array(Math.max(8, list.length * 2));
      larger.set(list);
      this.members[bucket] = list = larger;
    }
    list[place] = slot;
    this.placeOf[slot] = place;
    this.counts[bucket] = place + 1;
    if (place === 0) this.occupied[bucket >>> 5] = (this.occupied[bucket >>> 5] ?? 0) | (1 << (bucket & 31));
  }

  /** The first bucket from `bucket` on that has a slot; -1: none. */
  next(bucket: number): number {
    let word = bucket >>> 5;
    let bits = (this.occupied[word] ?? 0) & (-1 << (bucket & 31));
    while (bits === 0) {
      word += 1;
      if (word >= this.occupied.length) return -1;
      bits = this.occupied[word] ?? 0;
    }
    return word * 32 + 31 - Math.clz32(bits & -bits);
  }

  /** The slots of a bucket: those below its count. Valid until the next move. */
  list(bucket: number): Int32Array {
    return this.members[bucket] ?? NO_SLOTS;
  }

  private growTo(size: number): void {
    while (this.members.length < size) this.members.push(NO_SLOTS);
    if (size <= this.counts.length) return;
    const counts = new Int32Array(Math.max(size, this.counts.length * 2));
    counts.set(this.counts);
    this.counts = counts;
    const occupied = new Uint32Array((counts.length >>> 5) + 1);
    occupied.set(this.occupied);
    this.occupied = occupied;
  }

  private takeOut(slot: number, bucket: number): void {
    const list = this.members[bucket] as Int32Array;
    const last = (this.counts[bucket] as number) - 1;
    const place = this.placeOf[slot] as number;
    const moved = list[last] as number;
    list[place] = moved;
    this.placeOf[moved] = place;
    this.counts[bucket] = last;
    if (last === 0) this.occupied[bucket >>> 5] = (this.occupied[bucket >>> 5] ?? 0) & ~(1 << (bucket & 31));
  }

  private grow(slot: number): void {
    const size = Math.max(slot + 1, this.bucketOf.length * 2);
    const buckets = new Int32Array(size).fill(NOWHERE);
    buckets.set(this.bucketOf);
    const places = new Int32Array(size);
    places.set(this.placeOf);
    [this.bucketOf, this.placeOf] = [buckets, places];
  }
}
