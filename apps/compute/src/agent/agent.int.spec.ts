import { hostNames } from '@xenolith/contracts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Agent } from '@xenolith/agent';
import { describeAgent, type MakeAgent } from '@xenolith/agent/conformance';
import { openMessageBus } from '@xenolith/messaging';
import { systemClock } from '@xenolith/runtime';
import { startNats, type TestServer } from '@xenolith/testing';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { FileJournal } from './file-journal.js';

const LIMIT_MS = 20_000;

let nats: TestServer;
let agents = 0;
beforeAll(async () => {
  nats = await startNats();
});
afterAll(() => nats.stop());

const makeOverNats: MakeAgent = async ({ services, hosts: count = 1 }) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'xenolith-agent-'));
  const bus = await openMessageBus({ natsUrl: nats.url, name: 'suite' });
  await services(bus);
  agents += 1;
  const hosts = hostNames(count, `suite-${agents}-`);
  const begin = async (): Promise<{ end: () => Promise<void> }> => {
    const own = await openMessageBus({ natsUrl: nats.url, name: 'agent' });
    const journal = await FileJournal.open(folder);
    const agent = new Agent(
      // With a boot time of 0 a crashed host is up again at once, as the suite does not want to wait for its firmware.
      { hosts, seed: 'suite', profile: '2x8-128', bootTimeMs: 0, agentVersion: '0.1.0' },
      { bus: own, clock: systemClock, journal },
    );
    await agent.start();
    return {
      end: async () => {
        // Nothing is drained: the connection breaks first.
        await own.connection.close();
        await agent.stop();
        await own.close();
        await journal.close();
      },
    };
  };
  let running = await begin();
  return {
    host: hosts[0] ?? '',
    others: hosts.slice(1),
    bus,
    settled: (promise) => promise,
    until: async (condition) => {
      await vi.waitFor(() => expect(condition()).toBe(true), { timeout: LIMIT_MS, interval: 5 });
    },
    restart: async () => {
      await running.end();
      running = await begin();
    },
    stop: async () => {
      await running.end();
      await bus.close();
      await rm(folder, { recursive: true });
    },
  };
};

describeAgent('emulated Xen over NATS, with a journal on disk', makeOverNats);
