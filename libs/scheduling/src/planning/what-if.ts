import type { PlacementExplanation, PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { CapacityIndex } from '../capacity.index.js';
import { HostSearch } from '../choice.js';
import { deferralMessage, explainRefusal } from '../explanation.js';
import { fitsOn, type Wish } from '../filters.js';
import { cellToReserve, NO_CELL } from '../host-cells.js';
import { HostShare } from '../host-share.js';
import { AffinityBook, machineWish } from '../machine-affinity.js';
import { ClassBook } from '../request-class.js';
import type { Outlook, SchedulingPolicy } from '../scores.js';
import { WordBook } from '../word-book.js';
import type { Refused } from '../availability/failover-planner.js';
import { Guard } from './guard.js';
import type { MachineKnowledge, MachineLoad, PlannedMachine, Stay } from './planned-machine.js';
import type { Standing } from './standing.js';

/** What a guest writes to while it is copied, where nobody measured it: a server of a few GiB under light load. */
const ASSUMED_DIRTY_BYTES_PER_SECOND = 32 * 2 ** 20;

/** CPU is counted in whole thousandths of a thread, so that sums come out the same in whatever order machines come and go. */
const PARTS = 1_000;

interface Machine extends PlannedMachine {
  slot: number;
  cell: number | undefined;
  /** Where it is, or was before it was removed. */
  home: number;
  /** Where it goes while it is still where it was. */
  held: { readonly slot: number; readonly cell: number | undefined } | null;
  readonly parts: number;
  /** Whether other machines' rules or its own look at where it is. */
  readonly ruled: boolean;
  wish: { readonly epoch: number; readonly wish: Wish } | null;
}

const farOf = ({ affinity }: PlacementRequest) =>
  affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];

/** Under which its second reservation is known while it moves. */
const heldName = (placement: Uuid): Uuid => `${placement}>`;

/**
 * A copy of the fleet as one index knows it: moves are tried on it and touch nothing else. Its filters are those of placement, with its own
 * table. A machine may leave its host when it is not fixed; where it may go, `fits` says.
 */
export class WhatIf {
  /** Of the filters and scores; lifetimes and the mix of flavours are the index's own and only read. */
  readonly outlook: Outlook;
  private readonly search: HostSearch;
  readonly guard: Guard;
  private readonly classes = new ClassBook();
  private readonly all: Machine[] = [];
  private readonly known = new Map<Uuid, Machine>();
  private readonly bySlot: Machine[][] = [];
  private readonly busy: Float64Array;
  private readonly threads: Float64Array;
  private readonly words = new WordBook<number>();
  /** Grows when a machine with rules comes or goes: wishes of before may no longer tell all that minds. */
  private epoch = 0;

  private constructor(
    private readonly standing: Standing,
    private readonly knowledge: MachineKnowledge & { readonly atMs?: number },
  ) {
    const table = standing.table.fork();
    const { lifetimes, mix } = standing;
    // Every scheduler makes the same plan, whatever hosts it looks after.
    this.outlook = { table, affinity: new AffinityBook(table), lifetimes, mix, share: new HostShare() };
    this.search = new HostSearch(this.outlook);
    const { guarantees, restarts } = standing;
    const ground = { ...this.outlook, classes: this.classes };
    this.guard = new Guard(ground, { guarantees, restarts, machines: () => this.all });
    this.busy = new Float64Array(table.length);
    this.threads = Float64Array.from({ length: table.length }, (_, slot) => standing.threadsOf(table.uids[slot] ?? ''));
    this.settleIn();
  }

  /** O(hosts + placements). `atMs`: the moment for which lifetimes are predicted. */
  static of(index: CapacityIndex, knowledge: MachineKnowledge & { readonly atMs?: number } = {}): WhatIf {
    return new WhatIf(index.standing(), knowledge);
  }

  /** By their placements' uids, those that were removed included. */
  machines(): readonly PlannedMachine[] {
    return this.all;
  }

  machine(placement: Uuid): PlannedMachine | undefined {
    return this.known.get(placement);
  }

  /** By their placements' uids; not those on their way there. */
  on(slot: number): readonly PlannedMachine[] {
    return this.bySlot[slot] ?? [];
  }

  /** Slots of the hosts of a cluster that are known, or of all, by name. */
  slots(cluster?: string): readonly number[] {
    const { table } = this.outlook;
    const slots = Array.from({ length: table.length }, (_, slot) => slot).filter(
      (slot) => table.present[slot] === 1 && (cluster === undefined || table.clusterOf(slot) === cluster),
    );
    const name = (slot: number): string => table.names[slot] ?? '';
    return slots.sort((left, right) => (name(left) < name(right) ? -1 : 1));
  }

  nameOf(slot: number): string {
    return this.outlook.table.names[slot] ?? '';
  }

  threadsOf(slot: number): number {
    return this.threads[slot] ?? 0;
  }

  /** How the machine's placement chooses hosts. */
  policyOf({ request }: PlannedMachine): SchedulingPolicy {
    return this.standing.policyOf(request.cluster);
  }

