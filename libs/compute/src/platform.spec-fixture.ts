import {
  ACTIVE_NAMESPACE_SCOPE,
  agentSubject,
  commandSubject,
  HEARTBEAT_INTERVAL_MS,
  inventoryDigest,
  telemetrySubject,
  virtualMachineSpec,
  type DomainReport,
  type ServiceName,
} from '@xenolith/contracts';
import { ServiceEngine } from '@xenolith/engine';
import { ok, reject, uuidFrom, type CommandMessage, type JsonObject, type Reply, type Uuid } from '@xenolith/kernel';
import { MemoryBus, MemoryEventLog, VirtualClock, type MemoryBusConnection } from '@xenolith/testing';
import { computeCompanions } from './companions.js';
import { AGENT_COMMANDS, field, keeper, Party } from './party.spec-fixture.js';
import { computeService } from './service.js';

export const HOSTS = ['host-1', 'host-2'] as const;
export const hostUidOf = (name: string): Uuid => uuidFrom('host', name);

/** The whole of compute over the log and the bus in memory, with simple stand-ins for everybody that it talks to. */
export class Platform {
  readonly clock = new VirtualClock();
  readonly store = new MemoryEventLog(this.clock, { append: () => 2, sequence: () => 1 });
  readonly bus = new MemoryBus(this.clock);
  readonly client: MemoryBusConnection = this.bus.connect('client');
  readonly placements = new Map<Uuid, number>();
  readonly volumes = new Map<Uuid, number>();
  readonly ports = new Map<Uuid, number>();
  /** Domains by host: machine to incarnation. */
  readonly domains = new Map<string, Map<Uuid, number>>(HOSTS.map((host) => [host, new Map()]));
  /** What hosts list of a domain beside its run; set for runs that they started. */
  readonly details = new Map<Uuid, { domid: number; state: 'running' | 'paused' }>();
  readonly bootIds = new Map<string, string>(HOSTS.map((host) => [host, `${host}-boot-1`]));
  readonly off = new Set<string>();
  readonly scheduler = new Party(this.clock, (message) =>
    keeper(this.placements, ['PlaceVirtualMachine'], () => this.hostFor(message))(message),
  );
  readonly storage = new Party(this.clock, (message) => this.inStorage(message));
  readonly network = new Party(this.clock, (message) =>
    keeper(this.ports, ['ProvisionPort', 'AttachPort'], () => ({
      mac: '00:16:3e:00:00:01',
      ips: ['10.0.0.2'],
      bridge: 'xenbr0',
      name: field(message, 'name') as string,
      uid: message.streamId,
    }))(message),
  );
  readonly agents = new Map<string, Party>(
    HOSTS.map((host) => [host, new Party(this.clock, (message) => this.onHost(host, message))]),
  );
  private readonly stops: (() => Promise<void>)[] = [];
  private sent = 0;
  private domid = 0;

  start(): Promise<this> {
    return this.drive(this.startAll());
  }

  /** Moves time until the promise settles. */
  private async drive<Value>(promise: Promise<Value>): Promise<Value> {
    const life = { settled: false };
    promise.then(
      () => (life.settled = true),
      () => (life.settled = true),
    );
    await this.clock.advanceUntil(() => life.settled, 600_000);
    return promise;
  }

  private async startAll(): Promise<this> {
    await this.activateNamespace();
    await this.serve('scheduler', this.scheduler, ['PlaceVirtualMachine', 'ReleasePlacement']);
    await this.serve('storage', this.storage, [
      'ProvisionVolume',
      'DeprovisionVolume',
      'AttachVolume',
      'DetachVolume',
      'PrepareVolumeHandover',
      'CancelVolumeHandover',
      'SnapshotVolume',
      'DiscardSealedVolume',
      'RevertVolume',
    ]);
    await this.serve('network', this.network, ['ProvisionPort', 'DeprovisionPort', 'AttachPort']);
    for (const [host, agent] of this.agents) {
      const connection = this.bus.connect(host);
      for (const type of AGENT_COMMANDS)
        await connection.serve(agentSubject(host, type), (message) => agent.handle(message));
    }
    await this.startComputeNow();
    return this;
  }

  /** A compute process: an engine with its companions. Killing it loses everything that is not in the log. */
  startCompute(): Promise<void> {
    return this.drive(this.startComputeNow());
  }

