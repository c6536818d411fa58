import { clusterKind, faultRuleKind, hostKind, type KindDefinition } from '@xenolith/contracts';
import type { JsonObject, Random, StoredDocument } from '@xenolith/kernel';
import type { Users } from './users.js';

/** How often somebody does something about the power of hosts. */
const OFTEN = 0.5;
const RULE_NAMES = 4;
const COMMANDS = ['PowerOffHost', 'PowerOnHost'] as const;

/** What the dice make those do who look after the power of hosts. */
export class PowerDice {
  constructor(
    private readonly users: Users,
    private readonly random: Random,
  ) {}

  act(): void {
    const { random } = this;
    if (!random.chance(OFTEN)) return;
    const dice = random.below(10);
    if (dice < 7) this.switchPower();
    else if (dice < 9) this.createFaultRule();
    else this.changeMode();
  }

  private switchPower(): void {
    // One host at least is nobody's to park by hand.
    const [, ...hosts] = this.users.documents('host');
    if (hosts.length > 0) this.change(hostKind, this.random.pick(hosts), { parked: this.random.chance(0.5) });
  }

  private createFaultRule(): void {
    const { random } = this;
    const effect = random.pick([
      { fail: { code: 'fault_injected', message: 'there is no power' } },
      { timeout: true },
      { delay: 1 + random.below(40) },
      { delay: 1 + random.below(40) },
    ]);
    const match = { commands: [random.pick(COMMANDS)], phase: random.pick(['before', 'after']) };
    const spec = { match, effect, count: 1 + random.below(2), seed: random.below(1_000) };
    void this.users.create(faultRuleKind, { name: `power-${random.below(RULE_NAMES)}` }, spec);
  }

  private changeMode(): void {
    const [cluster] = this.users.documents('cluster');
    const mode = this.random.pick(['Off', 'Manual', 'Automatic', 'Automatic']);
    const { powerManagement } = (cluster?.document['spec'] ?? {}) as { powerManagement?: JsonObject };
    if (cluster) this.change(clusterKind, cluster, { powerManagement: { ...powerManagement, mode } });
  }

  private change(kind: KindDefinition, stored: StoredDocument, spec: JsonObject): void {
    this.users.change(kind, stored, (document) => ({ ...document, spec: { ...document.spec, ...spec } }), false);
  }
}
