import {
  KINDS,
  commandSubject,
  networkKind,
  portKind,
  volumeKind,
  virtualMachineKind,
  VIRTUAL_MACHINE_ACTIONS,
  operationKind,
  type KindDefinition,
} from '@xenolith/contracts';
import {
  BusFault,
  present,
  uuidFrom,
  type Clock,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Random,
  type Reply,
  type Uuid,
} from '@xenolith/kernel';

/** An object that a user knows of. */
interface Known {
  readonly uid: Uuid;
  readonly name: string;
}

/** What became of a command that a user sent; a command without an end is a broken promise. */
export interface Sent {
  readonly message: CommandMessage;
  reply: Reply | null;
}

const NAMESPACE = 'default';
/** A user's patience with one request before it is asked again under the same id. */
const PATIENCE_MS = 30_000;
const ASK_AGAIN_MS = 200;

/**
 * Users at random: they make, change, act on and delete objects, as the gateway would pass it on: parsed by the kind's schema, with an id, sent again
 * under that id until somebody answers.
 */
export class Users {
  readonly sent: Sent[] = [];
  private serial = 0;
  private readonly machines: Known[] = [];
  private readonly volumes: Known[] = [];
  private readonly ports: Known[] = [];

  constructor(
    private readonly bus: MessageBus,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  get waiting(): readonly Sent[] {
    return this.sent.filter((sent) => sent.reply === null);
  }

  /** The inventory that every run starts with. */
  async prepare(): Promise<void> {
    await this.create(KINDS.find((kind) => kind.kind === 'Namespace') as KindDefinition, NAMESPACE, {});
    await this.create(KINDS.find((kind) => kind.kind === 'Cluster') as KindDefinition, 'default', {});
    await this.create(KINDS.find((kind) => kind.kind === 'StorageDomain') as KindDefinition, 'local', {
      capacity: '1Ti',
      default: true,
      overcommit: 2,
    });
    await this.create(KINDS.find((kind) => kind.kind === 'Image') as KindDefinition, 'debian-13', { size: '10Gi' });
    await this.create(networkKind, 'default', { cidr: '10.1.0.0/26' });
  }

  /** One command, chosen by the dice. Not awaited: users don't wait for each other. */
  act(): void {
    const dice = this.random.below(100);
    if (dice < 34 || this.machines.length === 0) void this.createMachine();
    else if (dice < 52) void this.wish();
    else if (dice < 70) void this.operate();
    else if (dice < 84) void this.deleteOne(virtualMachineKind, this.machines);
    else if (dice < 88) void this.createVolume();
    else if (dice < 91) void this.deleteOne(volumeKind, this.volumes);
    else if (dice < 95) void this.createPort();
    else if (dice < 98) void this.deleteOne(portKind, this.ports);
    else void this.cancelSomething();
  }

  private async createMachine(): Promise<void> {
    const name = `vm-${this.random.below(40)}`;
    const disks: JsonObject[] = this.random.chance(0.4) ? [{ name: 'root', source: { image: 'debian-13' } }] : [];
    const volume = this.random.chance(0.2) ? this.volumes.at(-1) : undefined;
    if (volume) disks.push({ name: 'data', volume: volume.name });
    const reply = await this.create(virtualMachineKind, name, {
      powerState: this.random.chance(0.85) ? 'Running' : 'Halted',
      cpu: { vcpus: 1 + this.random.below(4) },
      memory: this.random.pick(['512Mi', '2Gi', '8Gi', '24Gi', '60Gi']),
      guest: { ignoresShutdown: this.random.chance(0.1) },
      disks,
      nics: this.random.chance(0.5) ? [{ name: 'eth0', network: 'default' }] : [],
      placement: this.random.chance(0.2) ? { antiAffinity: 'spread' } : {},
    });
    if (reply.ok) this.machines.push({ uid: String(reply.value['streamId'] as string), name });
  }

  private async createVolume(): Promise<void> {
    const name = `volume-${this.random.below(20)}`;
    const reply = await this.create(volumeKind, name, { size: '5Gi' });
    if (reply.ok) this.volumes.push({ uid: reply.value['streamId'] as string, name });
  }

  private async createPort(): Promise<void> {
    const name = `port-${this.random.below(20)}`;
    const reply = await this.create(portKind, name, { network: 'default' });
    if (reply.ok) this.ports.push({ uid: reply.value['streamId'] as string, name });
  }

  /** Wishes another power state, on top of whatever the object is now: read, change, write at the version read. */
  private async wish(): Promise<void> {
    const machine = this.random.pick(this.machines);
    await this.operateOn(machine, this.random.pick(['start', 'shutdown', 'hard-shutdown']));
  }

  private async operate(): Promise<void> {
    await this.operateOn(this.random.pick(this.machines), this.random.pick(Object.keys(VIRTUAL_MACHINE_ACTIONS)));
  }

  private async operateOn(machine: Known, action: string): Promise<void> {
    const operationId = uuidFrom('operation', this.nextSerial());
    await this.send(commandSubject('compute', 'StartOperation'), {
      type: 'StartOperation',
      streamId: machine.uid,
      data: { operationId, name: `${machine.name}-${action}-${operationId.slice(0, 8)}`, action, parameters: {} },
    });
  }

  private async deleteOne(kind: KindDefinition, from: Known[]): Promise<void> {
    if (from.length === 0) return;
    const [gone] = from.splice(this.random.below(from.length), 1);
    await this.send(commandSubject(kind.service, `Delete${kind.kind}`), {
      type: `Delete${kind.kind}`,
      streamId: present(gone, 'one was taken out').uid,
      data: { propagationPolicy: 'Background' },
    });
  }

  private async cancelSomething(): Promise<void> {
    const started = this.sent
      .filter((sent) => sent.message.type === 'StartOperation' && sent.reply?.ok === true)
      .at(-1);
    const operationId = started?.message.data['operationId'];
    if (typeof operationId !== 'string') return;
    await this.send(commandSubject(operationKind.service, 'DeleteOperation'), {
      type: 'DeleteOperation',
      streamId: operationId,
      data: { propagationPolicy: 'Background' },
    });
  }

  private create(kind: KindDefinition, name: string, spec: JsonObject): Promise<Reply> {
    const metadata = {
      name,
      labels: {},
      annotations: {},
      finalizers: [],
      ownerReferences: [],
      managedFields: [],
      ...(kind.namespaced ? { namespace: NAMESPACE } : {}),
    };
    return this.send(commandSubject(kind.service, `Change${kind.kind}`), {
      type: `Change${kind.kind}`,
      streamId: uuidFrom('object', this.nextSerial()),
      data: { intent: 'create', metadata, spec: kind.spec.parse(spec) as JsonObject },
    });
  }

  /** Asks until there is an answer: the id makes that safe. */
  private async send(subject: string, command: Pick<CommandMessage, 'type' | 'streamId' | 'data'>): Promise<Reply> {
    const commandId = uuidFrom('user-command', this.nextSerial());
    const message: CommandMessage = {
      ...command,
      commandId,
      actor: 'user:random',
      correlationId: commandId,
      causationId: commandId,
      at: this.clock.now(),
    };
    const sent: Sent = { message, reply: null };
    this.sent.push(sent);
    for (;;) {
      try {
        sent.reply = await this.bus.request(subject, message, { timeoutMs: PATIENCE_MS });
        return sent.reply;
      } catch (error) {
        if (!(error instanceof BusFault)) throw error;
        await new Promise<void>((resolve) => this.clock.after(ASK_AGAIN_MS, resolve));
      }
    }
  }

  private nextSerial(): number {
    this.serial += 1;
    return this.serial;
  }
}
