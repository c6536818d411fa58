import type { HostDevice, HostPowerState, PlacementRequest } from '@xenolith/contracts';
import { ServiceEngine } from '@xenolith/engine';
import {
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type Reply,
  type StoredEvent,
  type Uuid,
} from '@xenolith/kernel';
import { MemoryBus, MemoryEventLog, VirtualClock, type MemoryLatency } from '@xenolith/testing';
import { Membership } from './membership.js';
import { Rebalancer } from './rebalancer.js';
import type { SchedulingPolicy } from './scores.js';
import { schedulingService } from './scheduling.service.js';

export const GIB = 2 ** 30;

export interface TestHost {
  readonly name: string;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly ready?: boolean;
  /** Nothing can be done on it. */
  readonly controlPlaneLost?: boolean;
  readonly unschedulable?: boolean;
  readonly maintenance?: boolean;
  readonly parked?: boolean;
  readonly power?: { readonly state: HostPowerState; readonly failures?: number };
  readonly cluster?: string;
  readonly hypervisor?: 'xen' | 'kvm';
  readonly labels?: Readonly<Record<string, string>>;
  readonly resources?: Readonly<Record<string, number>>;
  readonly devices?: readonly HostDevice[];
  readonly reach?: { readonly storageDomains?: string[]; readonly networks?: string[] };
  /** NUMA nodes that share its memory and threads evenly. */
  readonly nodes?: number;
}

export const hostUid = (name: string): Uuid => uuidFrom('host', name);

const numaNodes = (host: TestHost, nodes: number) =>
  Array.from({ length: nodes }, (_, id) => ({
    id,
    memoryBytes: host.memoryBytes / nodes,
    threads: Array.from({ length: host.threads / nodes }, (_thread, number) => (id * host.threads) / nodes + number),
  }));

export const hostDocument = (host: TestHost): JsonObject => ({
  kind: 'Host',
  metadata: {
    name: host.name,
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels: { 'kubernetes.io/hostname': host.name, ...host.labels },
  },
  spec: {
    cluster: host.cluster ?? 'default',
    unschedulable: host.unschedulable ?? false,
    maintenance: host.maintenance ?? false,
    ...(host.parked === undefined ? {} : { parked: host.parked }),
    ...(host.resources ? { resources: host.resources } : {}),
    ...(host.reach ? { reach: host.reach } : {}),
  },
  status: {
    conditions: [
      { type: 'Ready', status: host.ready === false ? 'False' : 'True' },
      ...(host.controlPlaneLost === true ? [{ type: 'ControlPlane', status: 'False' }] : []),
    ],
    hypervisor: host.hypervisor ?? 'xen',
    ...(host.power ? { power: host.power } : {}),
    cpus: host.threads,
    allocatableMemory: String(host.memoryBytes),
    hardware: {
      ...(host.nodes === undefined ? {} : { numaNodes: numaNodes(host, host.nodes) }),
      ...(host.devices ? { devices: [...host.devices] } : {}),
    },
  },
});

export const requestFor = (name: string, more: Partial<PlacementRequest> = {}): PlacementRequest => ({
  virtualMachine: { uid: uuidFrom('vm', name), name, namespace: 'default' },
  vcpus: 1,
  memoryBytes: GIB,
  hypervisor: 'any',
  guestType: 'pvh',
  ...more,
});

/** Schedulers at work on one log, in one process, on a virtual clock; hosts are put into the log as compute would. */
export class TestScheduler {
  readonly clock = new VirtualClock();
  readonly log: MemoryEventLog;
  readonly bus: MemoryBus;
  private readonly engines: ServiceEngine[] = [];
  private readonly versions = new Map<Uuid, number>();
  private commands = 0;

  constructor(
    private readonly options: {
      readonly schedulers?: number;
      readonly latency?: MemoryLatency;
      readonly policy?: SchedulingPolicy;
    } = {},
  ) {
    this.log = new MemoryEventLog(this.clock, options.latency);
    this.bus = new MemoryBus(this.clock);
  }

