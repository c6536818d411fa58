import type { ClusterAvailability, PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { assess } from '../availability/assessment.js';
import {
  AvailabilityBook,
  type AvailabilityCheck,
  type AvailabilityGround,
  type Occupied,
} from '../availability/availability-book.js';
import type { HostTable } from '../host-table.js';
import type { Guarantee } from '../availability/failover-planner.js';
import type { RestartRules } from '../availability/restart-rules.js';

/** A machine on a copy of the fleet; one that moves has two places. */
interface Located {
  readonly placement: Uuid;
  readonly request: PlacementRequest;
  /** -1: nowhere. */
  readonly slot: number;
  readonly cell: number | undefined;
  /** Where it goes. */
  readonly held: { readonly slot: number; readonly cell: number | undefined } | null;
}

/** Plans for the loss of hosts on a copy of the fleet, which follow its machines when somebody asks. */
export class Guard {
  private book: AvailabilityBook | null = null;
  /** The places of machines as the plans know them. */
  private readonly known = new Map<Uuid, readonly Occupied[]>();
  private readonly moved = new Set<Located>();

  constructor(
    private readonly ground: AvailabilityGround,
    private readonly promised: {
      readonly guarantees: ReadonlyMap<string, Guarantee>;
      readonly restarts: Pick<RestartRules, 'of'>;
      /** All machines, as they are when the plans are first asked for. */
      readonly machines: () => Iterable<Located>;
    },
  ) {}

  /** A machine is, or is about to be, elsewhere than before. */
  follow(machine: Located): void {
    if (this.book) this.moved.add(machine);
  }

  /** A host takes machines that did not, or the other way round. */
  hostChanged(slot: number): void {
    this.book?.hostChanged(slot);
  }

  /** A host is taken for on, in the table and in the plans; the answer takes that back. */
  opened(table: HostTable, slot: number): () => void {
    const before = table.turn(slot);
    this.hostChanged(slot);
    return () => {
      table.turn(slot, before);
      this.hostChanged(slot);
    };
  }

  promises(cluster: string): boolean {
    return this.promised.guarantees.has(cluster);
  }

  /** Undefined: nothing that is promised can be broken. */
  checkOf(request: PlacementRequest): AvailabilityCheck | undefined {
    return this.promised.guarantees.size === 0 ? undefined : this.current().checkOf(request);
  }

  /** Whether what a cluster promises holds; null: it promises nothing. */
  assessment(cluster: string): ClusterAvailability | null {
    if (!this.promises(cluster)) return null;
    const book = this.current();
    book.complete();
    return assess(this.ground.table, book.plannerOf(cluster), undefined);
  }

  private current(): AvailabilityBook {
    this.book ??= this.open();
    for (const machine of this.moved) this.catchUp(this.book, machine);
    this.moved.clear();
    return this.book;
  }

  private open(): AvailabilityBook {
    for (const machine of this.promised.machines()) this.known.set(machine.placement, this.placesOf(machine));
    const occupied = (): Iterable<Occupied> => [...this.known.values()].flat();
    const book = new AvailabilityBook(this.ground, occupied, (machine) => this.promised.restarts.of(machine));
    for (const [cluster, guarantee] of this.promised.guarantees) book.promiseOf(cluster, guarantee);
    // What is not planned yet could be broken unseen.
    book.complete();
    return book;
  }

  private placesOf({ placement, request, slot, cell, held }: Located): readonly Occupied[] {
    if (slot < 0) return [];
    const here = { placement: `${placement}@${slot}`, request, slot, cell };
    if (held === null) return [here];
    const exceptHost = this.ground.table.names[slot] ?? '';
    return [here, { placement: `${placement}@${held.slot}`, request: { ...request, exceptHost }, ...held }];
  }

  private catchUp(book: AvailabilityBook, machine: Located): void {
    const before = this.known.get(machine.placement) ?? [];
    const now = this.placesOf(machine);
    const isAmong = ({ slot, cell }: Occupied, places: readonly Occupied[]): boolean =>
      places.some((place) => place.slot === slot && place.cell === cell);
    this.known.set(machine.placement, now);
    for (const place of before) if (!isAmong(place, now)) book.released(place);
    for (const place of now) if (!isAmong(place, before)) book.placed(place);
  }
}