  private async startComputeNow(): Promise<void> {
    const log = this.store.connect();
    const bus = this.bus.connect('compute');
    const service = computeService();
    const engine = new ServiceEngine(service, { log, feed: log, bus, clock: this.clock });
    await engine.start();
    const companions = computeCompanions(service, { bus, clock: this.clock });
    await companions.start();
    this.stops.push(() => {
      void companions.stop();
      bus.kill();
      log.kill();
      return Promise.resolve();
    });
  }

  /** From now on timers that are due send their commands. */
  runTimers(): void {
    for (const timer of this.store.dueTimers(this.clock.now())) {
      this.store.timerSent(timer.id);
      const message = timer.command as unknown as CommandMessage;
      void this.client.request(timer.subject, message, { timeoutMs: 10_000 });
    }
    this.clock.after(1_000, () => this.runTimers());
  }

  async killCompute(): Promise<void> {
    for (const stop of this.stops.splice(0)) await stop();
  }

  /** Sends a command as a user would and moves time until it is answered. */
  send(type: string, streamId: Uuid, data: object, more: Partial<CommandMessage> = {}): Promise<Reply> {
    this.sent += 1;
    const commandId = uuidFrom('test command', this.sent);
    const message: CommandMessage = {
      commandId,
      type,
      streamId,
      data: data as JsonObject,
      actor: 'user:test',
      correlationId: commandId,
      causationId: commandId,
      at: this.clock.now(),
      ...more,
    };
    const subject = commandSubject('compute', type);
    return this.drive(this.client.request(subject, message, { timeoutMs: 30_000 }));
  }

  async accepted(type: string, streamId: Uuid, data: object, more: Partial<CommandMessage> = {}): Promise<JsonObject> {
    const reply = await this.send(type, streamId, data, more);
    if (!reply.ok) throw new Error(`${type} was refused: ${reply.rejection.code}: ${reply.rejection.message}`);
    return reply.value;
  }

  createMachine(name: string, spec: object = {}): Promise<JsonObject> {
    return this.accepted('ChangeVirtualMachine', machineUid(name), {
      intent: 'create',
      metadata: metadata(name),
      spec: machineSpec(spec),
    });
  }

  async changeMachine(name: string, change: object): Promise<Reply> {
    const spec = { ...(this.document(machineUid(name))?.['spec'] as object), ...change };
    return this.send('ChangeVirtualMachine', machineUid(name), {
      intent: 'update',
      metadata: { ...metadata(name), finalizers: this.metadata(machineUid(name)).finalizers },
      spec,
    });
  }

  async register(
    host: string,
    domains?: readonly { virtualMachine: Uuid; incarnation: number }[],
    more: object = {},
  ): Promise<void> {
    const there = [...(this.domains.get(host) ?? [])].map(([virtualMachine, incarnation]) => ({
      virtualMachine,
      incarnation,
    }));
    await this.accepted('RegisterHost', hostUidOf(host), {
      name: host,
      bootId: this.bootIds.get(host),
      ...REGISTRATION,
      ...more,
      domains: (domains ?? there).map((domain) => ({
        ...domain,
        ...(this.details.get(domain.virtualMachine) ?? { domid: 1, state: 'running' }),
      })),
    });
  }

  /** What the host lists. */
  inventory(host: string): DomainReport[] {
    return [...(this.domains.get(host) ?? [])].map(([virtualMachine, incarnation]) => ({
      virtualMachine,
      incarnation,
      ...(this.details.get(virtualMachine) ?? { domid: 1, state: 'running' }),
    }));
  }

  /** A heartbeat as an agent sends it. */
  beat(host: string): void {
    const domains = this.inventory(host);
    this.client.publish(telemetrySubject(host), {
      host: hostUidOf(host),
      name: host,
      bootId: this.bootIds.get(host) ?? '',
      at: this.clock.now(),
      domains: domains.length,
      freeMemoryBytes: 1,
      cpuLoad: 0,
      inventory: inventoryDigest(domains.map((domain) => ({ ...domain, runs: domain.state === 'running' }))),
    });
  }

  /** Lets hosts live for a while. */
  async beatFor(ms: number, ...hosts: readonly string[]): Promise<void> {
    for (let passed = 0; passed < ms; passed += HEARTBEAT_INTERVAL_MS) {
      for (const host of hosts) this.beat(host);
      await this.clock.advance(HEARTBEAT_INTERVAL_MS);
    }
  }

