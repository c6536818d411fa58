import {
  categoryOf,
  changeData,
  deleteData,
  eventOf,
  networkKind,
  portKind,
  virtualMachineKind,
  volumeKind,
  commandSubject,
  evolveObject,
  decideObject,
  objectConsequences,
  objectEvents,
  objectResource,
  type KindDefinition,
  type MessageSchemas,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import { ServiceEngine, type ServiceDefinition } from '@xenolith/engine';
import { ok, reject, uuidFrom, type Aggregate, type CommandMessage, type JsonObject } from '@xenolith/kernel';
import { MemoryBus, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { tenancyService } from './index.js';

type Nothing = Readonly<Record<string, never>>;
type State = ObjectState<JsonObject, Nothing>;

/** A kind with the life that all kinds share, and nothing else. */
const plainAggregate = (kind: KindDefinition): Aggregate<State> => {
  const rules: ObjectRules<JsonObject, Nothing> = {
    kind,
    initialOwn: () => ({}),
    onSpecChange: (_object, spec) => ok([eventOf(`${kind.kind}SpecChanged`, { spec })]),
    status: () => ({}),
  };
  return {
    category: categoryOf(kind),
    initial: { phase: 'absent' },
    decide: (command, state) => decideObject(rules, command, state) ?? reject('command_unknown', command.type),
    evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
    toResource: (state) => objectResource(rules, state),
    consequences: (event, before, command) => objectConsequences(rules, event, before, command),
    ended: (state) => state.phase === 'deleted',
    stateVersion: 1,
  };
};

const plainService = (name: ServiceDefinition['name'], kinds: readonly KindDefinition[]): ServiceDefinition => ({
  name,
  kinds,
  aggregates: kinds.map(plainAggregate),
  routes: kinds.flatMap((kind) => [
    { type: `Change${kind.kind}`, category: categoryOf(kind), schema: changeData },
    { type: `Delete${kind.kind}`, category: categoryOf(kind), schema: deleteData },
  ]),
  indexes: [],
  processes: [],
  reactions: [],
  eventSchemas: Object.assign({}, ...kinds.map(({ kind }) => objectEvents(kind))) as MessageSchemas,
});

const NAMESPACE = tenancyService().kinds[0] as KindDefinition;
const LIMIT_MS = 120_000;

/** Owners of the objects beside the collector, and the collector itself, which is killed. */
class World {
  readonly clock = new VirtualClock();
  readonly log = new MemoryEventLog(this.clock, { append: () => 2, read: () => 1, sequence: () => 1 });
  private readonly bus = new MemoryBus(this.clock);
  private readonly client = this.bus.connect('client');
  private kill: () => void = () => undefined;
  private commands = 0;

  async start(): Promise<this> {
    for (const service of [
      plainService('compute', [virtualMachineKind]),
      plainService('storage', [volumeKind]),
      plainService('network', [networkKind, portKind]),
    ])
      await this.drive(this.run(service).engine.start());
    await this.startCollector();
    return this;
  }

  async startCollector(): Promise<void> {
    const { engine, kill } = this.run(tenancyService());
    this.kill = kill;
    await this.drive(engine.start());
  }

  killCollector(): void {
    this.kill();
  }

  private run(definition: ServiceDefinition): { engine: ServiceEngine; kill: () => void } {
    const log = this.log.connect();
    const bus = this.bus.connect(definition.name);
    const engine = new ServiceEngine(definition, { log, feed: log, bus, clock: this.clock });
    return {
      engine,
      kill: () => {
        bus.kill();
        log.kill();
      },
    };
  }

  private async drive<Value>(promise: Promise<Value>): Promise<Value> {
    let settled = false;
    void promise.finally(() => (settled = true)).catch(() => undefined);
    await this.clock.advanceUntil(() => settled, LIMIT_MS);
    return promise;
  }

  create(kind: KindDefinition, name: string, owners: readonly string[] = [], namespace = 'team'): Promise<void> {
    const ownerReferences = owners.map((owner) => ({
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'VirtualMachine',
      name: owner,
      uid: uuidFrom(owner),
      blockOwnerDeletion: true,
    }));
    const metadata = {
      name,
      ...(kind.namespaced ? { namespace } : {}),
      labels: {},
      annotations: {},
      finalizers: [],
      ownerReferences,
      managedFields: [],
    };
    return this.send(kind, `Change${kind.kind}`, name, { intent: 'create', metadata, spec: {} });
  }

  remove(kind: KindDefinition, name: string, propagationPolicy = 'Background'): Promise<void> {
    return this.send(kind, `Delete${kind.kind}`, name, { propagationPolicy });
  }

  private async send(kind: KindDefinition, type: string, name: string, data: object): Promise<void> {
    this.commands += 1;
    const commandId = uuidFrom('user', this.commands);
    const message: CommandMessage = {
      commandId,
      type,
      streamId: uuidFrom(name),
      data: data as JsonObject,
      actor: 'user:test',
      correlationId: commandId,
      causationId: commandId,
      at: this.clock.now(),
    };
    const reply = await this.drive(
      this.client.request(commandSubject(kind.service, type), message, { timeoutMs: 30_000 }),
    );
    if (!reply.ok) throw new Error(`${type} ${name}: ${reply.rejection.message}`);
  }

  /** Names of what there is, in their order. */
  names(): readonly string[] {
    return this.log
      .documents(undefined)
      .documents.map(({ document }) => (document['metadata'] as { name: string }).name)
      .sort();
  }
}

/** Two machines with what they own, one thing that both own, and things of another namespace that nobody may touch. */
const filled = async (): Promise<World> => {
  const world = await new World().start();
  for (const namespace of ['team', 'other']) await world.create(NAMESPACE, namespace);
  for (const machine of ['web', 'db']) {
    await world.create(virtualMachineKind, machine);
    await world.create(volumeKind, `${machine}-root`, [machine]);
    await world.create(portKind, `${machine}-eth0`, [machine]);
  }
  await world.create(volumeKind, 'shared', ['web', 'db']);
  await world.create(networkKind, 'lan');
  await world.create(virtualMachineKind, 'bystander', [], 'other');
  await world.create(volumeKind, 'bystander-root', ['bystander'], 'other');
  return world;
};

const BYSTANDERS = ['bystander', 'bystander-root', 'other'];

/** The collector dies after so many steps of the clock, comes back, dies again, until its work is long done. */
const killedAtEachStep = async (world: World, first: number): Promise<void> => {
  for (let death = 0; death < 12; death += 1) {
    for (let step = 0; step <= (death === 0 ? first : (first + death) % 5); step += 1) await world.clock.step();
    world.killCollector();
    await world.startCollector();
  }
};

const FIRST_DEATHS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22];

describe('a collector that is killed at every step', () => {
  it.each(FIRST_DEATHS)(
    'leaves nothing of a deleted owner and touches nothing else (first death after %i steps)',
    async (first) => {
      const world = await filled();
      await world.remove(virtualMachineKind, 'web');
      await killedAtEachStep(world, first);
      const left = [...BYSTANDERS, 'db', 'db-eth0', 'db-root', 'lan', 'shared', 'team'].sort();
      expect(await world.clock.advanceUntil(() => world.names().join() === left.join(), LIMIT_MS)).toBe(true);
      await world.clock.advance(LIMIT_MS);
      expect(world.names()).toEqual(left);
    },
  );

  it.each(FIRST_DEATHS)(
    'lets dependents go before their owner in the foreground (first death after %i steps)',
    async (first) => {
      const world = await filled();
      await world.remove(virtualMachineKind, 'db', 'Foreground');
      await killedAtEachStep(world, first);
      const left = [...BYSTANDERS, 'lan', 'shared', 'team', 'web', 'web-eth0', 'web-root'].sort();
      await world.clock.advanceUntil(() => !world.names().includes('db'), LIMIT_MS);
      const deleted = world.log.log.filter((event) => event.type.endsWith('Deleted')).map((event) => event.streamId);
      expect(deleted.at(-1)).toBe(uuidFrom('db'));
      expect(world.names()).toEqual(left);
    },
  );

  it.each(FIRST_DEATHS)('empties a namespace and touches no other (first death after %i steps)', async (first) => {
    const world = await filled();
    await world.remove(NAMESPACE, 'team');
    await killedAtEachStep(world, first);
    expect(await world.clock.advanceUntil(() => world.names().length === BYSTANDERS.length, LIMIT_MS)).toBe(true);
    await world.clock.advance(LIMIT_MS);
    expect(world.names()).toEqual(BYSTANDERS);
    expect([...world.log.allClaims().keys()].some((key) => key.includes('team'))).toBe(false);
  });
});