  async start(): Promise<void> {
    for (let count = 0; count < (this.options.schedulers ?? 1); count += 1) {
      const connection = this.log.connect();
      const definition = schedulingService({ policy: this.options.policy ?? 'balance' });
      const ports = {
        log: connection,
        feed: connection,
        bus: this.bus.connect(`scheduler-${count}`),
        clock: this.clock,
      };
      const engine = new ServiceEngine(definition, ports);
      this.engines.push(engine);
      let started = false;
      const rebalancer = new Rebalancer(definition.rebalancing, ports);
      void engine
        .start()
        .then(() => rebalancer.start())
        .then(() => new Membership(`scheduler-${count}`, definition.share, ports).start())
        .then(() => (started = true));
      await this.clock.advanceUntil(() => started, 60_000);
    }
  }

  putHost(host: TestHost): void {
    this.logged('host', hostUid(host.name), 'HostRegistered', { document: hostDocument(host) });
  }

  /** An event of another service, with the document that it leaves. */
  logged(
    category: string,
    streamId: Uuid,
    type: string,
    left: { readonly data?: JsonObject; readonly document?: JsonObject } = {},
  ): void {
    const version = this.versions.get(streamId) ?? 0;
    this.versions.set(streamId, version + 1);
    const commandId = uuidFrom('logged', streamId, version);
    this.log.append({
      commandId,
      requestHash: '',
      claims: [],
      timers: [],
      cancels: [],
      metadata: {
        commandId,
        correlationId: commandId,
        causationId: commandId,
        actor: 'user:test',
        at: this.clock.now(),
      },
      result: {},
      writes: [
        {
          streamId,
          category,
          expected: 'any',
          events: [{ type, schemaVersion: 1, data: left.data ?? {} }],
          document: left.document ?? {},
          ends: false,
        },
      ],
    });
  }

  /** Sends a command about a placement, or a plan, to one of the schedulers in turn; the reply comes as virtual time moves. */
  send(type: string, name: string, data: JsonObject, commandId?: Uuid): Promise<Reply> {
    const streamId = type.includes('RebalancePlan') ? uuidFrom('plan', name) : uuidFrom('placement', name);
    return this.sendTo(streamId, type, data, commandId);
  }

  async sendTo(streamId: Uuid, type: string, data: JsonObject, commandId?: Uuid): Promise<Reply> {
    this.commands += 1;
    const id = commandId ?? uuidFrom('command', this.commands);
    const message: CommandMessage = {
      commandId: id,
      type,
      streamId,
      data,
      actor: 'user:test',
      correlationId: id,
      causationId: id,
      at: this.clock.now(),
    };
    const engine = this.engines[this.commands % this.engines.length];
    if (!engine) throw new Error('no scheduler was started');
    return engine.handle(message);
  }

  place(name: string, more: Partial<PlacementRequest> = {}): Promise<Reply> {
    return this.send('PlaceVirtualMachine', name, { request: requestFor(name, more) });
  }

  release(name: string): Promise<Reply> {
    return this.send('ReleasePlacement', name, { reason: 'test' });
  }

  /** All events of a placement; the answer comes as virtual time moves. */
  history(name: string): Promise<readonly StoredEvent[]> {
    return this.log.connect().readStream(uuidFrom('placement', name));
  }

  /** Settles the promise by moving virtual time. */
  async settled<Value>(promise: Promise<Value>): Promise<Value> {
    let done = false;
    void promise.finally(() => (done = true));
    await this.clock.advanceUntil(() => done, 600_000);
    return promise;
  }

  /** Moves time on until everything that the last commands set off has come to rest. */
  async quiet(): Promise<void> {
    await this.clock.advance(60_000);
  }

  placements(): readonly {
    name: string;
    phase: string;
    host: string | undefined;
    message: string;
    request: PlacementRequest;
    numaNode: number | undefined;
  }[] {
    return this.log.documents(['placement']).documents.map(({ document }) => {
      const { metadata, spec, status } = document as unknown as {
        metadata: { name: string };
        spec: { request: PlacementRequest };
        status: { phase: string; host?: string; message: string; numaNode?: number };
      };
      return {
        name: metadata.name,
        phase: status.phase,
        host: status.host,
        message: status.message,
        request: spec.request,
        numaNode: status.numaNode,
      };
    });
  }
}
