import { HOSTNAME_LABEL, type MachineAffinityTerm } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { Fleet } from '../machine-affinity.js';
import type { Term } from '../machine-affinity.js';
import { PASSES } from '../request-class.js';
import { selects } from '../selectors.js';
import { Claims } from './claims.js';
import { farTerms, nearTerms, NO_BOND, type Bond, type Resident } from './resident.js';

/** A machine where it would be restarted. */
export interface Seat {
  readonly machine: Resident;
  readonly slot: number;
  /** The NUMA node that is kept for it, where it must be on one as a whole. */
  readonly cell: number | undefined;
}

/** One loss of hosts, played through: what is lost is gone, and machines are seated on what is left by the filters of placement. */
export class Board {
  readonly claims: Claims;
  /** How often a host was asked: what a plan costs. */
  steps = 0;
  private lost: readonly number[] = [];
  private dead: readonly Resident[] = [];
  private arriving: Resident | undefined;
  private leaving: readonly Resident[] = [];
  private at = 0;
  /** Few: those of one loss. The latest are taken back first. */
  private readonly seats: Seat[] = [];
  /** How many there are at a slot. */
  private readonly seated = new Map<number, number>();
  private readonly evicted = new Set<Resident>();

  constructor(private readonly fleet: Fleet) {
    this.claims = new Claims(fleet.table, fleet.affinity);
  }

  /**
   * Begins with hosts lost, and all machines that were on them, some of which are to be restarted. `arriving`: one that is about to come, and whose rules
   * count already. `leaving`: places whose machines count elsewhere.
   */
  begin(loss: {
    readonly lost: readonly number[];
    readonly dead: readonly Resident[];
    readonly machines: readonly Resident[];
    readonly arriving?: Resident | undefined;
    readonly leaving?: readonly Resident[];
  }): void {
    const { lost, dead, machines, arriving, leaving = [] } = loss;
    this.at += 1;
    this.lost = lost;
    const social = machines.filter((machine) => machine.social);
    this.arriving = arriving?.social === true && !this.isLost(arriving.slot) ? arriving : undefined;
    this.leaving = leaving.filter((machine) => machine.social);
    this.nameRules(social);
    // Rules about single hosts are never asked of a host that is lost: what was there counts for other rules only.
    this.dead = social.some((machine) => this.looksFurther(machine)) ? dead.filter((machine) => machine.social) : [];
    this.shiftRules(1);
  }

  /** Takes back all that was thought since `begin`, and answers it. */
  end(): { readonly seats: readonly Seat[]; readonly evicted: readonly Resident[] } {
    const thought = { seats: [...this.seats], evicted: [...this.evicted] };
    this.clear();
    this.shiftRules(-1);
    this.dead = [];
    this.lost = [];
    this.arriving = undefined;
    this.leaving = [];
    return thought;
  }

  /** Rules count whom they mean only once they are known: all of them, before anybody is asked who means it. */
  private nameRules(machines: readonly Resident[]): void {
    for (const machine of this.arriving ? [...machines, this.arriving] : machines) this.rulesOf(machine);
  }

  private looksFurther(machine: Resident): boolean {
    const { near, far, meant } = this.bondOf(machine);
    return near.length > 0 || [...far, ...meant].some(({ topologyKey }) => topologyKey !== HOSTNAME_LABEL);
  }

  private shiftRules(sign: 1 | -1): void {
    for (const gone of [this.dead, this.leaving])
      for (const machine of gone) this.claims.shiftBond(this.bondOf(machine), machine.slot, sign === 1 ? -1 : 1);
    if (this.arriving) this.claims.shiftBond(this.bondOf(this.arriving), this.arriving.slot, sign);
  }

  clear(): void {
    for (const seat of this.seats.toReversed()) this.take(seat);
    for (const machine of [...this.evicted]) this.admitAgain(machine);
  }

  isLost(slot: number): boolean {
    for (const lost of this.lost) if (lost === slot) return true;
    return false;
  }

  /** Whether a machine could be restarted on a host, beside those that are seated there. */
  canHold(machine: Resident, slot: number): boolean {
    this.steps += 1;
    const { table } = this.fleet;
    const { memoryBytes, vcpus } = machine.request;
    if (this.claims.freeMemory(slot) < memoryBytes || this.claims.freeVcpus(slot) < vcpus) return false;
    if (!this.mayTake(machine, slot)) return false;
    return machine.plain || (this.hasThings(machine, slot) && this.agreesWith(machine, slot, table.names[slot] ?? ''));
  }

  /** Whether a host would do but for what is on it. */
  mayTake(machine: Resident, slot: number): boolean {
    const { table } = this.fleet;
    return !this.isLost(slot) && table.isOpen(slot) && machine.class.verdict(table, slot) === PASSES;
  }

  put(machine: Resident, slot: number): Seat {
    const { claims } = this;
    const cell = machine.request.numa === 'single-numa-node' ? claims.cellFor(slot, machine.request) : undefined;
    const seat: Seat = { machine, slot, cell };
    this.putBack(seat);
    return seat;
  }

  take(seat: Seat): void {
    this.seats.splice(this.seats.lastIndexOf(seat), 1);
    const left = (this.seated.get(seat.slot) ?? 0) - 1;
    if (left > 0) this.seated.set(seat.slot, left);
    else this.seated.delete(seat.slot);
    this.shift(seat, -1);
  }

