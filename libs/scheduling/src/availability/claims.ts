import type { AffinityBook, Term } from '../machine-affinity.js';
import { cellFor, NO_CELL, type Claimed } from '../host-cells.js';
import { CELLS_MAX, type HostTable } from '../host-table.js';
import type { Bond, Resident } from './resident.js';

type Place = number | string;

const shifted = <Key>(counts: Map<Key, number>, key: Key, change: number): void => {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
};

const shiftedAt = <Key>(counts: Map<Key, Map<Place, number>>, key: Key, place: Place, change: number): void => {
  const places = counts.get(key) ?? new Map<Place, number>();
  counts.set(key, places);
  shifted(places, place, change);
  if (places.size === 0) counts.delete(key);
};

/**
 * What is thought to be added to hosts or gone from them, beside what is there. All of it are whole numbers, so that taking a claim back leaves
 * exactly what was before.
 */
export class Claims implements Claimed {
  private memory = new Float64Array(64);
  private vcpus = new Float64Array(64);
  private readonly cellMemory = new Map<number, number>();
  private readonly cellVcpus = new Map<number, number>();
  private readonly things = new Map<string, Map<Place, number>>();
  private readonly words = new Map<string, Map<Place, number>>();
  private readonly matching = new Map<Term, Map<Place, number>>();
  private readonly holding = new Map<Term, Map<Place, number>>();

  constructor(
    private readonly table: HostTable,
    private readonly affinity: AffinityBook,
  ) {}

  /** A machine at a slot: one more, or one less. `bond`: what other machines' rules see of it. */
  shift(machine: Resident, at: { slot: number; cell: number | undefined; bond: Bond | null }, sign: 1 | -1): void {
    this.shiftRoom(machine, at, sign);
    this.shiftWord(machine, at.slot, sign);
    if (at.bond) this.shiftBond(at.bond, at.slot, sign);
  }

  /** What a machine takes of a slot. */
  shiftRoom(
    { request, plain }: Resident,
    { slot, cell }: { readonly slot: number; readonly cell: number | undefined },
    sign: 1 | -1,
  ): void {
    const { memoryBytes, vcpus, resources } = request;
    if (slot >= this.memory.length) this.grow(slot);
    this.memory[slot] = (this.memory[slot] ?? 0) + sign * memoryBytes;
    this.vcpus[slot] = (this.vcpus[slot] ?? 0) + sign * vcpus;
    if (plain && cell === undefined) return;
    if (cell !== undefined) {
      shifted(this.cellMemory, slot * CELLS_MAX + cell, sign * memoryBytes);
      shifted(this.cellVcpus, slot * CELLS_MAX + cell, sign * vcpus);
    }
    for (const name in resources) shiftedAt(this.things, name, slot, sign * (resources[name] ?? 0));
  }

  shiftWord({ word }: Resident, slot: number, sign: 1 | -1): void {
    if (word !== null) shiftedAt(this.words, word, slot, sign);
  }

  shiftBond({ meant, far }: Bond, slot: number, sign: 1 | -1): void {
    for (const term of meant) this.shiftTerm(this.matching, term, slot, sign);
    for (const term of far) this.shiftTerm(this.holding, term, slot, sign);
  }

  freeMemory(slot: number): number {
    return this.table.freeMemory(slot) - (this.memory[slot] ?? 0);
  }

  freeVcpus(slot: number): number {
    return this.table.freeVcpus(slot) - (this.vcpus[slot] ?? 0);
  }

  freeOf(slot: number, thing: string): number {
    return this.table.freeOf(slot, thing) - (this.things.get(thing)?.get(slot) ?? 0);
  }

  memoryAt(slot: number): number {
    return this.memory[slot] ?? 0;
  }

  cellMemoryAt(cell: number): number {
    return this.cellMemory.get(cell) ?? 0;
  }

  cellVcpusAt(cell: number): number {
    return this.cellVcpus.get(cell) ?? 0;
  }

  /** The tightest NUMA node that a machine fits on as a whole; undefined: none. */
  cellFor(slot: number, demand: { readonly memoryBytes: number; readonly vcpus: number }): number | undefined {
    const cell = cellFor(this.table, slot, demand, { claimed: this });
    return cell === NO_CELL ? undefined : cell;
  }

  hasWord(word: string, slot: number): boolean {
    return (this.words.get(word)?.get(slot) ?? 0) > 0;
  }

  /** Machines in a slot's place that a term means. */
  meantNear(term: Term, slot: number): number {
    return this.countedNear(term.matching, this.matching, term, slot);
  }

  /** Machines in a slot's place whose own rule the term is. */
  holdersNear(term: Term, slot: number): number {
    return this.countedNear(term.holding, this.holding, term, slot);
  }

  /** Whether a term means no machine anywhere. */
  meansNobody(term: Term): boolean {
    const change = this.matching.get(term);
    for (const [place, count] of term.matching) if (count + (change?.get(place) ?? 0) > 0) return false;
    for (const [place, count] of change ?? []) if (count > 0 && !term.matching.has(place)) return false;
    return true;
  }

  private countedNear(
    there: ReadonlyMap<Place, number>,
    changes: Map<Term, Map<Place, number>>,
    term: Term,
    slot: number,
  ): number {
    const place = this.affinity.domain(term, slot);
    return place === undefined ? 0 : (there.get(place) ?? 0) + (changes.get(term)?.get(place) ?? 0);
  }

  private shiftTerm(counts: Map<Term, Map<Place, number>>, term: Term, slot: number, sign: 1 | -1): void {
    const place = this.affinity.domain(term, slot);
    if (place !== undefined) shiftedAt(counts, term, place, sign);
  }

  private grow(slot: number): void {
    const size = Math.max(slot + 1, this.memory.length * 2);
    const [memory, vcpus] = [new Float64Array(size), new Float64Array(size)];
    memory.set(this.memory);
    vcpus.set(this.vcpus);
    [this.memory, this.vcpus] = [memory, vcpus];
  }
}
