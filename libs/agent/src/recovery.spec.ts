import { agentSubject, type AgentCommandType, hostNames } from '@xenolith/contracts';
import { uuidFrom, type CommandMessage, type JsonObject, type Reply } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { configOf, Services } from './conformance-harness.js';
import { DOMAIN_COMMANDS } from './messages.js';
import { Agent, MemoryJournal, type AgentOptions } from './index.js';

const OPTIONS: AgentOptions = {
  hosts: hostNames(2),
  seed: 'recovery',
  profile: '1x4-16',
  bootTimeMs: 2_000,
  agentVersion: '0.1.0',
};
const GIBIBYTE = 2 ** 30;
const DISK = { name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false, fencingToken: 1 };
const AWAKE = '{"version":1,"guest":{"phase":"up","next":null,"stopping":null}}';
/** Longer than any fault rule's delay, any boot of a host and any shutdown here. */
const QUIET_MS = 250_000;

interface Step {
  readonly pauseMs: number;
  readonly host: number;
  readonly act:
    | { readonly type: AgentCommandType; readonly vm: number; readonly data: JsonObject; readonly undoesLast: boolean }
    | { readonly type: 'crash' }
    | { readonly type: 'guest'; readonly vm: number; readonly reason: 'poweroff' | 'reboot' | 'crash' };
}

/** A platform of one agent, whose process can be killed. */
class Rig {
  readonly clock = new VirtualClock();
  private readonly network = new MemoryBus(this.clock);
  private readonly journal = new MemoryJournal();
  private connection = this.network.connect('agent');
  private agent = new Agent(OPTIONS, { bus: this.connection, clock: this.clock, journal: this.journal });
  private readonly suite = this.network.connect('suite');
  private readonly asked: { subject: string; message: CommandMessage }[] = [];

  start(): Promise<void> {
    return this.agent.start();
  }

  async restart(compacted: boolean): Promise<void> {
    if (compacted) await this.journal.compact(this.agent.snapshot());
    this.connection.kill();
    await this.agent.stop();
    this.journal.crash();
    this.connection = this.network.connect('agent');
    this.agent = new Agent(OPTIONS, { bus: this.connection, clock: this.clock, journal: this.journal });
    await this.agent.start();
  }

  async act(step: Step, index: number): Promise<void> {
    await this.clock.advance(step.pauseMs);
    const host = OPTIONS.hosts[step.host] ?? '';
    if (step.act.type === 'crash') this.agent.crashHost(host);
    else if (step.act.type === 'guest') this.agent.endGuest(host, uuidFrom('vm', step.act.vm), step.act.reason);
    else {
      const { type, vm, data, undoesLast } = step.act;
      const commandId = uuidFrom('command', index);
      const last = this.asked.at(-1)?.message.commandId;
      const message: CommandMessage = {
        commandId,
        type,
        streamId: uuidFrom('vm', vm),
        data,
        actor: 'process:operation',
        correlationId: commandId,
        causationId: commandId,
        at: this.clock.now(),
        ...(undoesLast && last !== undefined ? { undoes: last } : {}),
      };
      const subject = agentSubject(host, type);
      this.asked.push({ subject, message });
      void this.suite.request(subject, message, { timeoutMs: 1 }).catch(() => undefined);
    }
    await this.clock.advance(0);
  }

  /** Every command asked again when all is quiet, and what the hosts run. */
  async outcome(): Promise<unknown> {
    await this.clock.advance(QUIET_MS);
    const inventories: CommandMessage[] = OPTIONS.hosts.map((host) => ({
      commandId: uuidFrom('inventory', host),
      type: 'GetInventory',
      streamId: uuidFrom(host),
      data: {},
      actor: 'suite',
      correlationId: host,
      causationId: host,
      at: 0,
    }));
    const last = OPTIONS.hosts.map((host, index) => ({
      subject: agentSubject(host, 'GetInventory'),
      message: inventories[index] as CommandMessage,
    }));
    const replies: (Reply | 'unanswered')[] = [];
    for (const { subject, message } of [
      ...this.asked.filter(({ message }) => message.type !== 'SetFaultRules'),
      ...last,
    ]) {
      const reply = this.suite.request(subject, message, { timeoutMs: 10 }).catch(() => 'unanswered' as const);
      await this.clock.advance(10);
      replies.push(await reply);
    }
    return replies;
  }

  stop(): Promise<void> {
    return this.agent.stop();
  }
}