  /** The host loses every domain and boots again. */
  crash(host: string): void {
    this.domains.get(host)?.clear();
    this.bootIds.set(host, `${this.bootIds.get(host) ?? ''}+`);
  }

  document(uid: Uuid): JsonObject | undefined {
    return this.store.documents(undefined).documents.find((stored) => stored.streamId === uid)?.document;
  }

  status(uid: Uuid): Record<string, unknown> & { conditions: { status: string; reason: string; message: string }[] } {
    return this.document(uid)?.['status'] as never;
  }

  machine(name: string): ReturnType<Platform['status']> {
    return this.status(machineUid(name));
  }

  metadata(uid: Uuid): { name: string; finalizers: string[]; deletionTimestamp?: string } {
    return { finalizers: [], ...(this.document(uid)?.['metadata'] as object) } as never;
  }

  operations(): readonly { uid: Uuid; name: string; action: string; phase: string; document: JsonObject }[] {
    return this.store.documents(['operation']).documents.map(({ streamId, document }) => ({
      uid: streamId,
      name: (document['metadata'] as { name: string }).name,
      action: (document['spec'] as { action: string }).action,
      phase: (document['status'] as { phase: string }).phase,
      document,
    }));
  }

  eventTypes(): readonly string[] {
    return this.store.log.map((event) => event.type);
  }

