import type { PlacementExplanation, PlacementRequest } from '@xenolith/contracts';
import type { Choice } from './choice.js';
import { deferralMessage, explainRefusal } from './explanation.js';
import { fitsOn, refusedBy, FILTERS, type Filter, type Wish } from './filters.js';
import { emptyFleet } from './fleet.js';
import type { HostFacts } from './host-table.js';
import { machineWish, type AffineMachine } from './machine-affinity.js';
import { GIB, requestFor } from './scheduler.spec-fixture.js';
import type { SchedulingPolicy } from './scores.js';

export const hostFacts = (name: string, more: Partial<HostFacts> = {}): HostFacts => ({
  name,
  cluster: 'default',
  hypervisor: 'xen',
  ready: true,
  unschedulable: false,
  memoryBytes: 8 * GIB,
  vcpus: 16,
  revision: 1,
  labels: { 'kubernetes.io/hostname': name, ...more.labels },
  ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== 'labels')),
});

type Asked = Partial<PlacementRequest>;

/** Hosts in memory, and the questions that the scheduler asks of them. */
export class TestFleet {
  readonly fleet = emptyFleet();

  constructor(...hosts: readonly HostFacts[]) {
    for (const host of hosts) this.put(host);
  }

  get table() {
    return this.fleet.table;
  }

  put(host: HostFacts): void {
    this.table.put(`uid-${host.name}`, host);
  }

  slot(name: string): number {
    return this.table.slotNamed(name) ?? -1;
  }

  /** Takes memory and vCPUs of a host. */
  use(name: string, memoryBytes: number, vcpus = 1, more: { cell?: number; resources?: Record<string, number> } = {}) {
    this.table.use(`uid-${name}`, { memoryBytes, vcpus, ...more }, 1);
  }

  machine(name: string, host: string, more: Partial<AffineMachine> = {}): void {
    const slot = this.slot(host);
    this.fleet.affinity.put(name, { uid: `uid-${name}`, namespace: 'default', labels: {}, far: [], slot, ...more });
  }

  wish(asked: Asked, more: Partial<Wish> = {}): Wish {
    const request = requestFor('vm', asked);
    return {
      request,
      class: this.fleet.classes.of(request),
      machines: machineWish(this.fleet.affinity, request),
      ...more,
    };
  }

  choice(asked: Asked, policy: SchedulingPolicy = 'balance', seed = 0): Choice | null {
    return this.fleet.search.choose(this.wish(asked), { policy, seed, nowMs: 0 });
  }

  choose(asked: Asked, policy: SchedulingPolicy = 'balance', seed = 0): string | undefined {
    return this.table.names[this.choice(asked, policy, seed)?.slot ?? -1];
  }

  /** The first filter that refuses a host; null: it fits. */
  refusal(host: string, asked: Asked, more: Partial<Wish> = {}): Filter | null {
    return FILTERS[refusedBy(this.fleet.outlook, this.slot(host), this.wish(asked, more))] ?? null;
  }

  fits(host: string, asked: Asked): boolean {
    return fitsOn(this.fleet.outlook, this.slot(host), this.wish(asked));
  }

  explain(asked: Asked): PlacementExplanation {
    const wish = this.wish(asked);
    return explainRefusal(this.fleet.outlook, wish, this.fleet.search.refusal(wish));
  }

  whyNot(asked: Asked): string {
    return deferralMessage(this.explain(asked), this.wish(asked));
  }
}
