import { HOSTNAME_LABEL } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { Fleet } from '../machine-affinity.js';
import { Board } from './board.js';
import { planLoss, type Loss, type LossPlan } from './loss.js';
import { Population } from './population.js';
import { farTerms, nearTerms, type Resident } from './resident.js';
import { Roster } from './roster.js';
import type { Shortage } from './shortage.js';

/** Pairs of hosts are planned for in clusters of up to so many: 2,016 plans of two hosts' machines each. */
export const PAIRED_HOSTS_MAX = 64;

/**
 * Hosts asked for the plans that one change calls for: about a tenth of a second. What is left over then has no verdict but `unknown`, and is gone on with
 * at the next change.
 */
const SETTLE_STEPS = 1_000_000;

/** Hosts asked after one change to find plans for losses that had none: some milliseconds, as they may be many and the change small. */
const RETRY_STEPS = 100_000;

/** Hosts asked to find out whether one machine may be admitted somewhere: some tens of milliseconds, as others wait for their decision. */
export const ADMISSION_STEPS = 200_000;

/** What a cluster promises of the loss of hosts. */
export interface Guarantee {
  readonly hostFailures: 1 | 2;
  /** Whether machines that are not to be restarted always may end to make room for those that are. */
  readonly eviction: 'Never' | 'LowerTiers';
}

/** A loss of hosts with the plan that there is for it. */
export interface Scenario {
  readonly lost: readonly number[];
  readonly plan: LossPlan;
}

interface Kept extends Scenario {
  plan: LossPlan;
  /** The latest plan that there was: the next one keeps of it what it can. */
  before: Loss['before'];
  /** What rules between machines its plan has to heed. */
  heeds: 'none' | 'distance' | 'company';
}

const NO_PLAN: LossPlan = { verdict: 'unknown', shortage: { message: 'it has not been planned yet' } };
const NOTHING: Loss['before'] = { seats: [], evicted: [] };

/** Why a machine is not let in: the loss that could not be covered then. */
export interface Refused {
  readonly lost: readonly number[];
  readonly verdict: 'impossible' | 'unknown';
  readonly shortage: Shortage;
}

/** A machine that is to be let in, with the place that it leaves for it. */
interface Arrival {
  readonly machine: Resident;
  readonly left: Resident | undefined;
}

/** The scenario of hosts by their slots; a slot is below 2^20. */
const keyOf = (one: number, other = -1): number =>
  other < 0 ? one : (Math.min(one, other) + 1) * 2 ** 20 + Math.max(one, other);

/** Covered, and nobody has to end for it. */
const isGood = (plan: LossPlan): boolean => plan.verdict === 'covered' && plan.evicted.length === 0;

const heeded = ({ seats }: Loss['before']): Kept['heeds'] => {
  if (seats.some(({ machine }) => nearTerms(machine.request).length > 0)) return 'company';
  return seats.some(({ machine }) => machine.social) ? 'distance' : 'none';
};

/**
 * A plan for each loss of hosts of one cluster that it promises to survive, kept while machines and hosts come and go: a change is planned anew only for
 * losses whose plan it touches. A plan is exact (each of its machines passes placement's own filters), and where there is none that is proved, or said to be unknown.
 */
export class FailoverPlanner {
  private readonly board: Board;
  private readonly roster: Roster;
  private readonly members = new Set<number>();
  private readonly population: Population;
  private readonly scenarios = new Map<number, Kept>();
  /** Scenarios whose plan leans on a host. */
  private readonly leaning = new Map<number, Set<Kept>>();
  /** Scenarios whose plan may no longer hold, and those that have none but may have one now. */
  private readonly dirty = new Set<Kept>();
  private readonly retry = new Set<Kept>();
  /** Hosts on which there is more or less free than when plans were looked at last. */
  private readonly touched = new Set<number>();
  private membersChanged = true;
  /** Something has become free somewhere: what had no plan may have one. */
  private relieved = false;

