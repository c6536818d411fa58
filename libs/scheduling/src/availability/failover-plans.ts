import {
  apiVersionOf,
  FAILOVER_MACHINES_NAMED,
  failoverPlanKind,
  type FailoverPlanStatus,
  type MachineReference,
} from '@xenolith/contracts';
import { uuidFrom, type JsonObject } from '@xenolith/kernel';
import type { Clusters } from '../clusters.js';
import type { HostTable } from '../host-table.js';
import { differing, type Assessment } from './assessment.js';
import type { AvailabilityBook } from './availability-book.js';
import type { Seat } from './board.js';
import type { FailoverPlanner, Scenario } from './failover-planner.js';
import type { LossPlan } from './loss.js';
import type { Resident } from './resident.js';

type Restarts = NonNullable<FailoverPlanStatus['restarts']>;
type Evictions = NonNullable<FailoverPlanStatus['evictions']>;

interface Found {
  readonly name: string;
  readonly cluster: string;
  readonly lost: readonly string[];
  readonly planner: FailoverPlanner;
  readonly scenario: Scenario;
}

const STATES = { covered: 'Guaranteed', impossible: 'Impossible', unknown: 'Unknown' } as const;

const referenceOf = ({ request: { virtualMachine } }: Resident): MachineReference => {
  const { uid, name, namespace } = virtualMachine;
  return { uid, name, namespace };
};

const fullName = ({ request: { virtualMachine } }: Resident): string =>
  `${virtualMachine.namespace}/${virtualMachine.name}`;

/** Higher priorities first, then lower orders; the rest is alike. */
const byTurn = (left: Seat, right: Seat): number =>
  right.machine.priority - left.machine.priority || left.machine.order - right.machine.order;

const byName = (left: Seat, right: Seat): number => (fullName(left.machine) < fullName(right.machine) ? -1 : 1);

/** The order of starts: a turn begins once the one before has been started and its longest delay is over. */
const inTurns = (seats: readonly Seat[], nameOf: (slot: number) => string): Restarts => {
  const sorted = seats.toSorted((left, right) => byTurn(left, right) || byName(left, right));
  let [turn, startsAfterSeconds, delay] = [1, 0, 0];
  return sorted.map((seat, index) => {
    const before = sorted[index - 1];
    if (before && byTurn(before, seat) !== 0) {
      turn += 1;
      startsAfterSeconds += delay;
      delay = 0;
    }
    const { machine, slot } = seat;
    delay = Math.max(delay, machine.request.ha?.startDelaySeconds ?? 0);
    const { priority, order } = machine;
    const [from, to] = [nameOf(machine.slot), nameOf(slot)];
    return { virtualMachine: referenceOf(machine), from, to, priority, order, turn, startsAfterSeconds };
  });
};

const evictionsOf = (evicted: readonly Resident[], nameOf: (slot: number) => string): Evictions =>
  evicted.map((machine) => ({
    virtualMachine: referenceOf(machine),
    host: nameOf(machine.slot),
    restart: machine.restart === 'best-effort' ? 'best-effort' : 'never',
  }));

const outcomeOf = (plan: LossPlan, nameOf: (slot: number) => string) => {
  if (plan.verdict !== 'covered') return { evicted: 0, message: plan.shortage.message };
  const { seats, evicted } = plan;
  return {
    evicted: evicted.length,
    message: '',
    ...(seats.length > 0 && { restarts: inTurns(seats, nameOf).slice(0, FAILOVER_MACHINES_NAMED) }),
    ...(evicted.length > 0 && { evictions: evictionsOf(evicted, nameOf).slice(0, FAILOVER_MACHINES_NAMED) }),
  };
};

/** The plans for the loss of hosts as objects, made of what the planners know at this moment. */
export class FailoverPlans {
  constructor(
    private readonly table: HostTable,
    private readonly book: AvailabilityBook,
    private readonly clusters: Clusters,
  ) {}

  /** Clusters that say something else of what they promise than is so. */
  assessments(): Iterable<Assessment> {
    return differing(this.table, this.book, this.clusters.told());
  }

  /** Lets go of machines that were about to come and did not; whether there were any. */
  forgetOld(nowMs: number): boolean {
    return this.book.forgetOld(nowMs);
  }

  /** In the order of their names, from behind one on. */
  *after(name = ''): Iterable<JsonObject> {
    for (const found of this.found()) if (found.name > name) yield this.documentOf(found);
  }

  named(name: string): JsonObject | undefined {
    const found = this.found().find((one) => one.name === name);
    return found && this.documentOf(found);
  }

  private found(): readonly Found[] {
    const found = [...this.clusters.guarantees().keys()].flatMap((cluster): readonly Found[] => {
      const planner = this.book.plannerOf(cluster);
      if (!planner) return [];
      return [...planner.all()].map((scenario) => {
        const lost = scenario.lost.map((slot) => this.nameOf(slot)).sort();
        return { name: lost.join('.'), cluster, lost, planner, scenario };
      });
    });
    return found.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  private readonly nameOf = (slot: number): string => this.table.names[slot] ?? '';

  private documentOf({ name, cluster, lost, planner, scenario }: Found): JsonObject {
    const { plan } = scenario;
    const dead = planner.on(scenario.lost);
    const count = (wanted: Resident['restart']): number => dead.filter(({ restart }) => restart === wanted).length;
    const status: FailoverPlanStatus = {
      state: STATES[plan.verdict],
      machines: count('always'),
      bestEffort: count('best-effort'),
      ...outcomeOf(plan, this.nameOf),
    };
    return {
      apiVersion: apiVersionOf(failoverPlanKind),
      kind: failoverPlanKind.kind,
      metadata: { name, uid: uuidFrom('failoverplan', ...scenario.lost.map((slot) => this.table.uids[slot] ?? '')) },
      spec: { cluster, lost: [...lost] },
      status: status,
    };
  }
}
