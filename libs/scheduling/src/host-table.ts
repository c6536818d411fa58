import { deviceUse, type HostDevice, type Taint } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { freeBucket, LOAD_BUCKETS, loadBucket } from './capacity-buckets.js';
import { PARKINGS, type OpenState, type Parking } from './parking.js';
import { TraitBook, withoutHostname, type GuestLimits, type HostTraits } from './host-traits.js';
import type { Labels } from './selectors.js';
import { SlotJournal } from './slot-journal.js';
import { SlotBuckets } from './slot-buckets.js';

/** A NUMA node of a host, as far as guests can have it. */
export interface HostCell {
  readonly memoryBytes: number;
  /** Its hardware threads × over-commitment. */
  readonly vcpus: number;
  /** Its CPUs in xl's syntax. */
  readonly pin: string;
}

/** What a host says of itself, with its cluster's policy applied. */
export interface HostFacts {
  readonly name: string;
  readonly cluster: string;
  readonly hypervisor: 'xen' | 'kvm';
  readonly maxVcpus?: GuestLimits;
  readonly ready: boolean;
  readonly unschedulable: boolean;
  readonly maintenance?: boolean;
  readonly parking?: Parking;
  readonly memoryBytes: number;
  /** Hardware threads × over-commitment. */
  readonly vcpus: number;
  /** Version of the host's stream. */
  readonly revision: number;
  readonly labels?: Labels;
  readonly taints?: readonly Taint[];
  readonly features?: readonly string[];
  readonly cells?: readonly HostCell[];
  readonly resources?: Readonly<Record<string, number>>;
  readonly devices?: readonly HostDevice[];
  readonly storageDomains?: readonly string[] | undefined;
  /** Each as `namespace/name`. */
  readonly networks?: readonly string[] | undefined;
}

export interface Demand {
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** The NUMA node that it is on as a whole. */
  readonly cell?: number | undefined;
  readonly resources?: Readonly<Record<string, number>> | undefined;
}

/** NUMA nodes of one host that are kept apart: two sockets of four nodes (AMD's NPS4) are the most that is sold. */
export const CELLS_MAX = 8;

const FIRST_SLOTS = 64;
const NO_DEVICES: readonly HostDevice[] = [];

type Column = Float64Array | Uint8Array | Int32Array;
const grown = <Kind extends Column>(column: Kind, larger: Kind): Kind => {
  larger.set(column);
  return larger;
};

/** Columns of what hosts are and what is placed on them. */
const COLUMNS = [
  'present',
  'ready',
  'unschedulable',
  'maintenance',
  'parking',
  'group',
  'stream',
  'memory',
  'usedMemory',
  'vcpus',
  'usedVcpus',
  'cells',
  'cellMemory',
  'cellUsedMemory',
  'cellVcpus',
  'cellUsedVcpus',
] as const;

interface CountedColumn {
  total: Int32Array;
  used: Int32Array;
}

const traitsOf = (facts: HostFacts): HostTraits => ({
  cluster: facts.cluster,
  hypervisor: facts.hypervisor,
  ...(facts.maxVcpus ? { maxVcpus: facts.maxVcpus } : {}),
  labels: withoutHostname(facts.labels ?? {}),
  taints: facts.taints ?? [],
  features: facts.features ?? [],
  ...(facts.storageDomains ? { storageDomains: facts.storageDomains } : {}),
  ...(facts.networks ? { networks: facts.networks } : {}),
});

/**
 * Hosts as columns: a decision walks numbers that lie side by side and allocates little. A slot stays a host's own as long as the host is
 * known or something is placed on it.
 */