const domainSteps = fc.oneof(
  fc
    .record({
      gibibytes: fc.integer({ min: 1, max: 9 }),
      ignores: fc.boolean(),
      incarnation: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ gibibytes, ignores, incarnation }) => ({
      type: 'StartDomain' as const,
      data: {
        incarnation,
        paused: false,
        config: configOf('vm', {
          staticMaxBytes: gibibytes * GIBIBYTE,
          disks: [DISK],
          nics: [{ name: 'eth0', port: 'p', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: [] }],
          guest: { os: 'linux', pvDrivers: true, ignoresShutdown: ignores },
        }),
      },
    })),
  fc
    .record({
      type: fc.constantFrom('ShutdownDomain' as const, 'RebootDomain' as const),
      incarnation: fc.integer({ min: 1, max: 3 }),
      mode: fc.constantFrom('clean', 'hard'),
      timeoutMs: fc.integer({ min: 1, max: 5_000 }),
    })
    .map(({ type, ...data }) => ({ type, data })),
  fc
    .record({
      type: fc.constantFrom('PauseDomain' as const, 'UnpauseDomain' as const, 'DestroyDomain' as const),
      incarnation: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ type, ...data }) => ({ type, data })),
  fc
    .record({
      of: fc.constantFrom(
        { type: 'ChangeDomain' as const, data: { dynamicMinBytes: GIBIBYTE / 2, dynamicMaxBytes: GIBIBYTE / 2 } },
        { type: 'AttachDisk' as const, data: { disk: { ...DISK, name: 'data' } } },
        { type: 'DetachDisk' as const, data: { name: 'root' } },
        { type: 'DetachNic' as const, data: { name: 'eth0' } },
        { type: 'SuspendDomain' as const, data: { timeoutMs: 5_000 } },
        { type: 'CheckpointDomain' as const, data: { timeoutMs: 5_000 } },
        {
          type: 'ResumeDomain' as const,
          data: { image: { sizeBytes: GIBIBYTE, content: AWAKE }, paused: false, config: configOf('vm') },
        },
      ),
      incarnation: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ of, incarnation }) => ({ type: of.type, data: { ...of.data, incarnation } })),
);

const announced = (incarnation: number): JsonObject => ({
  incarnation: incarnation + 1,
  config: configOf('vm'),
  from: OPTIONS.hosts[0] ?? '',
  fromIncarnation: incarnation,
});

const ordered = (incarnation: number): JsonObject => ({
  incarnation,
  to: OPTIONS.hosts[1] ?? '',
  toIncarnation: incarnation + 1,
  operation: 'operation',
  policy: 'xen-v2',
});

/** What may be said to two hosts while machine 0 goes from the first to the second. */
const migrationSteps = fc
  .constantFrom(
    'ReceiveDomain' as const,
    'MigrateDomain' as const,
    'CancelMigration' as const,
    'SettleMigration' as const,
  )
  .map((type) => {
    switch (type) {
      case 'ReceiveDomain':
        return { type, host: 1, data: announced(1) };
      case 'SettleMigration':
        return { type, host: 1, data: { incarnation: 2 } };
      case 'MigrateDomain':
        return { type, host: 0, data: ordered(1) };
      case 'CancelMigration':
        return { type, host: 0, data: { incarnation: 1 } };
    }
  });

const commandRules = fc
  .record({
    phase: fc.constantFrom('before', 'after'),
    delay: fc.integer({ min: 0, max: 3 }),
    then: fc.constantFrom({}, { fail: {} }, { timeout: true }, { crashHost: true }),
    probability: fc.constantFrom(0.5, 1),
    count: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ phase, delay, then, probability, count }) => ({
    // What hosts say to each other is repeated after pauses that a restart changes.
    match: { phase, commands: DOMAIN_COMMANDS.filter((type) => type !== 'DeliverMigrationMessage') },
    effect: { delay, ...then },
    probability,
    count,
  }));

const deviceRules = fc
  .record({
    devices: fc.constantFrom(
      { dropWatches: 'frontend' },
      { dropWatches: 'all' },
      { stallHotplug: true },
      { failHotplug: 'no such disk' },
      { fillRings: true },
    ),
    device: fc.constantFrom('root', 'eth*', '*'),
    probability: fc.constantFrom(0.5, 1),
    count: fc.constantFrom(1, 3, undefined),
  })
  .map(({ devices, device, probability, count }) => ({
    match: { devices: [device] },
    effect: { devices },
    probability,
    ...(count === undefined ? {} : { count }),
  }));

const ruleSteps = fc.oneof(commandRules, deviceRules).map((spec) => ({
  type: 'SetFaultRules' as const,
  data: { rules: [{ uid: 'rule', name: 'rule', spec }] },
}));