  /** Busy share of a host's hardware threads. */
  cpuShare(slot: number): number {
    return (this.busy[slot] ?? 0) / PARTS / Math.max(1, this.threads[slot] ?? 0);
  }

  /** Promised share of a host's memory. */
  memoryShare(slot: number): number {
    const { table } = this.outlook;
    return (table.usedMemory[slot] ?? 0) / Math.max(1, table.memory[slot] ?? 0);
  }

  /** No machine goes to the host from now on. */
  close(slot: number): void {
    this.outlook.table.close(slot);
    this.guard.hostChanged(slot);
  }

  /**
   * Whether another host of its cluster has room for the machine now and its rules allow it, while its own still holds its place; for one that was removed:
   * whether any has.
   */
  fits(machine: PlannedMachine, slot: number): boolean {
    return fitsOn(this.outlook, slot, this.wish(this.own(machine)));
  }

  /** What the cluster promises of the loss of hosts and could not keep with the machine there; null: it keeps all of it. */
  breach(machine: PlannedMachine, slot: number): Refused | null {
    return this.guard.checkOf(this.wish(this.own(machine)).request)?.refusal(slot) ?? null;
  }

  /** Why no host takes the machine, as placement says it. */
  refusal(machine: PlannedMachine): { readonly message: string; readonly explanation: PlacementExplanation } {
    const plain = this.wish(this.own(machine));
    const wish = { ...plain, availability: this.guard.checkOf(plain.request) };
    const explanation = explainRefusal(this.outlook, wish, this.search.refusal(wish));
    return { message: deferralMessage(explanation, wish), explanation };
  }

  /** Whether rules between machines look at this one. */
  isRuled(machine: PlannedMachine): boolean {
    return this.own(machine).ruled;
  }

  /** The machine goes to another host at once; answers where it was. */
  move(machine: PlannedMachine, slot: number): Stay {
    this.hold(machine, slot);
    return this.settle(machine);
  }

  /** A place on the other host is held for it, as by a migration that begins. */
  hold(machine: PlannedMachine, slot: number): void {
    this.holdIn(this.own(machine), { slot, cell: this.cellIn(this.own(machine), slot) });
  }

  /** Its migration ends: what it had where it was is free; answers where that is. */
  settle(machine: PlannedMachine): Stay {
    const own = this.own(machine);
    const { slot, cell, held } = own;
    if (held === null) throw new Error(`placement ${own.placement} is not on its way`);
    this.count(own, { slot, cell }, -1);
    this.leave(own);
    own.held = null;
    this.guard.follow(own);
    this.outlook.affinity.remove(heldName(own.placement));
    this.arrive(own, held);
    return { machine, slot, cell };
  }

  /** The machine is gone, as when its host failed. */
  remove(machine: PlannedMachine): Stay {
    const own = this.own(machine);
    const { slot, cell } = own;
    this.count(own, own, -1);
    this.leave(own);
    this.outlook.affinity.remove(own.placement);
    own.slot = -1;
    own.wish = null;
    this.guard.follow(own);
    if (own.ruled) this.epoch += 1;
    return { machine, slot, cell };
  }

  /** A machine that was removed is put on a host. */
  put(machine: PlannedMachine, slot: number): void {
    const own = this.own(machine);
    this.putIn(own, { slot, cell: this.cellIn(own, slot) });
  }

  /** Undoes one move or removal exactly. */
  back({ machine, slot, cell }: Stay): void {
    const own = this.own(machine);
    if (own.slot < 0) {
      this.putIn(own, { slot, cell });
      return;
    }
    this.holdIn(own, { slot, cell });
    this.settle(own);
  }

  private own(machine: PlannedMachine): Machine {
    const own = this.known.get(machine.placement);
    if (!own) throw new Error(`placement ${machine.placement} is not of this copy`);
    return own;
  }

  private settleIn(): void {
    const { table } = this.outlook;
    const { placements } = this.standing;
    const ofMachine = new Map<Uuid, number>();
    for (const { request, hostUid } of placements.values()) {
      const { uid } = request.virtualMachine;
      if (hostUid !== null) ofMachine.set(uid, (ofMachine.get(uid) ?? 0) + 1);
    }
    for (const placement of [...placements.keys()].sort()) {
      const { request, hostUid, cell } = placements.get(placement) ?? {};
      const slot = table.slotOf(hostUid ?? '');
      if (!request || slot === undefined) continue;
      const moving = (ofMachine.get(request.virtualMachine.uid) ?? 0) > 1;
      const machine = this.machineOf(placement, request, { slot, cell, moving });
      this.all.push(machine);
      this.known.set(placement, machine);
      this.words.count(request, slot, 1);
      this.arrive(machine, { slot, cell });
    }
  }

