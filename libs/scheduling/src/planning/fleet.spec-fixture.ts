import { timestamp, type PlacementRequest } from '@xenolith/contracts';
import type { IndexedEvent } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import * as fc from 'fast-check';
import { CapacityIndex } from '../capacity.index.js';
import type { Proposal } from '../placement.decide.js';
import { GIB, hostDocument, hostUid, requestFor, type TestHost } from '../scheduler.spec-fixture.js';
import type { SchedulingPolicy } from '../scores.js';

const stored = (category: string, streamId: Uuid, document: JsonObject): StoredDocument => ({
  streamId,
  category,
  version: 1,
  position: 1,
  document,
});

const placed = (request: PlacementRequest, uid: Uuid, cell?: number): JsonObject => ({
  metadata: { creationTimestamp: timestamp(0) },
  spec: { request },
  status: { hostUid: uid, ...(cell === undefined ? {} : { numaNode: cell }) },
});

/** Hosts and machines as an index knows them; machines are placed by the index itself, or where a test says. */
export class IndexedFleet {
  readonly index: CapacityIndex;

  constructor(
    hosts: readonly TestHost[],
    policy: SchedulingPolicy = 'balance',
    highAvailability?: { readonly hostFailures: number },
  ) {
    this.index = new CapacityIndex(policy);
    const spec = { cpuOvercommit: 4, ...(highAvailability && { highAvailability }) };
    const cluster = { metadata: { name: 'default', creationTimestamp: timestamp(0) }, spec };
    this.index.load([
      stored('cluster', 'cluster', cluster),
      ...hosts.map((host) => stored('host', hostUid(host.name), hostDocument(host))),
    ]);
  }

  propose(name: string, request: PlacementRequest): Proposal {
    const placement = uuidFrom('asked', name);
    const found = this.index.propose({ placement, request, commandId: uuidFrom(name), attempt: 1, atMs: 0 });
    // Ends the offer: nothing comes of it.
    this.tell(placement, null);
    return found;
  }

  /** Where the machine was put; undefined: nothing fits. A host that is asked for does not bind it later. */
  place(name: string, more: Partial<PlacementRequest> = {}): string | undefined {
    const request = requestFor(name, more);
    const found = this.propose(name, request);
    if (!found.fits) return undefined;
    const { host: _host, ...movable } = request;
    this.put(name, movable, { host: found.host, cell: found.numa?.node });
    return found.host;
  }

  /** The host is as this says from now on. */
  setHost(host: TestHost): void {
    this.tell(hostUid(host.name), hostDocument(host), { category: 'host' });
  }

  /** It waits for room. */
  wait(name: string, request: PlacementRequest): void {
    const document = { metadata: { creationTimestamp: timestamp(0) }, spec: { request }, status: {} };
    this.tell(uuidFrom('placement', name), document);
  }

  put(name: string, request: PlacementRequest, at: { host: string; cell?: number | undefined }): void {
    this.tell(uuidFrom('placement', name), placed(request, hostUid(at.host), at.cell));
  }

  /** A machine ran for so long and is gone. */
  lived(name: string, request: PlacementRequest, ms: number): void {
    const [host] = this.index.hostsOfCluster('cluster');
    const virtualMachine = { ...request.virtualMachine, uid: uuidFrom('vm', name), name };
    this.tell(uuidFrom('placement', name), placed({ ...request, virtualMachine }, host ?? ''));
    this.tell(uuidFrom('placement', name), null, { at: ms });
  }

  private tell(
    streamId: Uuid,
    document: JsonObject | null,
    { at = 0, category = 'placement' }: { readonly at?: number; readonly category?: string } = {},
  ): void {
    const metadata = { at };
    this.index.apply({ streamId, category, version: 1, document, metadata } as unknown as IndexedEvent);
  }
}

const zones = ['a', 'b'];
const apps = ['web', 'db'];

const term = (app: string, topologyKey: string) => ({ labelSelector: { matchLabels: { app } }, topologyKey });
const topology = fc.constantFrom('kubernetes.io/hostname', 'zone');

/** Hosts of different sizes and zones, some with NUMA nodes and licences, some not to be used. */
const anyHost: fc.Arbitrary<Omit<TestHost, 'name'>> = fc
  .record({
    memoryBytes: fc.constantFrom(8, 12, 16).map((gib) => gib * GIB),
    threads: fc.constantFrom(2, 4),
    zone: fc.constantFrom(...zones),
    nodes: fc.constantFrom(1, 2),
    licences: fc.nat(2),
    ready: fc.integer({ min: 0, max: 9 }).map((chance) => chance > 0),
    unschedulable: fc.integer({ min: 0, max: 9 }).map((chance) => chance === 0),
  })
  .map(({ zone, licences, ...host }) => ({ ...host, labels: { zone }, resources: { licence: licences } }));

/** What machines ask: mostly nothing, sometimes rules about hosts or other machines. */
export const anyRequest: fc.Arbitrary<Partial<PlacementRequest>> = fc
  .tuple(
    fc.record({
      memoryBytes: fc.integer({ min: 1, max: 6 }).map((gib) => gib * GIB),
      vcpus: fc.integer({ min: 1, max: 4 }),
    }),
    fc.oneof(
      { weight: 4, arbitrary: fc.constant({}) },
      { weight: 1, arbitrary: fc.constant({ numa: 'single-numa-node' as const }) },
      { weight: 1, arbitrary: fc.constant({ numa: 'best-effort' as const }) },
      { weight: 1, arbitrary: fc.constant({ resources: { licence: 1 } }) },
      { weight: 1, arbitrary: fc.constantFrom(...zones).map((zone) => ({ hostSelector: { zone } })) },
      { weight: 1, arbitrary: fc.constantFrom('quorum', 'pair').map((antiAffinity) => ({ antiAffinity })) },
      { weight: 1, arbitrary: fc.constantFrom(...apps).map((app) => ({ labels: { app } })) },
      {
        weight: 2,
        arbitrary: fc.tuple(fc.constantFrom(...apps), fc.constantFrom(...apps), topology).map(([app, other, key]) => ({
          labels: { app },
          affinity: {
            virtualMachineAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term(other, key)] },
          },
        })),
      },
      {
        weight: 1,
        arbitrary: fc.tuple(fc.constantFrom(...apps), fc.constantFrom(...apps), topology).map(([app, other, key]) => ({
          labels: { app },
          affinity: { virtualMachineAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term(other, key)] } },
        })),
      },
    ),
  )
  .map(([size, rules]) => ({ ...size, ...rules }));

/** A fleet with as many of the machines as found a host. */
export const anyFleet = (most: { readonly hosts: number; readonly machines: number }): fc.Arbitrary<IndexedFleet> =>
  fc
    .tuple(
      fc.array(anyHost, { minLength: 2, maxLength: most.hosts }),
      fc.array(anyRequest, { maxLength: most.machines }),
      fc.constantFrom<SchedulingPolicy>('balance', 'density'),
    )
    .map(([hosts, requests, policy]) => {
      const fleet = new IndexedFleet(
        hosts.map((host, number) => ({ ...host, name: `host-${number}` })),
        policy,
      );
      for (const [number, request] of requests.entries()) fleet.place(`vm-${number}`, request);
      return fleet;
    });
