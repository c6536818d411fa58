import {
  faultRuleKind,
  hostKind,
  imageKind,
  MIGRATION_POLICIES,
  namespaceKind,
  networkKind,
  operationKind,
  portKind,
  storageDomainKind,
  virtualMachineKind,
  VIRTUAL_MACHINE_ACTIONS,
  volumeKind,
  type KindDefinition,
} from '@xenolith/contracts';
import type { JsonObject, Random, StoredDocument } from '@xenolith/kernel';
import { FleetDice } from './fleet-dice.js';
import { SnapshotDice } from './snapshot-dice.js';
import { NAMESPACE, type EditedDocument, type Users } from './users.js';

/** One thing that users do, and how often beside the others. */
interface Habit {
  readonly weight: number;
  readonly act: () => void;
}

const TEAMS = ['team-a', 'team-b'] as const;
const GUEST_ENDS = ['destroy', 'restart', 'preserve'] as const;
/** Names are few, so that users meet. */
const MACHINE_NAMES = 30;
const OTHER_NAMES = 12;
const LATE_NAMES = 3;
/** Room for one machine and for five, beside the router. */
const LATE_SUBNETS = ['10.2.0.0/30', '10.3.0.0/29'] as const;
const BATCH = 4;
/** Commands to hosts that fault rules strike. */
const STRUCK = [
  'StartDomain',
  'ShutdownDomain',
  'DestroyDomain',
  'SuspendDomain',
  'CheckpointDomain',
  'ResumeDomain',
  'AttachDisk',
  'DetachDisk',
  'ReceiveDomain',
  'MigrateDomain',
  'SettleMigration',
  'CancelMigration',
  'DeliverMigrationMessage',
] as const;
const SENSIBLE: Readonly<Record<string, readonly string[]>> = {
  Running: ['pause', 'reboot', 'hard-reboot', 'reboot', 'hard-reboot', 'shutdown', 'hard-shutdown', 'suspend'],
  Paused: ['unpause', 'unpause', 'hard-reboot', 'hard-shutdown'],
  Halted: ['start'],
  Suspended: ['resume', 'resume', 'hard-shutdown'],
};

interface Named {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly status: { readonly phase?: string; readonly powerState?: string };
}

const namedOf = (stored: StoredDocument): Named => stored.document as unknown as Named;

const actionOf = (stored: StoredDocument): unknown => (stored.document['spec'] as JsonObject)['action'];

/** The list without the device of that name, or with the device if there is none. */
const toggled = (devices: unknown, device: JsonObject): JsonObject[] => {
  const list = devices as readonly JsonObject[];
  const others = list.filter(({ name }) => name !== device['name']);
  return others.length < list.length ? others : [...list, device];
};

/** What the dice make users do. They don't wait for each other. */
export class UserDice {
  private readonly habits: readonly Habit[];
  private readonly total: number;

  constructor(
    private readonly users: Users,
    private readonly random: Random,
  ) {
    const fleet = new FleetDice(users, random);
    const snapshots = new SnapshotDice(users, random);
    this.habits = [
      { weight: 24, act: () => this.createMachine() },
      { weight: 3, act: () => this.createBatch() },
      { weight: 8, act: () => this.changeTheirMind() },
      { weight: 16, act: () => this.changeMachine() },
      { weight: 10, act: () => this.changeLive() },
      { weight: 14, act: () => this.migrateMachine() },
      { weight: 4, act: () => this.cancelMigration() },
      { weight: 14, act: () => snapshots.act() },
      { weight: 24, act: () => this.actOnMachine() },
      { weight: 4, act: () => this.operateOnMachine() },
      { weight: 12, act: () => this.deleteOne(virtualMachineKind) },
      { weight: 4, act: () => this.createVolume() },
      { weight: 2, act: () => this.growVolume() },
      { weight: 3, act: () => this.deleteOne(volumeKind) },
      { weight: 3, act: () => this.createPort() },
      { weight: 3, act: () => this.deleteOne(portKind) },
      { weight: 3, act: () => this.deleteOne(operationKind) },
      { weight: 2, act: () => this.chooseForOperation() },
      { weight: 2, act: () => this.createNamespace() },
      { weight: 1, act: () => this.deleteNamespace() },
      { weight: 2, act: () => this.createFaultRule() },
      { weight: 1, act: () => this.deleteOne(faultRuleKind) },
      { weight: 2, act: () => this.cordon() },
      { weight: 8, act: () => fleet.act() },
      { weight: 4, act: () => this.createLateThing() },
      { weight: 1, act: () => this.deleteOne(random.pick([networkKind, imageKind, storageDomainKind, hostKind])) },
    ];
    this.total = this.habits.reduce((sum, { weight }) => sum + weight, 0);
  }

