import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import {
  AffinityBook,
  AvailabilityBook,
  ClassBook,
  HostTable,
  type FailoverPlanner,
  type Guarantee,
  type Occupied,
  type Scenario,
} from '@xenolith/scheduling';
import { GIB, type Flavour } from './fleet.js';

export const HOST_GIB = 512;
const ALWAYS = { restart: 'always', priority: 0, order: 0 } as const;

export const hostName = (number: number): string => `host-${number}`;

/** Hosts and machines of one cluster with their planner, and nothing else of a scheduler. */
export class FailoverFleet {
  readonly table = new HostTable();
  readonly machines = new Map<Uuid, Occupied>();
  readonly book: AvailabilityBook;
  private readonly affinity = new AffinityBook(this.table);
  private readonly ground = { table: this.table, affinity: this.affinity, classes: new ClassBook() };
  private count = 0;

  constructor(
    readonly hosts: number,
    readonly guarantee: Guarantee,
    hostGib = HOST_GIB,
  ) {
    for (let number = 0; number < hosts; number += 1)
      this.table.put(hostName(number), {
        name: hostName(number),
        cluster: 'default',
        hypervisor: 'xen',
        ready: true,
        unschedulable: false,
        memoryBytes: hostGib * GIB,
        vcpus: hostGib * 2,
        revision: 1,
        labels: { 'kubernetes.io/hostname': hostName(number) },
      });
    this.book = new AvailabilityBook(this.ground, () => this.machines.values());
    this.book.promiseOf('default', guarantee);
  }

  get planner(): FailoverPlanner {
    return this.book.plannerOf('default') as FailoverPlanner;
  }

  /** A planner that has seen nothing yet. */
  anew(): FailoverPlanner {
    const book = new AvailabilityBook(this.ground, () => this.machines.values());
    book.promiseOf('default', this.guarantee);
    return book.plannerOf('default') as FailoverPlanner;
  }

  request({ vcpus, gib }: Flavour, more: Partial<PlacementRequest> = {}): PlacementRequest {
    this.count += 1;
    return {
      virtualMachine: { uid: `machine-${this.count}`, name: `vm-${this.count}`, namespace: 'default' },
      hypervisor: 'any',
      guestType: 'pvh',
      vcpus,
      memoryBytes: gib * GIB,
      ha: ALWAYS,
      ...more,
    };
  }

  place(request: PlacementRequest, slot: number): Uuid {
    const { uid, namespace } = request.virtualMachine;
    this.table.use(this.table.uids[slot] ?? '', request, 1);
    const far = request.affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
    if (request.labels) this.affinity.put(uid, { uid, namespace, labels: request.labels, far, slot });
    const occupied = { placement: uid, request, slot, cell: undefined };
    this.machines.set(uid, occupied);
    this.book.placed(occupied);
    return uid;
  }

  release(placement: Uuid): void {
    const occupied = this.machines.get(placement);
    if (!occupied) return;
    this.machines.delete(placement);
    this.affinity.remove(placement);
    this.table.use(this.table.uids[occupied.slot] ?? '', occupied.request, -1);
    this.book.released(occupied);
  }

  freeGib(slot: number): number {
    return this.table.freeMemory(slot) / GIB;
  }
}

export const COVERED = ({ plan }: Scenario): boolean => plan.verdict === 'covered';

export const slotsOf = ({ hosts }: FailoverFleet): number[] => Array.from({ length: hosts }, (_, slot) => slot);