  /** Puts a seat as it was. */
  putBack(seat: Seat): void {
    this.seats.push(seat);
    this.seated.set(seat.slot, (this.seated.get(seat.slot) ?? 0) + 1);
    this.shift(seat, 1);
  }

  isUsed(slot: number): boolean {
    return this.seated.has(slot);
  }

  /** Slots where somebody is seated. */
  usedSlots(): Iterable<number> {
    return this.seated.keys();
  }

  seatsAt(slot: number): readonly Seat[] {
    return this.seats.filter((seat) => seat.slot === slot);
  }

  /** A machine that goes on running elsewhere ends, to make room. */
  evict(machine: Resident): void {
    this.evicted.add(machine);
    this.claims.shift(machine, { slot: machine.slot, cell: machine.cell, bond: this.bondIfSocial(machine) }, -1);
  }

  admitAgain(machine: Resident): void {
    if (!this.evicted.delete(machine)) return;
    this.claims.shift(machine, { slot: machine.slot, cell: machine.cell, bond: this.bondIfSocial(machine) }, 1);
  }

  isEvicted(machine: Resident): boolean {
    return this.evicted.has(machine);
  }

  private bondIfSocial(machine: Resident): Bond | null {
    return machine.social ? this.bondOf(machine) : null;
  }

  /** Looked up once in each plan. */
  bondOf(machine: Resident): Bond {
    const { bond } = machine;
    if (bond.at === this.at) return bond.terms;
    bond.at = this.at;
    bond.terms = this.lookUp(machine);
    return bond.terms;
  }

  private lookUp(machine: Resident): Bond {
    if (!machine.social) return NO_BOND;
    const { affinity } = this.fleet;
    const { labels, virtualMachine } = machine.request;
    return {
      ...this.rulesOf(machine),
      meant: labels ? affinity.selecting(virtualMachine.namespace, labels) : [],
      own: affinity
        .placedOf(virtualMachine.uid)
        .flatMap(({ slot }) => (this.isLost(slot) || this.isLeaving(virtualMachine.uid, slot) ? [] : [slot])),
    };
  }

  private isLeaving(machine: Uuid, slot: number): boolean {
    return this.leaving.some((place) => place.slot === slot && place.request.virtualMachine.uid === machine);
  }

  /** A machine's own rules; kept as long as the book of affinity counts them. */
  private rulesOf(machine: Resident): Pick<Bond, 'near' | 'far'> {
    const { bond, request } = machine;
    const { affinity } = this.fleet;
    const { near, far } = bond.terms;
    if (bond.named && near.every((term) => affinity.counts(term)) && far.every((term) => affinity.counts(term)))
      return bond.terms;
    const named = (terms: readonly MachineAffinityTerm[]): readonly Term[] =>
      terms.map((term) => affinity.term(request.virtualMachine.namespace, term));
    bond.terms = { ...NO_BOND, near: named(nearTerms(request)), far: named(farTerms(request)) };
    bond.named = true;
    return bond.terms;
  }

  private shift({ machine, slot, cell }: Seat, sign: 1 | -1): void {
    this.claims.shift(machine, { slot, cell, bond: this.bondIfSocial(machine) }, sign);
  }

  private hasThings(machine: Resident, slot: number): boolean {
    const { claims } = this;
    const { request } = machine;
    for (const [name, count] of machine.class.resources) if (claims.freeOf(slot, name) < count) return false;
    return request.numa !== 'single-numa-node' || claims.cellFor(slot, request) !== undefined;
  }

  private agreesWith(machine: Resident, slot: number, name: string): boolean {
    const { request, word } = machine;
    if (request.host !== undefined && request.host !== name) return false;
    if (word !== null && this.claims.hasWord(word, slot)) return false;
    return !machine.social || (this.hasCompany(machine, slot) && !this.hasRepellent(machine, slot));
  }

  private hasCompany(machine: Resident, slot: number): boolean {
    const bond = this.bondOf(machine);
    if (bond.near.length === 0) return true;
    const { labels = {} } = machine.request;
    if (bond.near.every((term) => this.claims.meantNear(term, slot) > this.own(bond, bond.meant, term, slot)))
      return true;
    // As placement does: the first of a group that wants to be together may be anywhere.
    return bond.near.every((term) => selects(term.selector, labels) && this.claims.meansNobody(term));
  }

  private hasRepellent(machine: Resident, slot: number): boolean {
    const bond = this.bondOf(machine);
    const { claims } = this;
    return (
      bond.far.some((term) => claims.meantNear(term, slot) > this.own(bond, bond.meant, term, slot)) ||
      bond.meant.some((term) => claims.holdersNear(term, slot) > this.own(bond, bond.far, term, slot))
    );
  }

  /** The same machine's other placements that count for a term in a slot's place: it is neither near to nor far from itself. */
  private own({ own }: Bond, counting: readonly Term[], term: Term, slot: number): number {
    if (own.length === 0 || !counting.includes(term)) return 0;
    const { affinity } = this.fleet;
    const place = affinity.domain(term, slot);
    return own.filter((other) => affinity.domain(term, other) === place).length;
  }
}
