import { hostNames } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import type { ToolOutput } from '@xenolith/xen';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Commander, configsFor, KVM_TRAITS, Services, XEN_TRAITS } from './conformance-harness.js';
import { Agent, MemoryJournal, type AgentOptions } from './index.js';

const [HOST = ''] = hostNames(1);
const VM = uuidFrom('direct', 'vm');
const LIMIT_MS = 120_000;

const KINDS = {
  xen: { traits: XEN_TRAITS, tool: 'xl', pause: 'pause', unpause: 'unpause' },
  kvm: { traits: KVM_TRAITS, tool: 'virsh', pause: 'suspend', unpause: 'resume' },
} as const;

describe.each(['xen', 'kvm'] as const)('a %s host that is operated directly', (hypervisor) => {
  const { traits, tool, pause, unpause } = KINDS[hypervisor];
  const options: AgentOptions = {
    hosts: [HOST],
    made: new Map([[HOST, { hypervisor }]]),
    seed: 'direct',
    profile: '2x8-128',
    bootTimeMs: 300,
    agentVersion: '0.1.0',
  };
  let clock: VirtualClock;
  let network: MemoryBus;
  let journal: MemoryJournal;
  let services: Services;
  let agent: Agent;
  let connection: ReturnType<MemoryBus['connect']>;
  let compute: Commander;
  let calls = 0;

  const settled = async <Value>(promise: Promise<Value>): Promise<Value> => {
    let done = false;
    const finish = (): void => {
      done = true;
    };
    promise.then(finish, finish);
    await clock.advanceUntil(() => done, LIMIT_MS);
    return promise;
  };
  const begin = async (): Promise<void> => {
    connection = network.connect('agent');
    agent = new Agent(options, { bus: connection, clock, journal });
    await agent.start();
  };
  const restart = async (): Promise<void> => {
    connection.kill();
    await agent.stop();
    journal.crash();
    await begin();
  };
  const call = (...args: string[]): Promise<ToolOutput | null> =>
    agent.direct(HOST, { tool, args, commandId: uuidFrom('direct', hypervisor, (calls += 1)) });
  const states = (): string[] => agent.inspect().flatMap(({ domains }) => domains.map(({ state }) => state));

  beforeEach(async () => {
    clock = new VirtualClock();
    network = new MemoryBus(clock);
    journal = new MemoryJournal();
    services = new Services();
    const bus = network.connect('suite');
    await services.serve(bus);
    await begin();
    const until = async (condition: () => boolean): Promise<void> => {
      expect(await clock.advanceUntil(condition, LIMIT_MS)).toBe(true);
    };
    compute = new Commander({ host: HOST, others: [], bus, settled, until, restart, stop: () => agent.stop() });
    await compute.start(VM, configsFor(traits)('web-1', { onPoweroff: 'preserve' }));
  });
  afterEach(() => agent.stop());

  it('pauses and unpauses, which shows in its inventory and is reported to nobody', async () => {
    expect(await settled(call(pause, 'web-1'))).toMatchObject({ exitCode: 0 });
    expect(states()).toEqual(['paused']);
    await restart();
    expect(states()).toEqual(['paused']);
    expect(await settled(call(unpause, 'web-1'))).toMatchObject({ exitCode: 0 });
    expect(states()).toEqual(['running']);
    expect(services.of('ReportDomainStopped')).toEqual([]);
  });

  it('destroys, and tells compute who did it', async () => {
    expect(await settled(call('destroy', 'web-1'))).toMatchObject({ exitCode: 0 });
    await clock.advance(1_000);
    expect(states()).toEqual([]);
    expect(services.of('ReportDomainStopped').map(({ data }) => data)).toEqual([
      { incarnation: 1, host: HOST, reason: 'poweroff', direct: { command: `${tool} destroy`, hard: true } },
    ]);
  });

  it('comes back from a shutdown before the guest has stopped, and reports its end once, though the agent is killed meanwhile', async () => {
    const came = call('shutdown', 'web-1');
    await clock.advance(0);
    expect(await came).toMatchObject({ exitCode: 0 });
    expect(states()).toEqual(['running']);
    await restart();
    expect(await clock.advanceUntil(() => states().length === 0, LIMIT_MS)).toBe(true);
    await restart();
    await clock.advance(10_000);
    const reports = services.of('ReportDomainStopped');
    expect(new Set(reports.map(({ commandId }) => commandId)).size).toBe(1);
    expect(reports[0]?.data).toMatchObject({
      reason: 'poweroff',
      direct: { command: `${tool} shutdown`, hard: false },
    });
  });

  it('reports a guest that was destroyed while it shut down as destroyed, and not as shut down, which a policy would restart', async () => {
    const came = call('shutdown', 'web-1');
    await clock.advance(0);
    await came;
    expect(await settled(call('destroy', 'web-1'))).toMatchObject({ exitCode: 0 });
    await clock.advance(10_000);
    expect(services.of('ReportDomainStopped').map(({ data }) => data['direct'])).toEqual([
      { command: `${tool} destroy`, hard: true },
    ]);
  });

  it('reports a reboot with the domain that followed', async () => {
    const came = call('reboot', 'web-1');
    await clock.advance(0);
    expect(await came).toMatchObject({ exitCode: 0 });
    expect(await clock.advanceUntil(() => services.of('ReportDomainStopped').length > 0, LIMIT_MS)).toBe(true);
    const domid = (await compute.domain(VM))?.domid;
    expect(services.of('ReportDomainStopped').map(({ data }) => data)).toMatchObject([
      { reason: 'reboot', domid, direct: { command: `${tool} reboot`, hard: false } },
    ]);
  });

  it('tells of what happened while nobody could hear it when compute is there again', async () => {
    connection.kill();
    await settled(call('destroy', 'web-1'));
    await restart();
    await clock.advance(1_000);
    expect(services.of('ReportDomainStopped')).toHaveLength(1);
  });

  it('is operated before the bus is there', async () => {
    connection.kill();
    await agent.stop();
    journal.crash();
    const ports = {
      get bus(): never {
        throw new Error('there is no bus');
      },
      clock,
      journal,
    };
    agent = new Agent(options, ports);
    await agent.open();
    expect(agent.directHosts()).toEqual([{ name: HOST, up: true }]);
    expect(await settled(call(pause, 'web-1'))).toMatchObject({ exitCode: 0 });
    expect(states()).toEqual(['paused']);
    expect(await agent.direct('other', { tool, args: ['list'], commandId: uuidFrom('other') })).toBeNull();
  });

  it('does nothing twice that is asked for twice', async () => {
    const again = { tool, args: [pause, 'web-1'], commandId: uuidFrom('again', hypervisor) };
    await settled(agent.direct(HOST, again));
    await settled(call(unpause, 'web-1'));
    await settled(agent.direct(HOST, again));
    expect(states()).toEqual(['running']);
  });

  it('is struck by fault rules as by any command', async () => {
    await compute.rules({ match: { commands: ['DestroyDomain'] }, effect: { fail: { message: 'not today' } } });
    expect(await settled(call('destroy', 'web-1'))).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('not today') as string,
    });
    expect(states()).toEqual(['running']);
    expect(services.of('ReportDomainStopped')).toEqual([]);
  });
});
