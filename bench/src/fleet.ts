import { timestamp, type PlacementRequest } from '@xenolith/contracts';
import type { IndexedEvent } from '@xenolith/engine';
import { randomFrom, uuidFrom, type JsonObject, type Random, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { CapacityIndex, type Proposal, type SchedulingPolicy } from '@xenolith/scheduling';

export const GIB = 2 ** 30;
/** Times of a replay begin long enough after the epoch that machines which ran before it have one, too. */
export const START_MS = 2_000 * 86_400_000;

export interface HostShape {
  readonly threads: number;
  readonly memoryBytes: number;
  readonly nodes: number;
  readonly features: readonly string[];
  readonly resources?: Readonly<Record<string, number>>;
}

export const hostDocument = (name: string, shape: HostShape, more: { labels?: object; taints?: object[] } = {}) =>
  ({
    metadata: {
      name,
      creationTimestamp: timestamp(0),
      labels: { 'kubernetes.io/hostname': name, ...more.labels },
    },
    spec: {
      cluster: 'default',
      unschedulable: false,
      taints: more.taints ?? [],
      ...(shape.resources ? { resources: shape.resources } : {}),
    },
    status: {
      hypervisor: 'xen',
      cpus: shape.threads,
      allocatableMemory: String(shape.memoryBytes),
      conditions: [{ type: 'Ready', status: 'True' }],
      hardware: {
        cpu: { features: shape.features },
        numaNodes: Array.from({ length: shape.nodes }, (_, id) => ({
          id,
          memoryBytes: shape.memoryBytes / shape.nodes,
          threads: Array.from({ length: shape.threads / shape.nodes }, (_thread, number) => number + id * 1_000),
        })),
      },
    },
  }) as unknown as JsonObject;

/** vCPUs and GiB of flavours, with how often they come: mostly small ones, as in the public traces. */
const FLAVOURS: readonly (readonly [number, number, number])[] = [
  [1, 1, 8],
  [1, 2, 18],
  [2, 4, 30],
  [4, 8, 24],
  [2, 8, 6],
  [8, 16, 9],
  [4, 16, 3],
  [16, 32, 1.6],
  [16, 64, 0.4],
];
const WEIGHT = FLAVOURS.reduce((sum, [, , weight]) => sum + weight, 0);
export const LARGEST_GIB = Math.max(...FLAVOURS.map(([, gib]) => gib));

export interface Flavour {
  readonly vcpus: number;
  readonly gib: number;
}

export const flavourOf = (random: Random): Flavour => {
  let left = random.next() * WEIGHT;
  const [vcpus, gib] = FLAVOURS.find(([, , weight]) => (left -= weight) < 0) ?? [2, 4];
  return { vcpus, gib };
};

const stored = (category: string, uid: Uuid, document: JsonObject): StoredDocument => ({
  streamId: uid,
  category,
  version: 1,
  position: 1,
  document,
});

/** The scheduler's own index, fed as the log feeds it. */
interface When {
  readonly atMs: number;
  /** When the machine began, if that was before. */
  readonly sinceMs?: number;
}

export class BenchFleet {
  readonly index: CapacityIndex;
  private count = 0;
  private readonly random: Random;

  constructor(policy: SchedulingPolicy, hosts: readonly JsonObject[], cpuOvercommit: number) {
    this.index = new CapacityIndex(policy);
    this.random = randomFrom('fleet');
    const cluster = { metadata: { name: 'default', creationTimestamp: timestamp(0) }, spec: { cpuOvercommit } };
    this.index.load([
      stored('cluster', 'cluster-default', cluster),
      ...hosts.map((document) =>
        stored('host', uuidFrom('host', (document['metadata'] as { name: string }).name), document),
      ),
    ]);
  }

  /** What the service asks the index when a machine is to be placed. */
  propose(placement: Uuid, request: PlacementRequest, atMs: number): Proposal {
    const commandId = this.random
      .below(2 ** 32)
      .toString(16)
      .padStart(8, '0');
    return this.index.propose({ placement, request, commandId, attempt: 1, atMs });
  }

  /** A uid that no other placement of the run has. */
  next(): Uuid {
    this.count += 1;
    return `placement-${this.count}`;
  }

  placed(
    placement: Uuid,
    request: PlacementRequest,
    found: Pick<Proposal & { fits: true }, 'hostUid' | 'numa'>,
    when: When,
  ): void {
    const { atMs, sinceMs = atMs } = when;
    const document = {
      metadata: { creationTimestamp: timestamp(sinceMs) },
      spec: { request },
      status: {
        hostUid: found.hostUid,
        ...(found.numa ? { numaNode: found.numa.node } : {}),
        conditions: [{ lastTransitionTime: timestamp(sinceMs) }],
      },
    };
    this.tell(placement, document, atMs);
  }

  released(placement: Uuid, atMs: number): void {
    this.tell(placement, null, atMs);
  }

  private tell(streamId: Uuid, document: JsonObject | null, at: number): void {
    this.index.apply({ streamId, category: 'placement', version: 1, document, metadata: { at } } as IndexedEvent);
  }
}