  constructor(
    private readonly fleet: Fleet,
    readonly guarantee: Guarantee,
  ) {
    this.board = new Board(fleet);
    this.roster = new Roster(fleet.table, this.board);
    const nameOf = (slot: number): string => fleet.table.names[slot] ?? '';
    this.population = new Population(this.board.claims, nameOf, (machine) => this.changedMachine(machine));
  }

  /** Whether any two hosts are planned for. */
  get pairs(): boolean {
    return this.guarantee.hostFailures === 2 && this.members.size <= PAIRED_HOSTS_MAX;
  }

  get hosts(): number {
    return this.members.size;
  }

  has(slot: number): boolean {
    return this.members.has(slot);
  }

  /** A host has come, or says something else of itself. */
  putHost(slot: number): void {
    this.members.add(slot);
    this.changedHost(slot);
  }

  removeHost(slot: number): void {
    this.members.delete(slot);
    this.changedHost(slot);
  }

  /** Hosts have other labels: what places are is different. */
  relabelled(): void {
    for (const scenario of this.scenarios.values()) this.spoil(scenario);
  }

  /** A machine is on a host, as the table of hosts knows already. */
  add(machine: Resident): void {
    this.population.add(machine);
    this.touched.add(machine.slot);
  }

  remove(placement: Uuid): void {
    this.population.remove(placement);
    this.relieved = true;
  }

  /** A machine is on its way to a host, and the table of hosts does not know yet. */
  promise(machine: Resident): void {
    this.population.promise(machine);
  }

  breakPromise(placement: Uuid): void {
    this.population.breakPromise(placement);
    this.relieved = true;
  }

  /** All losses with their plans, which hold now. */
  all(): Iterable<Scenario> {
    this.settle();
    return this.scenarios.values();
  }

  /** Machines on hosts that are lost. */
  on(lost: readonly number[]): readonly Resident[] {
    return lost.flatMap((slot) => [...this.population.on(slot)]);
  }

  /** Plans for all losses, whatever that costs. */
  complete(): void {
    do this.settle();
    while (this.dirty.size > 0);
  }

  /** What there is for the loss of a host, or of two. */
  scenarioOf(lost: readonly number[]): Scenario | undefined {
    this.settle();
    return this.scenarios.get(keyOf(...(lost as [number])));
  }

  /**
   * Why a machine is not to be placed on the slot that it names; null: every loss that is covered stays so, and that of its own host is, if it is to be restarted. One that
   * moves within the cluster counts on that slot only, as once it is there.
   */
  refusalOf(machine: Resident): Refused | null {
    this.settle();
    const { slot, leaves } = machine;
    if (!this.members.has(slot)) return null;
    const from = leaves === undefined ? undefined : this.fleet.table.slotNamed(leaves);
    const left = from === undefined ? undefined : this.population.placeOn(machine.request.virtualMachine.uid, from);
    const { claims } = this.board;
    claims.shift(machine, { ...machine, bond: null }, 1);
    if (left) claims.shift(left, { ...left, bond: null }, -1);
    const refused = this.tryWith({ machine, left });
    if (left) claims.shift(left, { ...left, bond: null }, 1);
    claims.shift(machine, { ...machine, bond: null }, -1);
    return refused;
  }

  /** What has been asked of hosts so far, to bound what is asked for one purpose. */
  get steps(): number {
    return this.board.steps;
  }

  private tryWith(arrival: Arrival): Refused | null {
    const { machine, left } = arrival;
    const { slot, social, restart } = machine;
    const own = restart === 'always' ? [...this.losing(slot)] : [];
    const others = [...(this.leaning.get(slot) ?? [])].filter((kept) => social || !this.holds(kept, slot));
    const byRule = this.heeding(machine);
    // What is not covered can't be broken; but a machine that is to be restarted is not put where that is not sure, unless it is no surer where it is.
    const wanted = !left || this.isCoveredOn(left.slot) ? own : [];
    for (const scenario of new Set([...own, ...others, ...byRule])) {
      const covered = scenario.plan.verdict === 'covered';
      if (!covered && !wanted.includes(scenario)) continue;
      // Only a machine that leaves room behind may cover what was not.
      const plan = covered || left ? this.planFor(scenario, arrival) : scenario.plan;
      if (plan.verdict !== 'covered') return { lost: scenario.lost, ...plan };
    }
    return null;
  }