  act(): void {
    let left = this.random.below(this.total);
    for (const habit of this.habits) {
      left -= habit.weight;
      if (left >= 0) continue;
      habit.act();
      return;
    }
  }

  private createMachine(): void {
    const { random } = this;
    const namespace = this.namespace();
    const disks: JsonObject[] = random.chance(0.4) ? [this.rootDisk()] : [];
    if (random.chance(0.2)) disks.push({ name: 'data', volume: `volume-${random.below(OTHER_NAMES)}` });
    const nic = {
      name: 'eth0',
      network: random.chance(0.15) ? this.lateName('net') : 'default',
      ...(random.chance(0.1) ? { ip: `10.1.0.${2 + random.below(6)}` } : {}),
    };
    void this.users.create(
      virtualMachineKind,
      { name: `vm-${random.below(MACHINE_NAMES)}`, namespace },
      {
        powerState: random.pick(['Running', 'Running', 'Running', 'Paused', 'Halted']),
        cpu: { vcpus: 1 + random.below(4), max: 4 },
        guestType: random.pick(['pvh', 'hvm']),
        memory: random.pick(['512Mi', '2Gi', '8Gi', '24Gi', '60Gi', '60Gi']),
        guest: { ignoresShutdown: random.chance(0.1) },
        disks,
        nics: random.chance(0.5) && namespace === NAMESPACE ? [nic] : [],
        ha: { restart: random.pick(['always', 'best-effort', 'never']) },
        placement: random.chance(0.2) ? { antiAffinity: 'spread' } : {},
        onPoweroff: random.pick(GUEST_ENDS),
        onReboot: random.pick(GUEST_ENDS),
        onCrash: random.pick(GUEST_ENDS),
      },
    );
  }

  private rootDisk(): JsonObject {
    const { random } = this;
    return {
      name: 'root',
      source: { image: random.chance(0.15) ? this.lateName('image') : 'debian-13' },
      ...(random.chance(0.15) ? { storageDomain: this.lateName('domain') } : {}),
    };
  }

  /** Things that machines may name before anybody has made them. */
  private lateName(kind: 'net' | 'image' | 'domain'): string {
    return `${kind}-${this.random.below(LATE_NAMES)}`;
  }

  /** Small, so that it is soon full. */
  private createLateThing(): void {
    const { random, users } = this;
    const kind = random.pick([networkKind, networkKind, imageKind, storageDomainKind]);
    if (kind === networkKind)
      void users.create(
        kind,
        { name: this.lateName('net'), namespace: NAMESPACE },
        { cidr: random.pick(LATE_SUBNETS) },
      );
    else if (kind === imageKind) void users.create(kind, { name: this.lateName('image') }, { size: '5Gi' });
    else void users.create(kind, { name: this.lateName('domain') }, { capacity: random.pick(['10Gi', '25Gi']) });
  }

  /** Several at the same moment, for what room there is. */
  private createBatch(): void {
    for (let left = BATCH; left > 0; left -= 1) this.createMachine();
  }

  /** Takes back the youngest machine, or its start, while that may still be under way. */
  private changeTheirMind(): void {
    const youngest = this.users.documents('virtualmachine').at(-1);
    if (!youngest) return;
    if (this.random.chance(0.5)) {
      this.users.delete(virtualMachineKind, youngest.streamId, 'Background');
      return;
    }
    const halted = (spec: JsonObject): JsonObject => ({ ...spec, powerState: 'Halted' });
    const edit = (document: EditedDocument): EditedDocument => ({ ...document, spec: halted(document.spec) });
    this.users.change(virtualMachineKind, youngest, edit, false);
  }

