import { clusterKind, hostKind, rebalancePlanKind, type KindDefinition } from '@xenolith/contracts';
import type { JsonObject, Random, StoredDocument } from '@xenolith/kernel';
import type { Users } from './users.js';

const PLAN_NAMES = 6;
const MODES = ['balance', 'consolidate', 'evacuate'] as const;

const nameOf = (stored: StoredDocument): string => (stored.document['metadata'] as { name: string }).name;

/** What the dice make those do who look after hosts. */
export class FleetDice {
  constructor(
    private readonly users: Users,
    private readonly random: Random,
  ) {}

  act(): void {
    const { random } = this;
    const dice = random.below(10);
    if (dice < 5) this.maintain();
    else if (dice < 7) this.plan();
    else if (dice < 8) this.approve();
    else if (dice < 9) this.deletePlan();
    else this.changePolicy();
  }

  private maintain(): void {
    // One host at least goes on: with all of them under maintenance nothing happens any more.
    const [, ...hosts] = this.users.documents('host');
    if (hosts.length === 0) return;
    const maintenance = this.random.chance(0.5);
    this.change(hostKind, this.random.pick(hosts), { maintenance });
  }

  private plan(): void {
    const { random } = this;
    const mode = random.pick(MODES);
    const hosts = this.users.documents('host').map(nameOf);
    if (hosts.length === 0) return;
    const named = mode === 'evacuate' ? { hosts: [random.pick(hosts)] } : {};
    const spec = { mode, ...named, maxMoves: 1 + random.below(4), approved: random.chance(0.5) };
    void this.users.create(rebalancePlanKind, { name: `plan-${random.below(PLAN_NAMES)}` }, spec);
  }

  private approve(): void {
    const plan = this.pick('rebalanceplan');
    if (plan) this.change(rebalancePlanKind, plan, { approved: true });
  }

  private deletePlan(): void {
    const plan = this.pick('rebalanceplan');
    const policy = this.random.pick(['Background', 'Foreground', 'Orphan'] as const);
    if (plan) this.users.delete(rebalancePlanKind, plan.streamId, policy);
  }

  private changePolicy(): void {
    const { random } = this;
    const cluster = this.pick('cluster');
    const mode = random.pick(['off', 'balance', 'consolidate']);
    const execution = random.pick(['manual', 'automatic']);
    if (cluster)
      this.change(clusterKind, cluster, { rebalancing: { mode, execution, intervalSeconds: 30, maxMoves: 4 } });
  }

  private change(kind: KindDefinition, stored: StoredDocument, spec: JsonObject): void {
    this.users.change(
      kind,
      stored,
      (document) => ({ ...document, spec: { ...document.spec, ...spec } }),
      this.random.chance(0.5),
    );
  }

  private pick(category: string): StoredDocument | undefined {
    const all = this.users.documents(category);
    return all.length === 0 ? undefined : this.random.pick(all);
  }
}