export class HostTable {
  /** Slots in use, including freed ones: columns hold values below this. */
  length = 0;
  readonly uids: Uuid[] = [];
  readonly names: string[] = [];
  readonly labels: Labels[] = [];
  readonly pins: (readonly string[])[] = [];
  /** What hosts have to give away; few have. */
  readonly devices: (readonly HostDevice[])[] = [];
  /** Hosts that may take machines, by their traits, by what is free, and by their partition and how full they are. */
  readonly byTraits = new SlotBuckets();
  readonly byFree = new SlotBuckets();
  readonly byLoad = new SlotBuckets();
  /** Grows when a host that may take machines comes, goes or gets other traits. */
  membership = 0;
  /** 1 when the host is known; a slot may also stand for a host of which only placements are known. */
  present = new Uint8Array(FIRST_SLOTS);
  ready = new Uint8Array(FIRST_SLOTS);
  unschedulable = new Uint8Array(FIRST_SLOTS);
  maintenance = new Uint8Array(FIRST_SLOTS);
  /** The place in `PARKINGS`; 0: it is in use. */
  parking = new Uint8Array(FIRST_SLOTS);
  /** The number of its traits. */
  group = new Int32Array(FIRST_SLOTS);
  stream = new Int32Array(FIRST_SLOTS);
  memory = new Float64Array(FIRST_SLOTS);
  usedMemory = new Float64Array(FIRST_SLOTS);
  /** Offered to commands under way: counts in scores, never in filters. */
  offeredMemory = new Float64Array(FIRST_SLOTS);
  vcpus = new Float64Array(FIRST_SLOTS);
  usedVcpus = new Float64Array(FIRST_SLOTS);
  offeredVcpus = new Float64Array(FIRST_SLOTS);
  /** How many NUMA nodes are kept apart; 0: the host did not say. Columns of nodes have `CELLS_MAX` places for each slot. */
  cells = new Uint8Array(FIRST_SLOTS);
  cellMemory = new Float64Array(FIRST_SLOTS * CELLS_MAX);
  cellUsedMemory = new Float64Array(FIRST_SLOTS * CELLS_MAX);
  cellVcpus = new Float64Array(FIRST_SLOTS * CELLS_MAX);
  cellUsedVcpus = new Float64Array(FIRST_SLOTS * CELLS_MAX);
  private readonly counted = new Map<string, CountedColumn>();
  private readonly slots = new Map<Uuid, number>();
  private readonly byName = new Map<string, number>();
  private readonly free: number[] = [];

  constructor(
    readonly traits = new TraitBook(),
    /** Each change of what filters look at: what was found at its revision still holds. */
    readonly journal = new SlotJournal(),
  ) {}

  get hosts(): number {
    return this.byName.size;
  }

  /** Hosts that may take machines and have next to nothing on them. */
  get unusedHosts(): number {
    let unused = 0;
    for (let partition = 0; partition < this.traits.partitions; partition += 1)
      unused += this.byLoad.counts[partition * LOAD_BUCKETS] ?? 0;
    return unused;
  }

  slotOf(uid: Uuid): number | undefined {
    return this.slots.get(uid);
  }

  slotNamed(name: string): number | undefined {
    return this.byName.get(name);
  }

  clusterOf(slot: number): string {
    return this.traits.get(this.group[slot] ?? 0)?.cluster ?? '';
  }

  put(uid: Uuid, facts: HostFacts): void {
    const slot = this.slotFor(uid);
    if (this.present[slot] === 1) this.byName.delete(this.names[slot] ?? '');
    this.names[slot] = facts.name;
    this.labels[slot] = facts.labels ?? {};
    this.byName.set(facts.name, slot);
    this.present[slot] = 1;
    this.ready[slot] = facts.ready ? 1 : 0;
    this.unschedulable[slot] = facts.unschedulable ? 1 : 0;
    this.maintenance[slot] = facts.maintenance === true ? 1 : 0;
    this.parking[slot] = PARKINGS.indexOf(facts.parking ?? 'none');
    this.group[slot] = this.traits.numberOf(traitsOf(facts));
    this.stream[slot] = facts.revision;
    this.memory[slot] = facts.memoryBytes;
    this.vcpus[slot] = facts.vcpus;
    this.putCells(slot, facts.cells ?? []);
    this.devices[slot] = facts.devices ?? NO_DEVICES;
    for (const column of this.counted.values()) column.total[slot] = 0;
    for (const [name, count] of Object.entries(facts.resources ?? {})) this.countedColumn(name).total[slot] = count;
    this.membership += 1;
    this.changed(slot);
  }

  remove(uid: Uuid): void {
    const slot = this.slots.get(uid);
    if (slot === undefined) return;
    if (this.present[slot] === 1) this.byName.delete(this.names[slot] ?? '');
    this.present[slot] = 0;
    this.membership += 1;
    this.changed(slot);
    this.giveBack(slot);
  }