const anyStep: fc.Arbitrary<Step> = fc.record({
  pauseMs: fc.integer({ min: 0, max: 3_000 }),
  host: fc.integer({ min: 0, max: 1 }),
  act: fc
    .oneof(
      {
        weight: 8,
        arbitrary: fc.record({ of: domainSteps, vm: fc.integer({ min: 0, max: 2 }), undoesLast: fc.boolean() }),
      },
      { weight: 2, arbitrary: fc.record({ of: ruleSteps, vm: fc.constant(9), undoesLast: fc.constant(false) }) },
      { weight: 1, arbitrary: fc.constant({ type: 'crash' as const }) },
      {
        weight: 1,
        arbitrary: fc.record({
          type: fc.constant('guest' as const),
          vm: fc.integer({ min: 0, max: 2 }),
          reason: fc.constantFrom('poweroff' as const, 'reboot' as const, 'crash' as const),
        }),
      },
    )
    .map((act) => ('of' in act ? { ...act.of, vm: act.vm, undoesLast: act.undoesLast } : act)),
});

const restarts = fc.constantFrom('no' as const, 'no' as const, 'plain' as const, 'compacted' as const);

/** A machine that runs on the first host and is announced to the second, and its way there. */
const UNDER_WAY: readonly Step[] = [
  {
    pauseMs: 0,
    host: 0,
    act: {
      type: 'StartDomain',
      vm: 0,
      data: { incarnation: 1, paused: false, config: configOf('vm') },
      undoesLast: false,
    },
  },
  { pauseMs: 5_000, host: 1, act: { type: 'ReceiveDomain', vm: 0, data: announced(1), undoesLast: false } },
  { pauseMs: 100, host: 0, act: { type: 'MigrateDomain', vm: 0, data: ordered(1), undoesLast: false } },
];

const stepUnderWay: fc.Arbitrary<Step> = fc
  .record({
    pauseMs: fc.integer({ min: 0, max: 600 }),
    host: fc.integer({ min: 0, max: 1 }),
    act: fc.oneof(migrationSteps, domainSteps),
  })
  .map(({ pauseMs, host, act }) => ({
    pauseMs,
    host: 'host' in act ? act.host : host,
    act: { type: act.type, data: act.data, vm: 0, undoesLast: false },
  }));

const outcomeOf = async (
  steps: readonly Step[],
  restartBefore: (index: number) => 'no' | 'plain' | 'compacted',
): Promise<unknown> => {
  const rig = new Rig();
  await rig.start();
  for (const [index, step] of steps.entries()) {
    const restart = restartBefore(index);
    if (restart !== 'no') await rig.restart(restart === 'compacted');
    await rig.act(step, index);
  }
  const outcome = await rig.outcome();
  await rig.stop();
  return outcome;
};

describe('an agent whose hosts are off', () => {
  it('has nothing to register, and is ready all the same', async () => {
    const clock = new VirtualClock();
    const network = new MemoryBus(clock);
    const bus = network.connect('compute');
    await new Services().serve(bus);
    const journal = new MemoryJournal();
    const options = { ...OPTIONS, hosts: hostNames(2) };
    const first = new Agent(options, { bus: network.connect(), clock, journal });
    await first.start();
    const commandId = uuidFrom('off');
    const message = { commandId, type: 'PowerOffHost', streamId: uuidFrom('host'), data: {}, actor: 'test', at: 0 };
    void bus.request(
      agentSubject('host-0001', 'PowerOffHost'),
      { ...message, correlationId: commandId, causationId: commandId },
      { timeoutMs: 1_000 },
    );
    expect(await clock.advanceUntil(() => first.registered === 2, 10_000)).toBe(true);
    await clock.advance(5_000);
    await first.stop();
    const second = new Agent(options, { bus: network.connect(), clock, journal });
    await second.start();
    expect(second.registered).toBe(1);
    expect(await clock.advanceUntil(() => second.registered === 2, 10_000)).toBe(true);
    expect(second.inspect().map(({ off }) => off)).toEqual([true, false]);
    await second.stop();
  });
});

