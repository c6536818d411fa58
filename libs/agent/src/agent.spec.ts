import { HEARTBEAT_INTERVAL_MS, heartbeat, telemetrySubject } from '@xenolith/contracts';
import { uuidFrom, type JsonObject } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { describeAgent, KVM_TRAITS, type MakeAgent } from './agent.conformance.js';
import { Agent, hostNames, hostUid, MemoryJournal, type AgentOptions } from './index.js';

const OPTIONS: AgentOptions = {
  hosts: hostNames(1),
  seed: 'test',
  profile: '2x8-128',
  bootTimeMs: 300,
  agentVersion: '0.1.0',
};
const LIMIT_MS = 600_000;

const emulated =
  (kvmHosts: readonly string[] = []): MakeAgent =>
  async ({ services, hosts: count = 1 }) => {
    const hosts = hostNames(count);
    const clock = new VirtualClock();
    const network = new MemoryBus(clock);
    const journal = new MemoryJournal();
    const bus = network.connect('suite');
    await services(bus);
    const begin = async (): Promise<{ agent: Agent; kill: () => void }> => {
      const connection = network.connect('agent');
      const made = new Map(kvmHosts.map((name) => [name, { hypervisor: 'kvm' }] as const));
      const agent = new Agent({ ...OPTIONS, hosts, made }, { bus: connection, clock, journal });
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
describeAgent('emulated KVM', emulated(hostNames(2)), KVM_TRAITS);

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
