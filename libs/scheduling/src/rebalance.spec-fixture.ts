import {
  commandSubject,
  telemetrySubject,
  type BlockedMachine,
  type PlacementRequest,
  type RebalancePlanSpec,
} from '@xenolith/contracts';
import {
  ok,
  present,
  reject,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type Reply,
  type Uuid,
} from '@xenolith/kernel';
import { hostDocument, hostUid, requestFor, TestScheduler, type TestHost } from './scheduler.spec-fixture.js';

interface Migration {
  readonly operation: Uuid;
  readonly machine: string;
  readonly from: string;
  readonly to: string;
}

interface Machine {
  readonly request: PlacementRequest;
  readonly run: number;
  readonly host: string;
}

export interface PlanView {
  readonly name: string;
  readonly uid: Uuid;
  readonly status: {
    readonly phase: string;
    readonly cause: string;
    readonly message: string;
    readonly progress: string;
    readonly pausing?: boolean;
    readonly moves: readonly {
      readonly virtualMachine: { readonly name: string };
      readonly from: string;
      readonly to: string;
      readonly wave: number;
      readonly phase: string;
      readonly message?: string;
    }[];
    readonly blocked?: readonly BlockedMachine[];
  };
}

export const machineUid = (name: string): Uuid => uuidFrom('vm', name);

const MOVABLE = { powerState: 'Running', allowedOperations: ['pool_migrate'], currentOperations: {} };

const BOOT_MS = 20_000;

/** Schedulers at work, and a stand-in for compute that migrates as it is told: at the test's word, or at once. */
export class RebalancedFleet {
  readonly scheduler: TestScheduler;
  readonly migrations: Migration[] = [];
  /** What compute answers to a migration that it does not begin. */
  refusal: string | null = null;
  /** Hosts that were parked and woken, in order, with the reasons. */
  readonly power: { readonly type: string; readonly host: string; readonly reason: string }[] = [];
  /** A host that is woken comes up. */
  comesUp = true;
  /** Migrations end as soon as they have begun. */
  atOnce = true;
  private readonly machines = new Map<string, Machine>();
  private readonly hosts = new Map<string, TestHost>();
  private readonly maintenance = new Map<string, JsonObject>();
  private readonly known = new Map<Uuid, Reply>();

  constructor(options: ConstructorParameters<typeof TestScheduler>[0] = {}) {
    this.scheduler = new TestScheduler(options);
  }

  async start(hosts: readonly TestHost[]): Promise<this> {
    const connection = this.scheduler.bus.connect('compute');
    const serve = (type: string, answer: (message: CommandMessage) => Reply): Promise<unknown> =>
      connection.serve(commandSubject('compute', type), (message) => {
        const reply = this.known.get(message.commandId) ?? answer(message);
        this.known.set(message.commandId, reply);
        return Promise.resolve(reply);
      });
    await serve('StartOperation', (message) => this.begin(message));
    await serve('RecordHostEvacuation', (message) => this.recordEvacuation(message));
    for (const type of ['ParkHost', 'WakeHost']) await serve(type, (message) => this.setPower(message));
    await this.scheduler.start();
    for (const host of hosts) this.putHost(host);
    await this.scheduler.clock.advance(1_000);
    this.runTimers();
    return this;
  }

  putHost(host: TestHost): void {
    this.hosts.set(host.name, host);
    this.writeHost(host.name, 'HostSpecChanged');
  }

  setMaintenance(name: string, wished: boolean): void {
    if (wished) this.maintenance.set(name, { uid: uuidFrom(name, 'maintenance', this.scheduler.clock.now()) });
    else this.maintenance.delete(name);
    this.putHost({ ...present(this.hosts.get(name), `there is no host ${name}`), maintenance: wished });
  }

  evacuationOf(name: string): { readonly remaining?: number; readonly blocked?: readonly BlockedMachine[] } {
    return this.maintenance.get(name) ?? {};
  }

  async run(name: string, host: string, more: Partial<PlacementRequest> = {}): Promise<void> {
    const request = requestFor(name, more);
    // As a migration does: a machine that only names its host is bound to it.
    await this.place(name, 1, { ...request, host, exceptHost: 'host-0' });
    this.machines.set(name, { request, run: 1, host });
    this.show(name, MOVABLE);
  }

  /** The machine's document changes. */
  show(name: string, status: JsonObject, more: { readonly pvDrivers?: boolean; readonly event?: string } = {}): void {
    const { pvDrivers = true, event = 'VirtualMachineStarted' } = more;
    const document = { kind: 'VirtualMachine', metadata: { name }, spec: { guest: { pvDrivers } }, status };
    this.scheduler.logged('virtualmachine', machineUid(name), event, { document });
  }

  free(name: string, event = 'VirtualMachineUnpaused'): void {
    this.show(name, MOVABLE, { event });
  }

  /** The machine ends where it is. */
  async end(name: string): Promise<void> {
    const { run } = this.machine(name);
    this.machines.delete(name);
    await this.scheduler.send('ReleasePlacement', `${name}/${run}`, { reason: 'it ended' });
  }

  hostOf(name: string): string {
    return this.machine(name).host;
  }

  /** A migration ends; without a message it has succeeded. */
  async finish(migration: Migration, failure?: { readonly message: string; readonly begun: boolean }): Promise<void> {
    const { machine: name, operation, to, from } = migration;
    const { request, run } = this.machine(name);
    if (failure) {
      const steps = [{ name: 'receive-domain', phase: failure.begun ? 'Failed' : 'Waiting' }];
      const left = { data: { message: failure.message }, document: { kind: 'Operation', status: { steps } } };
      this.scheduler.logged('operation', operation, 'OperationFailed', left);
      return;
    }
    const placed = await this.place(name, run + 1, { ...request, host: to, exceptHost: from });
    if (!placed.ok) return this.finish(migration, { message: placed.rejection.message, begun: false });
    await this.scheduler.send('ReleasePlacement', `${name}/${run}`, { reason: 'the machine was migrated' });
    this.machines.set(name, { request, run: run + 1, host: to });
    this.show(name, MOVABLE, { event: 'VirtualMachineMigrated' });
    this.scheduler.logged('operation', operation, 'OperationSucceeded');
  }