describe('an agent that is asked whether it is ready before it has read its journal', () => {
  it('has made no host up meanwhile, of another boot and another kind', async () => {
    const clock = new VirtualClock();
    const network = new MemoryBus(clock);
    const services = new Services();
    const suite = network.connect('suite');
    await services.serve(suite);
    const kvm = ['host-0002', { hypervisor: 'kvm' }] as const;
    const options = { ...OPTIONS, made: new Map([kvm]) };
    const packer = { pack: (text: string) => text, unpack: (packed: string) => packed };
    const agent = new Agent(options, { bus: network.connect(), clock, journal: new MemoryJournal(), packer });
    expect(agent.registered).toBe(0);
    await agent.start();
    expect(await clock.advanceUntil(() => agent.registered === 2, 10_000)).toBe(true);
    const [xen, other] = services.heard.map(({ data }) => data);
    expect([xen?.['hypervisor'], other?.['hypervisor']]).toEqual(['xen', 'kvm']);
    // Long enough for hosts that nothing happens to to be put away, and made again for what is next.
    await clock.advance(60_000);
    const commandId = uuidFrom('start');
    const data = { incarnation: 1, paused: false, config: configOf('vm') };
    const message = { commandId, type: 'StartDomain', streamId: uuidFrom('vm'), data, actor: 'test', at: 0 };
    const started = suite.request(
      agentSubject('host-0001', 'StartDomain'),
      { ...message, correlationId: commandId, causationId: commandId },
      { timeoutMs: 30_000 },
    );
    await clock.advance(30_000);
    expect(await started).toMatchObject({ ok: true, value: { bootId: xen?.['bootId'] } });
    await agent.stop();
  });
});

describe('an agent that is killed while a host boots that a fault rule made crash', () => {
  it.each([['as it was written'], ['compacted']])(
    'registers the host as a consequence of the rule all the same, from a journal %s',
    async (how) => {
      const clock = new VirtualClock();
      const network = new MemoryBus(clock);
      const services = new Services();
      const suite = network.connect('suite');
      await services.serve(suite);
      const journal = new MemoryJournal();
      const options = { ...OPTIONS, hosts: hostNames(1) };
      const first = network.connect();
      const struck = new Agent(options, { bus: first, clock, journal });
      await struck.start();
      expect(await clock.advanceUntil(() => struck.registered === 1, 10_000)).toBe(true);
      const ask = (type: AgentCommandType, data: JsonObject): void => {
        const commandId = uuidFrom(type);
        const message = { commandId, type, streamId: uuidFrom('vm'), data, actor: 'test', at: 0 };
        const whole = { ...message, correlationId: commandId, causationId: commandId };
        void suite.request(agentSubject('host-0001', type), whole, { timeoutMs: 1_000 }).catch(() => undefined);
      };
      const spec = { match: { commands: ['DestroyDomain'] }, effect: { crashHost: true } };
      ask('SetFaultRules', { rules: [{ uid: 'rule', name: 'rule', spec }] });
      await clock.advance(0);
      ask('DestroyDomain', { incarnation: 1 });
      await clock.advance(0);
      expect(struck.directHosts()).toEqual([{ name: 'host-0001', up: false }]);
      if (how === 'compacted') await journal.compact(struck.snapshot());
      first.kill();
      await struck.stop();
      journal.crash();
      const restart = async (): Promise<() => Promise<void>> => {
        const connection = network.connect();
        const agent = new Agent(options, { bus: connection, clock, journal });
        await agent.start();
        return async () => {
          connection.kill();
          await agent.stop();
          journal.crash();
        };
      };
      const kill = await restart();
      expect(await clock.advanceUntil(() => services.of('RegisterHost').length === 2, 600_000)).toBe(true);
      const [fired] = services.of('RecordFaultFired');
      expect(services.of('RegisterHost').at(-1)?.causationId).toBe(fired?.commandId);
      // What it has said is not said again of a start of the agent alone.
      await clock.advance(0);
      await kill();
      await restart();
      expect(await clock.advanceUntil(() => services.of('RegisterHost').length === 3, 600_000)).toBe(true);
      const last = services.of('RegisterHost').at(-1);
      expect(last?.causationId).toBe(last?.commandId);
    },
  );
});

describe('an agent that is killed and started again', () => {
  it('answers every command, and runs every domain, as one that was never killed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(anyStep, restarts), {
          maxLength: 20,
        }),
        async (steps) => {
          const acts = steps.map(([step]) => step);
          const undisturbed = await outcomeOf(acts, () => 'no');
          const killed = await outcomeOf(acts, (index) => steps[index]?.[1] ?? 'no');
          expect(killed).toEqual(undisturbed);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('goes on with a migration as one that was never killed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(stepUnderWay, restarts), { maxLength: 12 }), async (steps) => {
        const acts = [...UNDER_WAY, ...steps.map(([step]) => step)];
        const undisturbed = await outcomeOf(acts, () => 'no');
        const killed = await outcomeOf(acts, (index) => steps[index - UNDER_WAY.length]?.[1] ?? 'no');
        expect(killed).toEqual(undisturbed);
      }),
      { numRuns: 60 },
    );
  });
});
