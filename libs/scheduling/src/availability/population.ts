import type { Uuid } from '@xenolith/kernel';
import type { Claims } from './claims.js';
import type { Resident } from './resident.js';

const NOBODY: ReadonlyMap<Uuid, Resident> = new Map<Uuid, Resident>();

/**
 * The machines of a cluster, each where it counts. One that moves has a place on two hosts and counts where it goes: what it holds where it was is free before
 * anything is restarted, and if the move fails it counts there again.
 */
export class Population {
  /** Where machines count. */
  private readonly bySlot = new Map<number, Map<Uuid, Resident>>();
  private readonly places = new Map<Uuid, Resident>();
  /** All places of a machine, by its uid: one, but while it moves. */
  private readonly byMachine = new Map<Uuid, readonly Resident[]>();
  /** Places that machines are about to leave. */
  private readonly left = new Map<Uuid, Resident>();
  private readonly promised = new Map<Uuid, Resident>();

  constructor(
    private readonly claims: Claims,
    private readonly nameOf: (slot: number) => string,
    /** A machine has begun, or ceased, to count where it is. */
    private readonly changed: (machine: Resident) => void,
  ) {}

  on(slot: number): Iterable<Resident> {
    return (this.bySlot.get(slot) ?? NOBODY).values();
  }

  /** Where a machine counts among the places that it has. */
  placeOn(machine: Uuid, slot: number): Resident | undefined {
    return this.byMachine.get(machine)?.find((place) => place.slot === slot && !this.left.has(place.placement));
  }

  leaving(): Iterable<Resident> {
    return this.left.values();
  }

  isPromised(placement: Uuid): boolean {
    return this.promised.has(placement);
  }

  /** A machine is on a host, as the table of hosts knows already. */
  add(machine: Resident): void {
    const promised = this.promised.get(machine.placement);
    if (promised) {
      this.withdraw(promised);
      // Plans that were made for the promised one hold for the same machine where it was promised.
      if (isAlike(promised, machine)) {
        if (machine.social) this.changed(promised);
        return;
      }
      this.leave(promised);
    }
    this.enter(machine);
  }

  remove(placement: Uuid): void {
    const machine = this.places.get(placement);
    if (machine) this.leave(machine);
  }

  /** A machine is on its way to a host, and the table of hosts does not know yet. */
  promise(machine: Resident): void {
    this.breakPromise(machine.placement);
    this.promised.set(machine.placement, machine);
    this.claims.shiftRoom(machine, machine, 1);
    this.enter(machine);
  }

  breakPromise(placement: Uuid): void {
    const machine = this.promised.get(placement);
    if (!machine) return;
    this.withdraw(machine);
    this.leave(machine);
  }

  private withdraw(machine: Resident): void {
    this.promised.delete(machine.placement);
    this.claims.shiftRoom(machine, machine, -1);
  }

  private enter(machine: Resident): void {
    const others = this.placesOf(machine);
    this.places.set(machine.placement, machine);
    this.byMachine.set(uidOf(machine), [...others, machine]);
    const before = others.filter((other) => this.isFrom(machine, other));
    if (before.length === 0 && others.some((other) => this.isFrom(other, machine))) {
      this.setLeft(machine);
      return;
    }
    for (const other of before) {
      if (this.left.has(other.placement)) continue;
      this.uncount(other);
      this.setLeft(other);
    }
    this.count(machine);
  }

  private leave(machine: Resident): void {
    const others = this.placesOf(machine).filter((other) => other !== machine);
    this.places.delete(machine.placement);
    if (others.length > 0) this.byMachine.set(uidOf(machine), others);
    else this.byMachine.delete(uidOf(machine));
    if (this.left.delete(machine.placement)) {
      this.claims.shiftRoom(machine, machine, 1);
      return;
    }
    this.uncount(machine);
    for (const other of others)
      if (this.isFrom(machine, other) && this.left.delete(other.placement)) {
        this.claims.shiftRoom(other, other, 1);
        this.count(other);
      }
  }

  private placesOf(machine: Resident): readonly Resident[] {
    return this.byMachine.get(uidOf(machine)) ?? [];
  }

  /** Whether a place is that of a machine which leaves the other. */
  private isFrom(place: Resident, other: Resident): boolean {
    return place.leaves !== undefined && place.leaves === this.nameOf(other.slot);
  }

  private setLeft(machine: Resident): void {
    this.left.set(machine.placement, machine);
    this.claims.shiftRoom(machine, machine, -1);
  }

  private count(machine: Resident): void {
    const there = this.bySlot.get(machine.slot);
    if (there) there.set(machine.placement, machine);
    else this.bySlot.set(machine.slot, new Map([[machine.placement, machine]]));
    this.claims.shiftWord(machine, machine.slot, 1);
    this.changed(machine);
  }

  private uncount(machine: Resident): void {
    this.bySlot.get(machine.slot)?.delete(machine.placement);
    this.claims.shiftWord(machine, machine.slot, -1);
    this.changed(machine);
  }
}

const uidOf = ({ request }: Resident): Uuid => request.virtualMachine.uid;

const isAlike = (one: Resident, other: Resident): boolean =>
  one.slot === other.slot &&
  one.cell === other.cell &&
  one.restart === other.restart &&
  one.priority === other.priority &&
  one.order === other.order &&
  one.request.host === other.request.host;
