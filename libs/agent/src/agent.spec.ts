import { HEARTBEAT_INTERVAL_MS, heartbeat, telemetrySubject, type Heartbeat, hostNames } from '@xenolith/contracts';
import { uuidFrom, type JsonObject } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { describeAgent, KVM_TRAITS, XEN_TRAITS, type MakeAgent } from './agent.conformance.js';
import { Commander, configsFor, Services } from './conformance-harness.js';
import { Agent, hostUid, MemoryJournal, type AgentOptions, type MadeHost } from './index.js';

const OPTIONS: AgentOptions = {
  hosts: hostNames(1),
  seed: 'test',
  profile: '2x8-128',
  bootTimeMs: 300,
  agentVersion: '0.1.0',
};
const LIMIT_MS = 600_000;

const emulated =
  (made: MadeHost = { hypervisor: 'xen' }): MakeAgent =>
  async ({ services, hosts: count = 1 }) => {
    const hosts = hostNames(count);
    const clock = new VirtualClock();
    const network = new MemoryBus(clock);
    const journal = new MemoryJournal();
    const bus = network.connect('suite');
    await services(bus);
    const begin = async (): Promise<{ agent: Agent; kill: () => void }> => {
      const connection = network.connect('agent');
      const kinds = new Map(hosts.map((name) => [name, made]));
      const agent = new Agent({ ...OPTIONS, hosts, made: kinds }, { bus: connection, clock, journal });
      await agent.start();
      return { agent, kill: () => connection.kill() };
    };
    let running = await begin();
    const settled = async <Value>(promise: Promise<Value>): Promise<Value> => {
      let done = false;
      const finish = (): void => {
        done = true;
      };
      promise.then(finish, finish);
      await clock.advanceUntil(() => done, LIMIT_MS);
      return promise;
    };
    return {
      host: hosts[0] ?? '',
      others: hosts.slice(1),
      bus,
      settled,
      until: async (condition) => {
        expect(await clock.advanceUntil(condition, LIMIT_MS)).toBe(true);
      },
      restart: async () => {
        running.kill();
        await running.agent.stop();
        journal.crash();
        running = await begin();
      },
      stop: () => running.agent.stop(),
    };
  };

describeAgent('emulated Xen', emulated());
describeAgent('emulated KVM', emulated({ hypervisor: 'kvm' }), KVM_TRAITS);

const memorySharing = { overcommitPercent: 100 };
describeAgent('emulated Xen that shares pages', emulated({ hypervisor: 'xen', memorySharing }));
describeAgent('emulated KVM that shares pages', emulated({ hypervisor: 'kvm', memorySharing }), KVM_TRAITS);

describe('a host that shares pages', () => {
  it.each([
    ['xen', XEN_TRAITS],
    ['kvm', KVM_TRAITS],
  ] as const)('tells what that saves, as a whole and by machine: %s', async (hypervisor, traits) => {
    const services = new Services();
    const agent = await emulated({ hypervisor, memorySharing })({ services: (bus) => services.serve(bus) });
    const compute = new Commander(agent);
    const beats: Heartbeat[] = [];
    await agent.bus.subscribe(telemetrySubject('*'), (payload: JsonObject) => {
      beats.push(heartbeat.parse(payload));
    });
    for (const name of ['one', 'other']) await compute.start(uuidFrom('sharing', name), configsFor(traits)(name));
    await agent.until(
      () => (beats.at(-1)?.sharing?.savedBytes ?? 0) > 0 && beats.at(-1)?.virtualMachines !== undefined,
    );
    const { sharing, virtualMachines = [] } = heartbeat.parse(beats.at(-1));
    const shared = virtualMachines.map(({ sharedBytes }) => sharedBytes);
    expect(sharing).toEqual({ sharedBytes: shared[0], savedBytes: shared[1] });
    await agent.stop();
  });
});

describe('a fleet of agents', () => {
  it('sends heartbeats of every host in each interval, spread over it', async () => {
    const clock = new VirtualClock();
    const network = new MemoryBus(clock);
    const heard: { name: string; at: number }[] = [];
    await network.connect().subscribe(telemetrySubject('*'), (payload: JsonObject) => {
      const { name, at } = heartbeat.parse(payload);
      heard.push({ name, at });
    });
    const agent = new Agent(
      { ...OPTIONS, hosts: hostNames(100) },
      { bus: network.connect(), clock, journal: new MemoryJournal() },
    );
    await agent.start();
    heard.length = 0;
    await clock.advance(HEARTBEAT_INTERVAL_MS);
    expect(new Set(heard.map(({ name }) => name)).size).toBe(100);
    expect(new Set(heard.map(({ at }) => at)).size).toBeGreaterThan(30);
    await agent.stop();
  });

  it('gives hosts stable uids', () => {
    expect(hostUid('host-0001')).toBe(uuidFrom('host', 'host-0001'));
  });
});