  /** Whether whoever is on a host is restarted, whichever loss takes it. */
  private isCoveredOn(slot: number): boolean {
    for (const { plan } of this.losing(slot)) if (plan.verdict !== 'covered') return false;
    return true;
  }

  private settle(): void {
    if (this.membersChanged) this.recast();
    else this.roster.moved(this.touched);
    this.membersChanged = false;
    for (const slot of this.touched)
      for (const scenario of this.leaning.get(slot) ?? []) if (!this.holds(scenario, slot)) this.spoil(scenario);
    this.touched.clear();
    if (this.relieved)
      for (const scenario of this.scenarios.values())
        if (!isGood(scenario.plan) && !this.dirty.has(scenario)) this.retry.add(scenario);
    this.relieved = false;
    this.planAll(this.dirty, SETTLE_STEPS);
    this.planAll(this.retry, RETRY_STEPS);
  }

  private planAll(scenarios: Set<Kept>, steps: number): void {
    const until = this.board.steps + steps;
    for (const scenario of scenarios) {
      if (this.board.steps > until) {
        scenario.plan = isGood(scenario.plan) ? scenario.plan : NO_PLAN;
        continue;
      }
      this.setPlan(scenario, this.planFor(scenario));
      scenarios.delete(scenario);
    }
  }

  /** What may no longer hold has no verdict until it is planned anew. */
  private spoil(scenario: Kept): void {
    this.dirty.add(scenario);
    scenario.plan = NO_PLAN;
  }

  private planFor(scenario: Kept, arrival?: Arrival): LossPlan {
    const { lost, before } = scenario;
    const { machine: arriving, left } = arrival ?? {};
    const there = this.on(lost).filter((machine) => machine !== left);
    const dead = arriving && lost.includes(arriving.slot) ? [...there, arriving] : there;
    const evictable = this.guarantee.eviction === 'LowerTiers' ? this.evictableOn(left) : undefined;
    // A plan that ends machines is made from nothing each time: perhaps it need not.
    const kept = before.evicted.length > 0 ? NOTHING : before;
    const machines = dead.filter(({ restart }) => restart === 'always');
    const leaving = left ? [...this.population.leaving(), left] : [...this.population.leaving()];
    return planLoss(this.board, { lost, dead, machines, before: kept, evictable, arriving, leaving }, this.roster);
  }

  private evictableOn(left: Resident | undefined): (slot: number) => readonly Resident[] {
    return (slot) => {
      const lower = [...this.population.on(slot)].filter(
        (machine) => machine !== left && machine.restart !== 'always' && !this.population.isPromised(machine.placement),
      );
      return lower.sort(
        (one, other) =>
          Number(one.restart === 'best-effort') - Number(other.restart === 'best-effort') ||
          one.priority - other.priority ||
          other.request.memoryBytes - one.request.memoryBytes ||
          (one.placement < other.placement ? -1 : 1),
      );
    };
  }

  private setPlan(scenario: Kept, plan: LossPlan): void {
    this.lean(scenario, (there) => there.delete(scenario));
    scenario.plan = plan;
    scenario.before = plan.verdict === 'covered' ? plan : NOTHING;
    scenario.heeds = heeded(scenario.before);
    this.lean(scenario, (there) => there.add(scenario));
  }

  private lean({ before }: Kept, change: (there: Set<Kept>) => unknown): void {
    const lean = ({ slot }: { readonly slot: number }): void => {
      let there = this.leaning.get(slot);
      if (!there) this.leaning.set(slot, (there = new Set()));
      change(there);
    };
    before.seats.forEach(lean);
    before.evicted.forEach(lean);
  }