  private machineOf(
    placement: Uuid,
    request: PlacementRequest,
    at: { readonly slot: number; readonly cell: number | undefined; readonly moving: boolean },
  ): Machine {
    const { knowledge } = this;
    const load = knowledge.load?.(placement, request) ?? this.assumed(request, at.slot);
    return {
      placement,
      request,
      slot: at.slot,
      cell: at.cell,
      home: at.slot,
      held: null,
      load,
      parts: Math.round(load.cpu * PARTS),
      remainingMs: this.standing.lifetimes.remaining(placement, knowledge.atMs ?? 0),
      fixed: at.moving
        ? 'it is on its way already'
        : (this.bound(request, at.slot) ?? knowledge.fixed?.(placement, request)),
      ruled: request.labels !== undefined || farOf(request).length > 0 || request.antiAffinity !== undefined,
      wish: null,
    };
  }

  private bound({ host, exceptHost }: PlacementRequest, slot: number): string | undefined {
    const { table } = this.outlook;
    if (table.present[slot] !== 1) return 'its host is not known';
    if (table.ready[slot] !== 1) return `host ${this.nameOf(slot)} is not ready`;
    // A migration names its target and what it leaves: that binds it no longer than until it is there.
    return host !== undefined && exceptHost === undefined ? `it is bound to host ${host}` : undefined;
  }

  private assumed({ vcpus, memoryBytes }: PlacementRequest, slot: number): MachineLoad {
    const { table } = this.outlook;
    const perVcpu = (this.threads[slot] ?? 0) / Math.max(1, table.vcpus[slot] ?? 0);
    return {
      cpu: vcpus * perVcpu,
      memoryBytes,
      dirtyBytesPerSecond: ASSUMED_DIRTY_BYTES_PER_SECOND,
      measured: false,
    };
  }

  private cellIn({ request }: Machine, slot: number): number | undefined {
    const prefer = this.standing.policyOf(request.cluster) === 'balance' ? 'emptiest' : 'tightest';
    const cell = cellToReserve(this.outlook.table, slot, request, { prefer });
    return cell === NO_CELL ? undefined : cell;
  }

  private putIn(own: Machine, at: { readonly slot: number; readonly cell: number | undefined }): void {
    this.count(own, at, 1);
    this.arrive(own, at);
    this.guard.follow(own);
    if (own.ruled) this.epoch += 1;
  }

  private holdIn(own: Machine, at: { readonly slot: number; readonly cell: number | undefined }): void {
    if (own.held !== null) throw new Error(`placement ${own.placement} is on its way already`);
    own.held = at;
    own.wish = null;
    this.guard.follow(own);
    this.count(own, at, 1);
    this.affine(own, heldName(own.placement), at.slot);
  }

  /** What is promised of a host, and its words. */
  private count(own: Machine, at: { slot: number; cell: number | undefined }, sign: 1 | -1): void {
    const { table } = this.outlook;
    const { memoryBytes, vcpus, resources } = own.request;
    table.use(table.uids[at.slot] ?? '', { memoryBytes, vcpus, cell: at.cell, resources }, sign);
    this.words.count(own.request, at.slot, sign);
  }

  private leave(own: Machine): void {
    const here = this.bySlot[own.slot] ?? [];
    here.splice(here.indexOf(own), 1);
    this.busy[own.slot] = (this.busy[own.slot] ?? 0) - own.parts;
  }

  private arrive(own: Machine, { slot, cell }: { readonly slot: number; readonly cell: number | undefined }): void {
    const here = (this.bySlot[slot] ??= []);
    const after = here.findIndex((other) => other.placement > own.placement);
    here.splice(after < 0 ? here.length : after, 0, own);
    this.busy[slot] = (this.busy[slot] ?? 0) + own.parts;
    own.slot = own.home = slot;
    own.cell = cell;
    own.wish = null;
    this.affine(own, own.placement, slot);
  }

  private affine({ request }: Machine, placement: Uuid, slot: number): void {
    const far = farOf(request);
    if (!request.labels && far.length === 0) return;
    const { uid, namespace } = request.virtualMachine;
    this.outlook.affinity.put(placement, { uid, namespace, labels: request.labels ?? {}, far, slot });
  }

  private wish(own: Machine): Wish {
    if (own.wish?.epoch === this.epoch) return own.wish.wish;
    const { table } = this.outlook;
    // What was let in against a promise once is not moved against it.
    const { host: _named, allowOvercommit: _then, ...asked } = own.request;
    const { hypervisor, cluster } = table.traits.get(table.group[own.home] ?? 0) ?? asked;
    const { exceptHost: _left, ...anywhere } = asked;
    const among = { ...anywhere, hypervisor, cluster };
    const request = own.slot < 0 ? among : { ...among, exceptHost: this.nameOf(own.slot) };
    own.wish = { epoch: this.epoch, wish: this.wishOf(request) };
    return own.wish.wish;
  }

  /** A request as the filters want it, without what clusters promise. */
  wishOf(request: PlacementRequest): Wish {
    return {
      request,
      class: this.classes.of(request),
      antiAffine:
        request.antiAffinity === undefined
          ? undefined
          : { has: (slot) => this.words.hostsOf(request)?.has(slot) === true },
      machines: machineWish(this.outlook.affinity, request),
    };
  }
}