  plan(name: string, spec: Partial<RebalancePlanSpec>, intent: 'create' | 'update' = 'create'): Promise<Reply> {
    const metadata = { name, labels: {}, annotations: {}, finalizers: this.finalizers(name) };
    const whole = { cluster: 'default', mode: 'evacuate', maxMoves: 64, approved: false, ...spec };
    return this.scheduler.send('ChangeRebalancePlan', name, { intent, metadata, spec: whole });
  }

  /** Somebody approves a plan that the platform has made. */
  approve(plan: PlanView, spec: JsonObject): Promise<Reply> {
    const metadata = { name: plan.name, labels: {}, annotations: {}, finalizers: [] };
    const data = { intent: 'update', metadata, spec: { cluster: 'default', ...spec } };
    return this.scheduler.sendTo(plan.uid, 'ChangeRebalancePlan', data);
  }

  plans(): readonly PlanView[] {
    return this.scheduler.log.documents(['rebalanceplan']).documents.map(({ streamId, document }) => {
      const { metadata, status } = document as unknown as Omit<PlanView, 'name'> & { metadata: { name: string } };
      return { uid: streamId, name: metadata.name, status };
    });
  }

  eventTypes(): readonly string[] {
    return this.scheduler.log.log.map((event) => event.type);
  }

  beat(name: string, machines: readonly { readonly name: string; readonly cpu: number }[]): void {
    this.scheduler.bus.connect(name).publish(telemetrySubject(name), {
      host: hostUid(name),
      name,
      bootId: 'boot',
      at: this.scheduler.clock.now(),
      domains: machines.length,
      freeMemoryBytes: 0,
      cpuLoad: 0,
      virtualMachines: machines.map((machine) => ({
        uid: machineUid(machine.name),
        cpu: machine.cpu,
        memoryBytes: 2 ** 30,
      })),
    });
  }

  private finalizers(name: string): readonly string[] {
    const { documents } = this.scheduler.log.documents(['rebalanceplan']);
    const known = documents.find(({ streamId }) => streamId === uuidFrom('plan', name))?.document;
    return (known?.['metadata'] as { finalizers?: string[] } | undefined)?.finalizers ?? [];
  }

  private machine(name: string): Machine {
    return present(this.machines.get(name), `there is no machine ${name}`);
  }

  private place(name: string, run: number, request: PlacementRequest): Promise<Reply> {
    return this.scheduler.send('PlaceVirtualMachine', `${name}/${run}`, { request });
  }

  private writeHost(name: string, event: string): void {
    const document = hostDocument(present(this.hosts.get(name), `there is no host ${name}`));
    const maintenance = this.maintenance.get(name);
    const status = { ...(document['status'] as JsonObject), ...(maintenance ? { maintenance } : {}) };
    this.scheduler.logged('host', hostUid(name), event, { document: { ...document, status } });
  }

  private begin({ streamId, data }: CommandMessage): Reply {
    if (this.refusal !== null) return reject('operation_not_allowed', this.refusal);
    const [machine] = [...this.machines].find(([name]) => machineUid(name) === streamId) ?? [];
    if (machine === undefined) return reject('not_found', 'no such machine');
    const { from, to } = data['parameters'] as { from: string; to: string };
    if (this.hostOf(machine) !== from) return reject('object_invalid', `it runs on ${this.hostOf(machine)}`);
    const migration = { operation: data['operationId'] as Uuid, machine, from, to };
    this.migrations.push(migration);
    if (this.atOnce) this.scheduler.clock.after(1_000, () => void this.finish(migration));
    return ok({});
  }

  private recordEvacuation({ streamId, data }: CommandMessage): Reply {
    const [name, known] = [...this.maintenance].find(([host]) => hostUid(host) === streamId) ?? [];
    if (name === undefined || known?.['uid'] !== data['maintenance']) return ok({});
    const { maintenance: uid, ...found } = data;
    this.maintenance.set(name, { uid, ...found });
    this.writeHost(name, 'HostEvacuationProgressed');
    return ok({});
  }

  /** As compute does, with hosts that are empty already. */
  private setPower({ type, streamId, data }: CommandMessage): Reply {
    const [name, host] = [...this.hosts].find(([known]) => hostUid(known) === streamId) ?? [];
    if (name === undefined || !host || (host.parked === true) === (type === 'ParkHost')) return ok({});
    this.power.push({ type, host: name, reason: data['reason'] as string });
    if (type === 'ParkHost') {
      this.putHost({ ...host, ready: false, parked: true, power: { state: 'Off' } });
      return ok({});
    }
    this.putHost({ ...host, ready: false, parked: false, power: { state: 'Starting' } });
    this.scheduler.clock.after(BOOT_MS, () => {
      const power = this.comesUp ? { state: 'On' as const } : { state: 'Off' as const, failures: 1 };
      this.putHost({ ...host, parked: false, ready: this.comesUp, power });
    });
    return ok({});
  }

  private runTimers(): void {
    const line = this.scheduler.bus.connect('timers');
    const { clock, log } = this.scheduler;
    for (const timer of log.dueTimers(clock.now())) {
      log.timerSent(timer.id);
      const message = timer.command as unknown as CommandMessage;
      void line.request(timer.subject, message, { timeoutMs: 10_000 });
    }
    clock.after(1_000, () => this.runTimers());
  }
}