  /** An event of another service. */
  async logged(
    category: string,
    streamId: Uuid,
    type: string,
    left: { data?: JsonObject; document?: JsonObject } = {},
  ): Promise<void> {
    const commandId = uuidFrom('logged', streamId, type);
    const request = {
      commandId,
      requestHash: '',
      writes: [
        {
          streamId,
          category,
          expected: 'any' as const,
          events: [{ type, schemaVersion: 1, data: left.data ?? {} }],
          document: left.document ?? {},
          ends: false,
        },
      ],
      claims: [],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'test', at: this.clock.now() },
      result: {},
    };
    await this.drive(this.store.connect().append(request));
  }

  /** Runs until no operation is under way. */
  async settle(limitMs = 600_000): Promise<boolean> {
    return this.clock.advanceUntil(
      () => !this.operations().some(({ phase }) => phase === 'Running' || phase === 'Compensating'),
      limitMs,
    );
  }

  async until(condition: () => boolean, limitMs = 600_000): Promise<boolean> {
    return this.clock.advanceUntil(condition, limitMs);
  }

  private inStorage(message: CommandMessage): Reply {
    const name = (field(message, 'name') as string | undefined) ?? 'volume';
    const leased = { fencingToken: 1, sizeBytes: 1024, name, uid: message.streamId };
    switch (message.type) {
      case 'PrepareVolumeHandover':
        return ok({ ...leased, fencingToken: 2 });
      case 'SnapshotVolume':
        this.volumes.set(field(message, 'snapshot') as Uuid, 1);
        return ok({ sizeBytes: leased.sizeBytes });
      case 'DiscardSealedVolume':
        this.volumes.delete(message.streamId);
        return ok({});
      case 'CancelVolumeHandover':
      case 'RevertVolume':
        return ok({});
      default:
        return keeper(this.volumes, ['ProvisionVolume', 'AttachVolume'], () => leased)(message);
    }
  }

  private hostFor({ data }: CommandMessage): JsonObject {
    const { host, exceptHost } = data['request'] as { host?: string; exceptHost?: string };
    const chosen = host ?? HOSTS.find((one) => one !== exceptHost) ?? '';
    return { host: chosen, hostUid: hostUidOf(chosen) };
  }

  /** The guest goes over at once: it is run `toIncarnation` there and nothing here. */
  private migrate(host: string, { streamId, data }: CommandMessage): Reply {
    const { incarnation, to, toIncarnation } = data as { incarnation: number; to: string; toIncarnation: number };
    if (this.domains.get(host)?.get(streamId) !== incarnation) return reject('host_unknown_domain', 'no such domain');
    this.domains.get(host)?.delete(streamId);
    this.domains.get(to)?.set(streamId, toIncarnation);
    this.details.set(streamId, { domid: (this.domid += 1), state: 'running' });
    return ok({ rounds: 5, pagesSent: 5000, durationMs: 700, downtimeMs: 12 });
  }

  private onHost(host: string, message: CommandMessage): Reply {
    const domains = this.domains.get(host) ?? new Map<Uuid, number>();
    const incarnation = field(message, 'incarnation') as number;
    const running = domains.get(message.streamId);
    switch (message.type) {
      case 'StartDomain':
      case 'ResumeDomain':
        if (running !== undefined && running !== incarnation)
          return reject('host_domain_exists', 'another run is here');
        domains.set(message.streamId, incarnation);
        this.details.set(message.streamId, { domid: (this.domid += 1), state: 'running' });
        return ok({ domid: this.domid, state: 'running', bootId: this.bootIds.get(host) ?? '' });
      case 'RebootDomain':
        if (running === undefined) return reject('host_unknown_domain', 'no such domain');
        this.details.set(message.streamId, { domid: (this.domid += 1), state: 'running' });
        return ok({ domid: this.domid });
      case 'PauseDomain':
      case 'UnpauseDomain': {
        const state = message.type === 'PauseDomain' ? 'paused' : 'running';
        const domid = this.details.get(message.streamId)?.domid ?? 0;
        this.details.set(message.streamId, { domid, state });
        return ok({});
      }
      case 'CheckpointDomain':
        if (running !== incarnation) return reject('host_unknown_domain', 'no such domain');
        this.details.set(message.streamId, { domid: this.details.get(message.streamId)?.domid ?? 0, state: 'paused' });
        return ok({ sizeBytes: 4096, content: `saved run ${incarnation}` });
      case 'SuspendDomain':
        if (running !== incarnation) return reject('host_unknown_domain', 'no such domain');
        domains.delete(message.streamId);
        return ok({ sizeBytes: 4096, content: `saved run ${incarnation}` });
      case 'MigrateDomain':
        return this.migrate(host, message);
      case 'SettleMigration': {
        const there = { ...this.details.get(message.streamId), bootId: this.bootIds.get(host) ?? '' };
        return running === incarnation ? ok(there) : reject('migration_failed', 'it is not here and will not be');
      }
      case 'PowerOffHost':
        if (domains.size > 0) return reject('host_in_use', 'guests would be lost');
        this.off.add(host);
        return ok({});
      case 'PowerOnHost':
        if (this.off.delete(host)) this.bootIds.set(host, `${this.bootIds.get(host) ?? ''}+`);
        return ok({ bootId: this.bootIds.get(host) ?? '' });
      case 'GetInventory':
        return ok({ bootId: this.bootIds.get(host) ?? '', domains: this.inventory(host) });
      case 'ShutdownDomain':
      case 'DestroyDomain':
        if (running !== undefined && running <= incarnation) domains.delete(message.streamId);
        return ok({});
      default:
        return ok({});
    }
  }

  private async serve(service: ServiceName, party: Party, types: readonly string[]): Promise<void> {
    const connection = this.bus.connect(service);
    for (const type of types) await connection.serve(commandSubject(service, type), (message) => party.handle(message));
  }

  private async activateNamespace(): Promise<void> {
    const commandId = uuidFrom('namespace');
    await this.store.connect().append({
      commandId,
      requestHash: '',
      writes: [],
      claims: [{ op: 'claim', scope: ACTIVE_NAMESPACE_SCOPE, value: 'default', holder: commandId }],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'test', at: this.clock.now() },
      result: {},
    });
  }
}

const REGISTRATION = {
  hypervisor: 'xen',
  version: '4.20',
  agentVersion: '0.1.0',
  hardware: {
    cpu: { model: 'test', sockets: 1, coresPerSocket: 4, threadsPerCore: 1, threads: 4, mhz: 2000, features: [] },
    memoryBytes: 2 ** 34,
    numaNodes: [{ id: 0, memoryBytes: 2 ** 34, threads: [0, 1, 2, 3] }],
  },
  controlDomain: { vcpus: 1, memoryBytes: 2 ** 30 },
  allocatableMemoryBytes: 2 ** 33,
};

export const machineUid = (name: string): Uuid => uuidFrom('machine', name);

export const machineSpec = (spec: object = {}): JsonObject => virtualMachineSpec.parse({ memory: '1Gi', ...spec });

export const metadata = (name: string): JsonObject => ({
  name,
  namespace: 'default',
  labels: {},
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
});

export const WITH_DEVICES = {
  disks: [{ name: 'root', size: '1Gi' }],
  nics: [{ name: 'eth0', network: 'web' }],
};
