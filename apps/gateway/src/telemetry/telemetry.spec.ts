import type { JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { Telemetry } from './telemetry.js';

const beat = (name: string, more: JsonObject = {}): JsonObject => ({
  host: `uid of ${name}`,
  name,
  bootId: 'boot-1',
  at: 5_000,
  domains: 1,
  freeMemoryBytes: 1024,
  cpuLoad: 0.5,
  ...more,
});
const domains = (reads: number): JsonObject => ({
  virtualMachines: [
    {
      uid: 'vm',
      cpu: 1,
      memoryBytes: 1,
      disks: [{ name: 'root', reads, writes: 0, readBytes: reads * 10, writtenBytes: 0 }],
    },
  ],
});

const listening = () => {
  const clock = { now: 0 };
  return { clock, telemetry: new Telemetry(() => clock.now) };
};

describe('telemetry', () => {
  it('knows nothing of a host that it has not heard', () => {
    expect(listening().telemetry.host('a')).toEqual({ heard: null, silentMs: null });
  });

  it('keeps the figures of domains between the heartbeats that carry them, and those before', () => {
    const { telemetry } = listening();
    telemetry.hear(beat('a', domains(10)));
    telemetry.hear(beat('a', { ...domains(30), at: 15_000 }));
    telemetry.hear(beat('a', { cpuLoad: 0.75, at: 17_000 }));
    const { heard } = telemetry.host('a');
    expect(heard?.beat.cpuLoad).toBe(0.75);
    expect(heard?.domains[0]?.disks?.[0]?.reads).toBe(30);
    expect(heard?.domainsAt).toBe(15_000);
    expect(heard?.before?.domains[0]?.disks?.[0]?.reads).toBe(10);
  });

  it('shows no domains of an earlier boot', () => {
    const { telemetry } = listening();
    telemetry.hear(beat('a', domains(10)));
    telemetry.hear(beat('a', { bootId: 'boot-2' }));
    expect(telemetry.host('a').heard?.domains).toEqual([]);
  });

  it('says how long a host has been silent, then forgets it', () => {
    const { telemetry, clock } = listening();
    telemetry.hear(beat('a'));
    clock.now = 12_000;
    expect(telemetry.host('a')).toEqual({ heard: null, silentMs: 12_000 });
    clock.now = 61_000;
    telemetry.hear(beat('b'));
    expect(telemetry.host('a')).toEqual({ heard: null, silentMs: null });
    expect(telemetry.size).toBe(1);
  });

  it('keeps no more hosts than an API serves, whoever speaks', () => {
    const { telemetry } = listening();
    for (let host = 0; host < 20_005; host += 1) telemetry.hear(beat(`h-${host}`));
    expect(telemetry.size).toBe(20_000);
    expect(telemetry.host('h-0').heard).toBeNull();
    expect(telemetry.host('h-20004').heard).not.toBeNull();
  });

  it('passes over what is no heartbeat', () => {
    const { telemetry } = listening();
    telemetry.hear({});
    telemetry.hear({ name: 'a', cpuLoad: 'much' });
    expect(telemetry.host('a').heard).toBeNull();
  });
});