  private changeMachine(): void {
    const machine = this.pick(virtualMachineKind);
    if (!machine) return;
    const { random } = this;
    const edit = random.below(10);
    this.users.change(
      virtualMachineKind,
      machine,
      (document) => {
        if (edit < 6)
          return {
            ...document,
            spec: { ...document.spec, powerState: random.pick(['Running', 'Halted', 'Paused', 'Suspended']) },
          };
        if (edit < 8)
          return { ...document, metadata: { ...document.metadata, labels: { turn: `${random.below(100)}` } } };
        return { ...document, spec: { ...document.spec, memory: random.pick(['1Gi', '4Gi', '16Gi']) } };
      },
      random.chance(0.5),
    );
  }

  /** Most machines that this finds run, and follow at once. */
  private changeLive(): void {
    const machine = this.pick(virtualMachineKind);
    if (!machine) return;
    const { random } = this;
    const extra = { name: 'extra', size: '1Gi' };
    const change = random.pick<(spec: JsonObject) => JsonObject>([
      (spec) => ({ cpu: { ...(spec['cpu'] as JsonObject), vcpus: 1 + random.below(4) } }),
      (spec) => ({ cpu: { ...(spec['cpu'] as JsonObject), weight: random.pick([128, 512]) } }),
      () => ({ memory: { staticMax: '2Gi', dynamicMin: '1Gi', dynamicMax: random.pick(['1Gi', '2Gi']) } }),
      (spec) => ({ disks: toggled(spec['disks'], extra) }),
      (spec) => ({ nics: toggled(spec['nics'], { name: 'eth1', network: 'default' }) }),
      (spec) => ({
        disks: toggled(spec['disks'], { name: 'data', volume: `volume-${random.below(OTHER_NAMES)}` }),
        nics: toggled(spec['nics'], { name: 'eth1', network: this.lateName('net') }),
      }),
    ]);
    const edit = (document: EditedDocument): EditedDocument => ({
      ...document,
      spec: { ...document.spec, ...change(document.spec) },
    });
    this.users.change(virtualMachineKind, machine, edit, random.chance(0.5));
  }

  private actOnMachine(): void {
    const machine = this.pick(virtualMachineKind);
    if (!machine) return;
    // Mostly what makes sense as far as the user can see.
    const sensible = SENSIBLE[namedOf(machine).status.powerState ?? ''] ?? [];
    const all = Object.keys(VIRTUAL_MACHINE_ACTIONS);
    const action = this.random.pick(this.random.chance(0.2) || sensible.length === 0 ? all : sensible);
    this.users.act(machine, action, this.random.chance(0.2) ? { timeoutSeconds: 5 } : {});
  }

  private migrateMachine(): void {
    const running = this.users
      .documents('virtualmachine')
      .filter((stored) => namedOf(stored).status.powerState === 'Running');
    if (running.length === 0) return;
    const { random } = this;
    const host = this.pick(hostKind);
    const to = host !== undefined && random.chance(0.3) ? { to: namedOf(host).metadata.name } : {};
    const policy = random.chance(0.3) ? { policy: random.pick(MIGRATION_POLICIES) } : {};
    this.users.act(random.pick(running), 'migrate', { ...to, ...policy });
  }

  /** Wherever it is by then. */
  private cancelMigration(): void {
    const migrating = this.users
      .documents('operation')
      .filter((stored) => namedOf(stored).status.phase === 'Running' && actionOf(stored) === 'pool_migrate');
    const chosen = migrating.at(-1);
    if (chosen !== undefined) this.users.delete(operationKind, chosen.streamId, 'Background');
  }

  private operateOnMachine(): void {
    const machine = this.pick(virtualMachineKind);
    if (!machine) return;
    const { name, namespace = '' } = namedOf(machine).metadata;
    const target = { kind: virtualMachineKind.kind, name, namespace };
    this.users.operate(target, this.random.pick(Object.keys(VIRTUAL_MACHINE_ACTIONS)));
  }

