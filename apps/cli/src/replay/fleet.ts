import { parseQuantity } from '@xenolith/kernel';
import { z } from 'zod';
import { UserError } from '../terminal.js';
import { refusalOf, type ApiClient } from './api-client.js';
import type { HostCapacity } from './sizing.js';

const GROUP = '/apis/compute.xenolith.dev/v1alpha1';

const hostsSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ cluster: z.string().optional(), unschedulable: z.boolean().optional() }),
      status: z.looseObject({ cpus: z.number(), allocatableMemory: z.string() }),
    }),
  ),
});
const clustersSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ cpuOvercommit: z.number().optional() }),
    }),
  ),
});

/** What the platform's hosts offer. */
export interface FleetCapacity {
  readonly hosts: ReadonlyMap<string, HostCapacity>;
  /** A host of average size. */
  readonly average: HostCapacity;
}

/** A host whose cluster does not exist places one virtual CPU on each thread. */
const NO_OVERCOMMIT = 1;

const list = async <Schema extends z.ZodType>(
  client: ApiClient,
  plural: string,
  schema: Schema,
): Promise<z.infer<Schema>> => {
  const answer = await client.send('GET', `${GROUP}/${plural}`);
  if (answer.status === 200) return schema.parse(answer.body);
  const { message } = refusalOf(answer);
  throw new UserError(`cannot list ${plural}: ${message}`, [
    'Is this the API of a Xenolith platform, and may you read it?',
  ]);
};

const bytesOf = (quantity: string): number => {
  const parsed = parseQuantity(quantity);
  return parsed.ok ? parsed.value : 0;
};

/** Asks the platform what its schedulable hosts offer. */
export const readFleet = async (client: ApiClient): Promise<FleetCapacity> => {
  const [hosts, clusters] = await Promise.all([
    list(client, 'hosts', hostsSchema),
    list(client, 'clusters', clustersSchema),
  ]);
  const overcommits = new Map(clusters.items.map(({ metadata, spec }) => [metadata.name, spec.cpuOvercommit]));
  const capacities = new Map<string, HostCapacity>();
  for (const { metadata, spec, status } of hosts.items) {
    if (spec.unschedulable === true) continue;
    const overcommit = overcommits.get(spec.cluster ?? 'default') ?? NO_OVERCOMMIT;
    capacities.set(metadata.name, {
      vcpus: status.cpus * overcommit,
      memoryBytes: bytesOf(status.allocatableMemory),
    });
  }
  if (capacities.size === 0)
    throw new UserError('the platform has no host that takes machines.', ['See: ./xenolith kubectl get hosts']);
  const all = [...capacities.values()];
  const mean = (pick: (host: HostCapacity) => number): number =>
    all.reduce((sum, host) => sum + pick(host), 0) / all.length;
  return {
    hosts: capacities,
    average: { vcpus: mean(({ vcpus }) => vcpus), memoryBytes: mean(({ memoryBytes }) => memoryBytes) },
  };
};
