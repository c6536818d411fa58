import { fromMostMemory } from './capacity-buckets.js';
import { classVerdict, CPU, FILTERS, FITS, MEMORY } from './filters.js';
import type { HostTable } from './host-table.js';
import type { RequestClass } from './request-class.js';

/** Classes that are kept: each takes a byte for every host, and a look at every change of a host. */
const CLASSES_KEPT = 64;
const ABSENT = -2;
const NO_SLOT = -1;
const NOT_KNOWN = -2;

/** Why no host fits: numbers only, to be explained when somebody asks. */
export interface Refusal {
  readonly considered: number;
  /** Hosts that each filter refused, by its index in `FILTERS`, and one of them: for memory and CPU the one that has most. */
  readonly refused: Int32Array;
  readonly example: Int32Array;
}

/** Whether a host shows better than another what a filter refuses: by memory and CPU the one that has more of it. */
export const isNearer = (table: HostTable, filter: number, slot: number, than: number): boolean => {
  if (filter === MEMORY) return table.freeMemory(slot) > table.freeMemory(than);
  return filter === CPU && table.freeVcpus(slot) > table.freeVcpus(than);
};

/** What filters say of every host to the requests of one class. Only hosts that changed since are asked again. */
export class ClassVerdicts {
  /** By slot: the first filter that refuses it, `FITS`, or that there is no host. */
  private verdicts = new Int8Array(0);
  private readonly counts = new Int32Array(FILTERS.length);
  /** By filter, as a refusal shows it; `NOT_KNOWN`: to be looked for. */
  private readonly examples = new Int32Array(FILTERS.length).fill(NO_SLOT);
  private hosts = 0;
  private fit = 0;
  private revision = -1;

  constructor(
    private readonly table: HostTable,
    private readonly asked: RequestClass,
  ) {}

  /** Whether no host fits, as far as the class goes. */
  isFull(): boolean {
    return this.fit === 0;
  }

  of(slot: number): number {
    return this.verdicts[slot] ?? ABSENT;
  }

  /** The first slot from one on that fits, or a negative number. */
  nextFit(slot: number): number {
    return this.fit === 0 ? NO_SLOT : this.verdicts.indexOf(FITS, slot);
  }

  isPresent(slot: number): boolean {
    return this.of(slot) !== ABSENT;
  }

  /** Takes in what has changed. */
  update(): void {
    const { table } = this;
    const { journal } = table;
    if (this.verdicts.length < table.length) this.grow();
    // An example may have become a worse one: none is held against another before it is looked at again itself.
    if (journal.knows(this.revision)) {
      journal.since(this.revision, (slot) => this.forgetExample(slot));
      journal.since(this.revision, (slot) => this.judge(slot));
    } else {
      for (let slot = 0; slot < table.length; slot += 1) this.forgetExample(slot);
      for (let slot = 0; slot < table.length; slot += 1) this.judge(slot);
    }
    this.revision = journal.revision;
  }

  refusal(): Refusal {
    const { hosts, counts, examples } = this;
    for (let filter = 0; filter < examples.length; filter += 1)
      if (examples[filter] === NOT_KNOWN) examples[filter] = this.nearest(filter);
    return { considered: hosts, refused: counts.slice(), example: examples.slice() };
  }

  private forgetExample(slot: number): void {
    const verdict = this.of(slot);
    if (verdict >= 0 && this.examples[verdict] === slot) this.examples[verdict] = NOT_KNOWN;
  }

  private judge(slot: number): void {
    const { table, verdicts } = this;
    const before = verdicts[slot] ?? ABSENT;
    const now = table.present[slot] === 1 ? classVerdict(table, slot, this.asked) : ABSENT;
    if (before !== now) {
      verdicts[slot] = now;
      this.count(before, -1);
      this.count(now, 1);
    }
    const shown = now >= 0 ? (this.examples[now] ?? NO_SLOT) : NOT_KNOWN;
    if (shown !== NOT_KNOWN && this.shows(now, slot, shown)) this.examples[now] = slot;
  }

  private count(verdict: number, change: 1 | -1): void {
    if (verdict !== ABSENT) this.hosts += change;
    if (verdict === FITS) this.fit += change;
    if (verdict >= 0) this.counts[verdict] = (this.counts[verdict] ?? 0) + change;
  }

  /** Of equals the first is shown, as when all are gone through. */
  private shows(filter: number, slot: number, shown: number): boolean {
    if (shown === NO_SLOT || isNearer(this.table, filter, slot, shown)) return true;
    return slot < shown && !isNearer(this.table, filter, shown, slot);
  }

  private nearest(filter: number): number {
    if (filter === MEMORY) return this.mostMemory();
    const { table, verdicts } = this;
    let found = verdicts.indexOf(filter);
    if (filter !== CPU || found < 0) return found;
    for (let slot = verdicts.indexOf(filter, found + 1); slot >= 0; slot = verdicts.indexOf(filter, slot + 1))
      if (isNearer(table, filter, slot, found)) found = slot;
    return found;
  }

  /** Most hosts lack memory: those that have most of it lie together in the table's buckets. */
  private mostMemory(): number {
    const { byFree } = this.table;
    let found = NO_SLOT;
    fromMostMemory(byFree.occupied, this.asked.request.memoryBytes, (buckets) => {
      for (const bucket of buckets) {
        const slots = byFree.list(bucket);
        const count = byFree.counts[bucket] ?? 0;
        for (let place = 0; place < count; place += 1) {
          const slot = slots[place] ?? NO_SLOT;
          if (this.of(slot) === MEMORY && this.shows(MEMORY, slot, found)) found = slot;
        }
      }
      return found !== NO_SLOT;
    });
    return found;
  }

  private grow(): void {
    const larger = new Int8Array(this.table.length * 2).fill(ABSENT);
    larger.set(this.verdicts);
    this.verdicts = larger;
  }
}

/** The verdicts for the classes that fitted nowhere lately: most of those that come again fit nowhere again. */
export class VerdictBook {
  private readonly kept = new Map<RequestClass, ClassVerdicts>();

  constructor(private readonly table: HostTable) {}

  /** Whether it is known that no host fits. A class that found room is not kept up to date: it is likely to find some again. */
  fitsNowhere(asked: RequestClass): boolean {
    const known = this.kept.get(asked);
    if (known?.isFull() !== true) return false;
    known.update();
    return known.isFull();
  }

  /** Up to date. O(hosts) when the class is new. */
  of(asked: RequestClass): ClassVerdicts {
    const verdicts = this.kept.get(asked) ?? new ClassVerdicts(this.table, asked);
    this.kept.delete(asked);
    this.kept.set(asked, verdicts);
    if (this.kept.size > CLASSES_KEPT) {
      const oldest = this.kept.keys().next();
      if (oldest.done !== true) this.kept.delete(oldest.value);
    }
    verdicts.update();
    return verdicts;
  }
}