  /** As an operator would, mostly where one is needed. */
  private chooseForOperation(): void {
    const all = this.users.documents('operation');
    const stuck = all.filter((stored) => namedOf(stored).status.phase === 'NeedsOperator');
    const chosen = stuck.length > 0 ? this.random.pick(stuck) : this.pick(operationKind);
    if (!chosen) return;
    const { name, namespace = '' } = namedOf(chosen).metadata;
    // Abandoning leaves things behind by will, which no invariant could tell from a leak.
    const choice = this.random.pick(['retry', 'undo']);
    this.users.operate({ kind: operationKind.kind, uid: chosen.streamId, name, namespace }, choice);
  }

  private createVolume(): void {
    const name = `volume-${this.random.below(OTHER_NAMES)}`;
    const spec = { size: '5Gi', provisioning: this.random.pick(['sparse', 'preallocated']) };
    void this.users.create(volumeKind, { name, namespace: this.namespace() }, spec);
  }

  private growVolume(): void {
    const volume = this.pick(volumeKind);
    if (!volume) return;
    const size = this.random.pick(['1Gi', '8Gi', '12Gi']);
    this.users.change(
      volumeKind,
      volume,
      (document) => ({ ...document, spec: { ...document.spec, size } }),
      this.random.chance(0.5),
    );
  }

  private createPort(): void {
    const name = `port-${this.random.below(OTHER_NAMES)}`;
    const ip = this.random.chance(0.3) ? { ip: `10.1.0.${2 + this.random.below(6)}` } : {};
    void this.users.create(portKind, { name, namespace: NAMESPACE }, { network: 'default', ...ip });
  }

  private createNamespace(): void {
    void this.users.create(namespaceKind, { name: this.random.pick(TEAMS) }, {});
  }

  private deleteNamespace(): void {
    const teams = this.users.documents('namespace').filter((stored) => namedOf(stored).metadata.name !== NAMESPACE);
    if (teams.length > 0) this.users.delete(namespaceKind, this.random.pick(teams).streamId, 'Background');
  }

  private createFaultRule(): void {
    const { random } = this;
    const effect = random.pick([
      { fail: { code: 'fault_injected', message: 'the dice say so' } },
      { fail: { code: 'host_out_of_memory', message: 'the dice say so' } },
      { timeout: true },
      { delay: 1 + random.below(40) },
      { crashHost: true },
    ]);
    const name = `rule-${random.below(OTHER_NAMES)}`;
    const match = {
      commands: random.chance(0.5) ? [random.pick(STRUCK)] : [],
      phase: random.pick(['before', 'after']),
    };
    const often = { probability: random.pick([0.3, 1]), count: 1 + random.below(3), seed: random.below(1_000) };
    const spec = often.seed % 4 === 0 ? this.deviceFault(often.seed) : { match, effect };
    void this.users.create(faultRuleKind, { name }, { ...spec, ...often });
  }

  /** What goes wrong inside a host, by a die that was thrown already. */
  private deviceFault(die: number): { readonly match: JsonObject; readonly effect: JsonObject } {
    const effects = [
      { dropWatches: 'all' },
      { dropWatches: 'frontend' },
      { stallHotplug: true },
      { failHotplug: 'the dice say so' },
      { fillRings: true },
    ];
    const devices = effects[(die / 4) % effects.length] ?? {};
    return { match: { devices: die % 8 === 0 ? [] : ['root'] }, effect: { devices } };
  }

  private cordon(): void {
    const host = this.pick(hostKind);
    if (!host) return;
    const unschedulable = this.random.chance(0.4);
    this.users.change(
      hostKind,
      host,
      (document) => ({ ...document, spec: { ...document.spec, unschedulable } }),
      this.random.chance(0.5),
    );
  }

  private deleteOne(kind: KindDefinition): void {
    const gone = this.pick(kind);
    const policy = this.random.pick(['Background', 'Background', 'Foreground', 'Orphan'] as const);
    if (gone) this.users.delete(kind, gone.streamId, policy);
  }

  private namespace(): string {
    return this.random.chance(0.85) ? NAMESPACE : this.random.pick(TEAMS);
  }

  private pick(kind: KindDefinition): StoredDocument | undefined {
    const all = this.users.documents(kind.kind.toLowerCase());
    return all.length === 0 ? undefined : this.random.pick(all);
  }
}