  /** Adds to (`sign` 1) or takes from (-1) what is placed on a host; answers its slot. */
  use(uid: Uuid, demand: Demand, sign: 1 | -1): number {
    const slot = this.slotFor(uid);
    this.usedMemory[slot] = (this.usedMemory[slot] ?? 0) + sign * demand.memoryBytes;
    this.usedVcpus[slot] = (this.usedVcpus[slot] ?? 0) + sign * demand.vcpus;
    if (demand.cell !== undefined && demand.cell < CELLS_MAX) {
      const cell = slot * CELLS_MAX + demand.cell;
      this.cellUsedMemory[cell] = (this.cellUsedMemory[cell] ?? 0) + sign * demand.memoryBytes;
      this.cellUsedVcpus[cell] = (this.cellUsedVcpus[cell] ?? 0) + sign * demand.vcpus;
    }
    for (const name in demand.resources) {
      const { used } = this.countedColumn(name);
      used[slot] = (used[slot] ?? 0) + sign * (demand.resources[name] ?? 0);
    }
    this.changed(slot);
    this.giveBack(slot);
    return slot;
  }

  offer(slot: number, demand: Demand, sign: 1 | -1): void {
    this.offeredMemory[slot] = (this.offeredMemory[slot] ?? 0) + sign * demand.memoryBytes;
    this.offeredVcpus[slot] = (this.offeredVcpus[slot] ?? 0) + sign * demand.vcpus;
    this.index(slot);
  }

  freeMemory(slot: number): number {
    return (this.memory[slot] ?? 0) - (this.usedMemory[slot] ?? 0);
  }

  freeVcpus(slot: number): number {
    return (this.vcpus[slot] ?? 0) - (this.usedVcpus[slot] ?? 0);
  }

  freeOf(slot: number, resource: string): number {
    const column = this.counted.get(resource);
    return column ? (column.total[slot] ?? 0) - (column.used[slot] ?? 0) : 0;
  }

  /** Devices of a host that nobody has. */
  freeDevices(slot: number): readonly HostDevice[] {
    return (this.devices[slot] ?? NO_DEVICES).filter(
      (device) =>
        device.virtualFunctions === undefined &&
        Object.keys(deviceUse([device])).every((name) => this.freeOf(slot, name) > 0),
    );
  }

  /** What there is of counted things on a host. */
  resourcesOf(slot: number): Readonly<Record<string, number>> {
    const there = [...this.counted].map(([name, { total }]): [string, number] => [name, total[slot] ?? 0]);
    return Object.fromEntries(
      there.filter(([, count]) => count > 0).sort(([left], [right]) => (left < right ? -1 : 1)),
    );
  }

  /** What the NUMA nodes of a host have. */
  cellsOf(slot: number): { memoryBytes: number; vcpus: number }[] {
    return Array.from({ length: this.cells[slot] ?? 0 }, (_, cell) => ({
      memoryBytes: this.cellMemory[slot * CELLS_MAX + cell] ?? 0,
      vcpus: this.cellVcpus[slot * CELLS_MAX + cell] ?? 0,
    }));
  }

  /** Whether it may take machines. */
  isOpen(slot: number): boolean {
    const closed = this.unschedulable[slot] === 1 || this.maintenance[slot] === 1 || this.parking[slot] !== 0;
    return this.present[slot] === 1 && this.ready[slot] === 1 && !closed;
  }

  /** The host takes no machine from now on; what is on it stays. */
  close(slot: number): void {
    this.maintenance[slot] = 1;
    this.membership += 1;
    this.changed(slot);
  }

  /** The host is up and in use from now on, or is what `to` says; answers what it was. */
  turn(slot: number, to: OpenState = { ready: 1, parking: 0 }): OpenState {
    const before = { ready: this.ready[slot] ?? 0, parking: this.parking[slot] ?? 0 };
    this.ready[slot] = to.ready;
    this.parking[slot] = to.parking;
    this.membership += 1;
    this.changed(slot);
    return before;
  }

  /** A table of its own with the same hosts in the same slots, and what is placed on them; offers stay behind. */
  fork(): HostTable {
    const fork = new HostTable(this.traits, new SlotJournal(this.journal.revision));
    fork.length = this.length;
    fork.membership = this.membership;
    for (const list of ['uids', 'names', 'labels', 'pins', 'devices'] as const)
      fork[list].push(...(this[list] as never[]));
    while (fork.present.length < this.present.length) fork.grow();
    for (const column of COLUMNS) (fork[column] as Column).set(this[column]);
    for (const [name, { total, used }] of this.counted)
      fork.counted.set(name, { total: total.slice(), used: used.slice() });
    for (const [uid, slot] of this.slots) fork.slots.set(uid, slot);
    for (const [name, slot] of this.byName) fork.byName.set(name, slot);
    fork.free.push(...this.free);
    for (let slot = 0; slot < fork.length; slot += 1) fork.index(slot);
    return fork;
  }

