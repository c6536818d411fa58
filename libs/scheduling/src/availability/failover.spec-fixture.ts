import type { PlacementRequest } from '@xenolith/contracts';
import { hostFacts, TestFleet } from '../fleet.spec-fixture.js';
import type { HostFacts } from '../host-table.js';
import { GIB, requestFor } from '../scheduler.spec-fixture.js';
import { AvailabilityBook, type Occupied } from './availability-book.js';
import type { FailoverPlanner, Guarantee, Scenario } from './failover-planner.js';
import { farTerms } from './resident.js';

export type Asked = Partial<PlacementRequest>;

export const ALWAYS = { restart: 'always', priority: 0, order: 0 } as const;

/** Hosts in memory with machines on them, and the planner of their cluster's failovers. */
export class FailoverFleet {
  readonly own = new TestFleet();
  readonly machines = new Map<string, Occupied>();
  readonly book = new AvailabilityBook(this.own.fleet, () => this.machines.values());

  readonly hosts: HostFacts[];

  constructor(hosts: readonly HostFacts[], guarantee: Partial<Guarantee> = {}) {
    this.hosts = [...hosts];
    for (const host of hosts) this.own.put(host);
    this.book.promiseOf('default', { hostFailures: 1, eviction: 'Never', ...guarantee });
  }

  get planner(): FailoverPlanner {
    const planner = this.book.plannerOf('default');
    if (!planner) throw new Error('the cluster promises nothing');
    return planner;
  }

  /** What there would be for the same machines and hosts if all was planned from nothing. */
  anew(): FailoverPlanner {
    const book = new AvailabilityBook(this.own.fleet, () => this.machines.values());
    book.promiseOf('default', this.planner.guarantee);
    return book.plannerOf('default') as FailoverPlanner;
  }

  putHost(facts: HostFacts): void {
    this.own.put(facts);
    this.book.hostChanged(this.own.slot(facts.name));
  }

  /** A known host says something else of itself. */
  change(facts: HostFacts): void {
    this.hosts.splice(
      this.hosts.findIndex(({ name }) => name === facts.name),
      1,
      facts,
    );
    this.putHost(facts);
  }

  promise(name: string, host: string, asked: Asked = {}): void {
    const request = requestFor(name, { memoryBytes: GIB, ha: ALWAYS, ...asked });
    this.book.promise({ placement: name, request, slot: this.own.slot(host), cell: undefined }, 0);
  }

  place(name: string, host: string, asked: Asked = {}): void {
    const request = requestFor(name, { memoryBytes: GIB, ha: ALWAYS, ...asked });
    const occupied = { placement: name, request, slot: this.own.slot(host), cell: undefined };
    const { memoryBytes, vcpus, resources, labels } = request;
    const { uid, namespace } = request.virtualMachine;
    this.own.table.use(`uid-${host}`, { memoryBytes, vcpus, resources }, 1);
    const far = farTerms(request);
    if (labels || far.length > 0)
      this.own.fleet.affinity.put(name, { uid, namespace, labels: labels ?? {}, far, slot: occupied.slot });
    this.machines.set(name, occupied);
    this.book.placed(occupied);
  }

  remove(name: string): void {
    const occupied = this.machines.get(name);
    if (!occupied) return;
    const { memoryBytes, vcpus, resources } = occupied.request;
    this.own.fleet.affinity.remove(name);
    this.machines.delete(name);
    this.own.table.use(this.own.table.uids[occupied.slot] ?? '', { memoryBytes, vcpus, resources }, -1);
    this.book.released(occupied);
  }

  scenario(...lost: readonly string[]): Scenario {
    const scenario = this.planner.scenarioOf(lost.map((name) => this.own.slot(name)));
    if (!scenario) throw new Error(`nothing is planned for the loss of ${lost.join(' and ')}`);
    return scenario;
  }

  verdict(...lost: readonly string[]): string {
    return this.scenario(...lost).plan.verdict;
  }

  /** Machine to host, of a plan that covers the loss. */
  seats(...lost: readonly string[]): Record<string, string> {
    const { plan } = this.scenario(...lost);
    if (plan.verdict !== 'covered') throw new Error(plan.shortage.message);
    return Object.fromEntries(
      plan.seats.map(({ machine, slot }) => [machine.placement, this.own.table.names[slot] ?? '']),
    );
  }

  whyNot(...lost: readonly string[]): string {
    const { plan } = this.scenario(...lost);
    return plan.verdict === 'covered' ? '' : plan.shortage.message;
  }

  /** Whether a machine would be let in on a host. */
  refusal(host: string, asked: Asked = {}): string | null {
    const request = requestFor('new', { memoryBytes: GIB, ha: ALWAYS, ...asked });
    const refused = this.book.checkOf(request)?.refusal(this.own.slot(host));
    return refused ? refused.shortage.message : null;
  }
}

export const host = (name: string, gib: number, more: Partial<HostFacts> = {}): HostFacts =>
  hostFacts(name, { memoryBytes: gib * GIB, ...more });