  /** Whether all that a plan wants of a host is still to be had there; what rules say of larger places is not looked at. */
  private holds({ plan, lost, heeds }: Kept, slot: number): boolean {
    if (plan.verdict !== 'covered' || plan.evicted.length > 0 || heeds === 'company') return false;
    let [memoryBytes, vcpus, plain] = [0, 0, true];
    for (const { machine, slot: at } of plan.seats) {
      if (at !== slot) continue;
      memoryBytes += machine.request.memoryBytes;
      vcpus += machine.request.vcpus;
      plain &&= machine.plain;
    }
    const { board } = this;
    if (memoryBytes > board.claims.freeMemory(slot) || vcpus > board.claims.freeVcpus(slot)) return false;
    if (plain) return true;
    const machines = plan.seats.filter((seat) => seat.slot === slot).map(({ machine }) => machine);
    board.begin({ lost, dead: [], machines, leaving: [...this.population.leaving()] });
    const held = machines.every((machine) => board.canHold(machine, slot) && board.put(machine, slot));
    board.end();
    return held;
  }

  private changedMachine(machine: Resident): void {
    const { slot, restart, social } = machine;
    this.touched.add(slot);
    this.relieved ||= machine.leaves !== undefined;
    if (restart === 'always' || social) for (const scenario of this.losing(slot)) this.spoil(scenario);
    this.rulesChanged(machine);
  }

  /** A machine has come or gone, in whichever cluster: others' rules may be about it. */
  rulesChanged(machine: Resident): void {
    if (!machine.social) return;
    this.relieved = true;
    for (const scenario of this.heeding(machine)) this.spoil(scenario);
  }

  /** Scenarios in which a machine counts wherever it is: it may be company, or be in a place larger than a host. */
  private heeding({ request, social }: Resident): readonly Kept[] {
    if (!social) return [];
    const { labels, virtualMachine } = request;
    const meant = labels ? this.fleet.affinity.selecting(virtualMachine.namespace, labels) : [];
    const wide = [...meant, ...farTerms(request)].some(({ topologyKey }) => topologyKey !== HOSTNAME_LABEL);
    return [...this.scenarios.values()].filter(({ heeds }) => heeds === 'company' || (wide && heeds === 'distance'));
  }

  private changedHost(slot: number): void {
    this.membersChanged = true;
    this.relieved = true;
    this.touched.add(slot);
    for (const scenario of this.leaning.get(slot) ?? []) this.spoil(scenario);
  }

  /** Scenarios in which a host is lost. */
  private *losing(slot: number): Iterable<Kept> {
    const alone = this.scenarios.get(keyOf(slot));
    if (alone) yield alone;
    if (!this.pairs) return;
    for (const other of this.members) {
      const pair = other === slot ? undefined : this.scenarios.get(keyOf(slot, other));
      if (pair) yield pair;
    }
  }

  /** Hosts have come or gone: so have the losses that are planned for. */
  private recast(): void {
    this.roster.reset(this.members);
    const wanted = new Map<number, readonly number[]>();
    const members = [...this.members].sort((left, right) => left - right);
    for (const [place, slot] of members.entries()) {
      wanted.set(keyOf(slot), [slot]);
      if (this.pairs) for (const other of members.slice(place + 1)) wanted.set(keyOf(slot, other), [slot, other]);
    }
    for (const [key, scenario] of this.scenarios)
      if (!wanted.has(key)) {
        this.setPlan(scenario, NO_PLAN);
        this.dirty.delete(scenario);
        this.retry.delete(scenario);
        this.scenarios.delete(key);
      }
    for (const [key, lost] of wanted) {
      if (this.scenarios.has(key)) continue;
      const scenario: Kept = { lost, plan: NO_PLAN, before: NOTHING, heeds: 'none' };
      this.scenarios.set(key, scenario);
      this.dirty.add(scenario);
    }
  }
}
