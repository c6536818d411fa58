import type { JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { cachedObject, indexerOf, type CachedObject } from '../cache/cached-object.js';
import { HOST_METRICS, MACHINE_METRICS, type ServedKind } from '../discovery/index.js';
import { tableOf } from '../table/index.js';
import { hostFigures, machineFigures } from './figures.js';
import { Telemetry, type HostTelemetry } from './telemetry.js';

const GIBIBYTE = 2 ** 30;

const objectOf = (document: JsonObject): CachedObject =>
  cachedObject({ uid: 'vm', position: 1, version: 1, document, indexer: indexerOf([]) });

const disk = (bytes: number): JsonObject => ({
  name: 'root',
  reads: 1,
  writes: 1,
  readBytes: bytes,
  writtenBytes: 2 * bytes,
});

/** Two heartbeats, ten seconds apart. */
const heard = (first: JsonObject, second: JsonObject): HostTelemetry => {
  const telemetry = new Telemetry(() => 0);
  for (const [at, domain] of [
    [0, first],
    [10_000, second],
  ] as const)
    telemetry.hear({
      host: 'h',
      name: 'host-0001',
      bootId: 'b',
      at,
      domains: 1,
      freeMemoryBytes: 24 * GIBIBYTE,
      cpuLoad: 0.25,
      controlDomain: { cpu: 0.5, memoryBytes: GIBIBYTE },
      virtualMachines: [{ uid: 'vm', cpu: 0.2504, memoryBytes: GIBIBYTE, ...domain }],
    });
  const hearing = telemetry.host('host-0001');
  if (hearing.heard === null) throw new Error('the host was heard');
  return hearing.heard;
};

const cells = (kind: ServedKind, object: JsonObject): unknown => {
  const table = tableOf(kind, [object], { version: 'v1', includeObject: 'None', now: 0, listMetadata: {} });
  return (table['rows'] as JsonObject[])[0]?.['cells'];
};

describe('figures', () => {
  it('of a host are of its threads and of its memory', () => {
    const host = objectOf({
      metadata: { name: 'host-0001', labels: { rack: 'a' } },
      status: { cpus: 32, memory: '32Gi' },
    });
    const figures = hostFigures(host, heard({}, {}), 60_000);
    expect(figures).toEqual({
      kind: 'HostMetrics',
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      metadata: { name: 'host-0001', labels: { rack: 'a' }, creationTimestamp: '1970-01-01T00:01:00Z' },
      timestamp: '1970-01-01T00:00:10Z',
      window: '2s',
      usage: { cpu: '8000m', memory: '8388608Ki' },
      capacity: { cpu: '32', memory: '33554432Ki' },
      domains: 1,
      controlDomain: { cpu: '500m', memory: '1048576Ki' },
    });
    expect(cells(HOST_METRICS, figures)).toEqual(['host-0001', '8000m', '25%', '8Gi', '25%', 1, '500m']);
  });

  it('of a machine have rates where totals grew, and none where its domain is a new one', () => {
    const machine = objectOf({ metadata: { name: 'web-1', namespace: 'default' } });
    const domainOf = (telemetry: HostTelemetry): JsonObject => {
      const [domain] = telemetry.domains;
      if (domain === undefined) throw new Error('the host named its domain');
      return machineFigures(machine, { host: 'host-0001', telemetry, domain }, 0);
    };
    const figures = domainOf(heard({ disks: [disk(1_000)] }, { disks: [disk(21_480)], cpuSeconds: 7.5, steal: 0.1 }));
    expect(figures).toMatchObject({
      kind: 'VirtualMachineMetrics',
      host: 'host-0001',
      window: '10s',
      usage: { cpu: '250m', memory: '1048576Ki' },
      steal: '100m',
      cpuSeconds: 7.5,
      disks: [{ name: 'root', readBytes: 21_480, readBytesPerSecond: 2_048, writtenBytesPerSecond: 4_096 }],
    });
    expect(cells(MACHINE_METRICS, figures)).toEqual(['web-1', 'host-0001', '250m', '100m', '1Gi', '2Ki/4Ki', null]);
    const again = domainOf(heard({ disks: [disk(1_000)] }, { disks: [disk(0)] }));
    expect((again['disks'] as JsonObject[])[0]).toEqual(disk(0));
  });
});
