import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { Fleet } from '../machine-affinity.js';
import type { ClassBook } from '../request-class.js';
import { ADMISSION_STEPS, FailoverPlanner, type Guarantee, type Refused } from './failover-planner.js';
import { residentOf, type Resident, type RestartRule } from './resident.js';

/** A machine that was promised a host and has not come after so long won't: its command came to nothing. */
const PROMISE_MS = 30_000;

/** A placement with the host that it has. */
export interface Occupied {
  readonly placement: Uuid;
  readonly request: PlacementRequest;
  readonly slot: number;
  readonly cell: number | undefined;
}

/** What the planners of all clusters look at. */
export interface AvailabilityGround extends Fleet {
  readonly classes: ClassBook;
}

/** Whether a machine would break what its cluster promises of failures, host by host. */
export interface AvailabilityCheck {
  /** Null: it would not. */
  refusal(slot: number): Refused | null;
}

/** Planners of failovers, for the clusters that promise to survive any. */
export class AvailabilityBook {
  private readonly planners = new Map<string, FailoverPlanner>();
  private readonly promises = new Map<Uuid, { readonly planner: FailoverPlanner; readonly atMs: number }>();

  constructor(
    private readonly ground: AvailabilityGround,
    /** All placements that have a host. */
    private readonly occupied: () => Iterable<Occupied>,
    /** What a machine's document says of its restart; undefined: what its placement says counts. */
    private readonly ruleOf: (machine: Uuid) => RestartRule | undefined = () => undefined,
  ) {}

  get idle(): boolean {
    return this.planners.size === 0;
  }

  plannerOf(cluster: string): FailoverPlanner | undefined {
    return this.planners.get(cluster);
  }

  /** What a cluster promises from now on; null: nothing. */
  promiseOf(cluster: string, guarantee: Guarantee | null): void {
    const before = this.planners.get(cluster);
    const same =
      before?.guarantee.hostFailures === guarantee?.hostFailures && before?.guarantee.eviction === guarantee?.eviction;
    if (!same) this.rebuild(cluster, guarantee);
  }

  /** A host has come, says something else of itself, or has gone. */
  hostChanged(slot: number): void {
    const { table } = this.ground;
    const cluster = table.present[slot] === 1 ? table.clusterOf(slot) : null;
    for (const [name, planner] of this.planners) {
      const isMember = planner.has(slot);
      // What runs on a host that comes anew may be known already.
      if (name === cluster && !isMember && (table.usedMemory[slot] ?? 0) > 0) this.rebuild(name, planner.guarantee);
      else if (name === cluster) planner.putHost(slot);
      else if (isMember) planner.removeHost(slot);
    }
  }

  relabelled(): void {
    for (const planner of this.planners.values()) planner.relabelled();
  }

  placed(occupied: Occupied): void {
    if (this.idle) return;
    const machine = this.resident(occupied);
    const own = this.planners.get(this.ground.table.clusterOf(occupied.slot));
    this.promises.delete(occupied.placement);
    for (const planner of this.planners.values())
      if (planner !== own) {
        planner.breakPromise(occupied.placement);
        planner.rulesChanged(machine);
      }
    own?.add(machine);
  }

  released(occupied: Occupied): void {
    if (this.idle) return;
    const machine = this.resident(occupied);
    for (const planner of this.planners.values()) {
      planner.remove(occupied.placement);
      planner.rulesChanged(machine);
    }
  }

  /** A machine is to be restarted otherwise than before. O(placements): people change that, one machine at a time. */
  ruleChanged(machine: Uuid): void {
    if (this.idle) return;
    for (const occupied of this.occupied()) {
      if (occupied.request.virtualMachine.uid !== machine) continue;
      this.released(occupied);
      this.placed(occupied);
    }
  }

  /** Plans for all losses of all clusters. */
  complete(): void {
    for (const planner of this.planners.values()) planner.complete();
  }

  /** Undefined: nothing that a cluster promises can be broken, or its breach is asked for. */
  checkOf(request: PlacementRequest): AvailabilityCheck | undefined {
    if (this.idle || request.allowOvercommit === true) return undefined;
    const { table } = this.ground;
    const known = new Map<number, Refused | null>();
    let spent = 0;
    return {
      refusal: (slot) => {
        const planner = this.planners.get(table.clusterOf(slot));
        if (!planner) return null;
        const seen = known.get(slot);
        if (seen !== undefined) return seen;
        if (spent > ADMISSION_STEPS) return GIVEN_UP;
        const before = planner.steps;
        const refused = planner.refusalOf(this.resident({ ...ARRIVING, request, slot }));
        spent += planner.steps - before;
        known.set(slot, refused);
        return refused;
      },
    };
  }

  /** A host was proposed for a machine: others are admitted as if it were there. */
  promise(occupied: Occupied, atMs: number): void {
    this.forgetOld(atMs);
    const planner = this.planners.get(this.ground.table.clusterOf(occupied.slot));
    if (!planner) return;
    this.breakPromise(occupied.placement);
    planner.promise(this.resident(occupied));
    this.promises.set(occupied.placement, { planner, atMs });
  }

  breakPromise(placement: Uuid): void {
    this.promises.get(placement)?.planner.breakPromise(placement);
    this.promises.delete(placement);
  }

  /** Lets go of promises that came to nothing; whether there were any. */
  forgetOld(nowMs: number): boolean {
    let any = false;
    for (const [placement, { atMs }] of this.promises) {
      if (nowMs - atMs < PROMISE_MS) break;
      this.breakPromise(placement);
      any = true;
    }
    return any;
  }

  private rebuild(cluster: string, guarantee: Guarantee | null): void {
    this.planners.delete(cluster);
    if (!guarantee) return;
    const planner = new FailoverPlanner(this.ground, guarantee);
    this.planners.set(cluster, planner);
    const { table } = this.ground;
    for (let slot = 0; slot < table.length; slot += 1)
      if (table.present[slot] === 1 && table.clusterOf(slot) === cluster) planner.putHost(slot);
    for (const occupied of this.occupied())
      if (table.clusterOf(occupied.slot) === cluster) planner.add(this.resident(occupied));
  }

  private resident(occupied: Occupied): Resident {
    return residentOf(this.ground.classes, occupied, this.ruleOf(occupied.request.virtualMachine.uid));
  }
}

/** Nobody has its uid yet. */
const ARRIVING = { placement: '', cell: undefined } as const;

const GIVEN_UP: Refused = {
  lost: [],
  verdict: 'unknown',
  shortage: { message: 'too many plans were tried for other hosts to try this one' },
};