  private putCells(slot: number, cells: readonly HostCell[]): void {
    const kept = cells.slice(0, CELLS_MAX);
    this.cells[slot] = kept.length;
    this.pins[slot] = kept.map((cell) => cell.pin);
    for (const [number, cell] of kept.entries()) {
      this.cellMemory[slot * CELLS_MAX + number] = cell.memoryBytes;
      this.cellVcpus[slot * CELLS_MAX + number] = cell.vcpus;
    }
  }

  private countedColumn(name: string): CountedColumn {
    let column = this.counted.get(name);
    if (!column) {
      column = { total: new Int32Array(this.present.length), used: new Int32Array(this.present.length) };
      this.counted.set(name, column);
    }
    return column;
  }

  private changed(slot: number): void {
    this.journal.note(slot);
    this.index(slot);
  }

  private index(slot: number): void {
    const open = this.isOpen(slot);
    this.byTraits.move(slot, open ? (this.group[slot] ?? 0) : -1);
    this.byFree.move(slot, open ? freeBucket(this.freeMemory(slot), this.freeVcpus(slot)) : -1);
    const partition = this.traits.partitionOf(this.group[slot] ?? 0);
    this.byLoad.move(slot, open ? partition * LOAD_BUCKETS + loadBucket(this, slot) : -1);
  }

  private slotFor(uid: Uuid): number {
    const known = this.slots.get(uid);
    if (known !== undefined) return known;
    const slot = this.free.pop() ?? this.length;
    if (slot === this.length) {
      this.length += 1;
      if (this.length > this.present.length) this.grow();
    }
    this.slots.set(uid, slot);
    this.uids[slot] = uid;
    return slot;
  }

  private giveBack(slot: number): void {
    if (this.present[slot] === 1 || this.usedMemory[slot] !== 0 || this.offeredMemory[slot] !== 0) return;
    this.slots.delete(this.uids[slot] ?? '');
    this.usedVcpus[slot] = 0;
    this.offeredVcpus[slot] = 0;
    this.cells[slot] = 0;
    for (const column of this.counted.values()) column.total[slot] = column.used[slot] = 0;
    for (const column of [this.cellMemory, this.cellUsedMemory, this.cellVcpus, this.cellUsedVcpus])
      column.fill(0, slot * CELLS_MAX, (slot + 1) * CELLS_MAX);
    this.free.push(slot);
  }

  private grow(): void {
    const size = this.present.length * 2;
    this.present = grown(this.present, new Uint8Array(size));
    this.ready = grown(this.ready, new Uint8Array(size));
    this.unschedulable = grown(this.unschedulable, new Uint8Array(size));
    this.maintenance = grown(this.maintenance, new Uint8Array(size));
    this.parking = grown(this.parking, new Uint8Array(size));
    this.group = grown(this.group, new Int32Array(size));
    this.stream = grown(this.stream, new Int32Array(size));
    this.memory = grown(this.memory, new Float64Array(size));
    this.usedMemory = grown(this.usedMemory, new Float64Array(size));
    this.offeredMemory = grown(this.offeredMemory, new Float64Array(size));
    this.vcpus = grown(this.vcpus, new Float64Array(size));
    this.usedVcpus = grown(this.usedVcpus, new Float64Array(size));
    this.offeredVcpus = grown(this.offeredVcpus, new Float64Array(size));
    this.cells = grown(this.cells, new Uint8Array(size));
    this.cellMemory = grown(this.cellMemory, new Float64Array(size * CELLS_MAX));
    this.cellUsedMemory = grown(this.cellUsedMemory, new Float64Array(size * CELLS_MAX));
    this.cellVcpus = grown(this.cellVcpus, new Float64Array(size * CELLS_MAX));
    this.cellUsedVcpus = grown(this.cellUsedVcpus, new Float64Array(size * CELLS_MAX));
    for (const column of this.counted.values()) {
      column.total = grown(column.total, new Int32Array(size));
      column.used = grown(column.used, new Int32Array(size));
    }
  }
}
