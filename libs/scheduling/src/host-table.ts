import type { Uuid } from '@xenolith/kernel';

/** What a host says of itself, with its cluster's policy applied. */
export interface HostFacts {
  readonly name: string;
  readonly cluster: string;
  readonly hypervisor: 'xen' | 'kvm';
  readonly ready: boolean;
  readonly unschedulable: boolean;
  readonly memoryBytes: number;
  /** Hardware threads × over-commitment. */
  readonly vcpus: number;
  /** Version of the host's stream. */
  readonly revision: number;
}

export interface Demand {
  readonly memoryBytes: number;
  readonly vcpus: number;
}

const FIRST_SLOTS = 64;

const grown = <Column extends Float64Array | Uint8Array | Int32Array>(column: Column, larger: Column): Column => {
  larger.set(column);
  return larger;
};

/**
 * Hosts as columns: a decision walks numbers that lie side by side and allocates nothing. A slot stays a host's own as long as the host is
 * known or something is placed on it.
 */
export class HostTable {
  /** Slots in use, including freed ones: columns hold values below this. */
  length = 0;
  readonly uids: Uuid[] = [];
  readonly names: string[] = [];
  readonly clusters: string[] = [];
  /** 1 when the host is known; a slot may also stand for a host of which only placements are known. */
  present = new Uint8Array(FIRST_SLOTS);
  ready = new Uint8Array(FIRST_SLOTS);
  unschedulable = new Uint8Array(FIRST_SLOTS);
  kvm = new Uint8Array(FIRST_SLOTS);
  revision = new Int32Array(FIRST_SLOTS);
  memory = new Float64Array(FIRST_SLOTS);
  usedMemory = new Float64Array(FIRST_SLOTS);
  /** Offered to commands under way: counts in scores, never in filters. */
  offeredMemory = new Float64Array(FIRST_SLOTS);
  vcpus = new Float64Array(FIRST_SLOTS);
  usedVcpus = new Float64Array(FIRST_SLOTS);
  offeredVcpus = new Float64Array(FIRST_SLOTS);
  private readonly slots = new Map<Uuid, number>();
  private readonly byName = new Map<string, number>();
  private readonly free: number[] = [];

  get hosts(): number {
    return this.byName.size;
  }

  slotOf(uid: Uuid): number | undefined {
    return this.slots.get(uid);
  }

  slotNamed(name: string): number | undefined {
    return this.byName.get(name);
  }

  put(uid: Uuid, facts: HostFacts): void {
    const slot = this.slotFor(uid);
    if (this.present[slot] === 1) this.byName.delete(this.names[slot] ?? '');
    this.names[slot] = facts.name;
    this.clusters[slot] = facts.cluster;
    this.byName.set(facts.name, slot);
    this.present[slot] = 1;
    this.ready[slot] = facts.ready ? 1 : 0;
    this.unschedulable[slot] = facts.unschedulable ? 1 : 0;
    this.kvm[slot] = facts.hypervisor === 'kvm' ? 1 : 0;
    this.revision[slot] = facts.revision;
    this.memory[slot] = facts.memoryBytes;
    this.vcpus[slot] = facts.vcpus;
  }

  remove(uid: Uuid): void {
    const slot = this.slots.get(uid);
    if (slot === undefined) return;
    if (this.present[slot] === 1) this.byName.delete(this.names[slot] ?? '');
    this.present[slot] = 0;
    this.giveBack(slot);
  }

  /** Adds to (`sign` 1) or takes from (-1) what is placed on a host. */
  use(uid: Uuid, demand: Demand, sign: 1 | -1): void {
    const slot = this.slotFor(uid);
    this.usedMemory[slot] = (this.usedMemory[slot] ?? 0) + sign * demand.memoryBytes;
    this.usedVcpus[slot] = (this.usedVcpus[slot] ?? 0) + sign * demand.vcpus;
    this.giveBack(slot);
  }

  offer(slot: number, demand: Demand, sign: 1 | -1): void {
    this.offeredMemory[slot] = (this.offeredMemory[slot] ?? 0) + sign * demand.memoryBytes;
    this.offeredVcpus[slot] = (this.offeredVcpus[slot] ?? 0) + sign * demand.vcpus;
  }

  freeMemory(slot: number): number {
    return (this.memory[slot] ?? 0) - (this.usedMemory[slot] ?? 0);
  }

  freeVcpus(slot: number): number {
    return (this.vcpus[slot] ?? 0) - (this.usedVcpus[slot] ?? 0);
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
    this.free.push(slot);
  }

  private grow(): void {
    const size = this.present.length * 2;
    this.present = grown(this.present, new Uint8Array(size));
    this.ready = grown(this.ready, new Uint8Array(size));
    this.unschedulable = grown(this.unschedulable, new Uint8Array(size));
    this.kvm = grown(this.kvm, new Uint8Array(size));
    this.revision = grown(this.revision, new Int32Array(size));
    this.memory = grown(this.memory, new Float64Array(size));
    this.usedMemory = grown(this.usedMemory, new Float64Array(size));
    this.offeredMemory = grown(this.offeredMemory, new Float64Array(size));
    this.vcpus = grown(this.vcpus, new Float64Array(size));
    this.usedVcpus = grown(this.usedVcpus, new Float64Array(size));
    this.offeredVcpus = grown(this.offeredVcpus, new Float64Array(size));
  }
}
