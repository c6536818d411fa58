import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { defineKind } from '../resource.js';

/** Plans are looked for no more often than a fleet settles after a migration, and at least once a day. */
const INTERVAL_SECONDS = { least: 30, usual: 300, most: 86_400 } as const;

const rebalancing = z.strictObject({
  mode: z
    .enum(['off', 'balance', 'consolidate'])
    .default('off')
    .describe('Whether running machines are spread over the hosts, or gathered so that hosts become empty.'),
  execution: z
    .enum(['manual', 'automatic'])
    .default('manual')
    .describe('Whether a plan waits for somebody’s approval or is carried out at once.'),
  intervalSeconds: z
    .number()
    .int()
    .min(INTERVAL_SECONDS.least)
    .max(INTERVAL_SECONDS.most)
    .default(INTERVAL_SECONDS.usual)
    .describe('How often a plan is looked for; none is made unless it gains more than it costs.'),
  maxMoves: z.number().int().min(1).max(64).default(16).describe('Migrations of one plan at most.'),
});
export type RebalancingPolicy = z.infer<typeof rebalancing>;

/** Short enough to try it, long enough that a host is not woken for what could have waited for a boot. */
const IDLE_SECONDS = { least: 30, usual: 600, most: 86_400 } as const;

const powerManagement = z.strictObject({
  mode: z
    .enum(['Off', 'Manual', 'Automatic'])
    .default('Off')
    .describe(
      'Manual proposes plans that say which hosts would be parked; Automatic carries them out, and wakes parked hosts that are needed.',
    ),
  hostsKept: z.number().int().min(1).default(1).describe('Hosts that stay on at least.'),
  sparePercent: z
    .number()
    .int()
    .min(0)
    .max(90)
    .default(20)
    .describe('Percent of the memory and virtual CPUs of the hosts that are on which is to be free.'),
  idleSeconds: z
    .number()
    .int()
    .min(IDLE_SECONDS.least)
    .max(IDLE_SECONDS.most)
    .default(IDLE_SECONDS.usual)
    .describe('How long a host must have been empty before it is parked, and how often hosts to empty are looked for.'),
});
export type PowerManagementPolicy = z.infer<typeof powerManagement>;
/** Of a cluster that says nothing. */
export const NO_POWER_MANAGEMENT: PowerManagementPolicy = powerManagement.parse({});

const highAvailability = z.strictObject({
  hostFailures: z
    .union([z.literal(0), z.literal(1), z.literal(2)])
    .default(0)
    .describe(
      'How many hosts may be lost at once so that all machines with ha.restart always fit on the others. Machines that would break this wait. Two: up to 64 hosts.',
    ),
  eviction: z
    .enum(['Never', 'LowerTiers'])
    .default('Never')
    .describe('Whether running machines that are not always to be restarted may be counted as ended to make room.'),
});
export type HighAvailabilityPolicy = z.infer<typeof highAvailability>;

/** Whether the loss of hosts is covered, as the scheduler's plans say. */
export const clusterAvailability = z.strictObject({
  hostFailures: z.number().int().describe('How many hosts may be lost by the cluster’s policy.'),
  tolerates: z.number().int().describe('The loss of any so many hosts is covered by a plan.'),
  state: z
    .enum(['Off', 'Protected', 'Overcommitted', 'Unknown'])
    .describe(
      'Overcommitted: some loss is proved to be covered by no plan. Unknown: for some loss neither a plan nor that proof was found.',
    ),
  uncovered: z
    .array(z.string())
    .optional()
    .describe('Hosts whose loss, together, is not covered: the first such loss.'),
  message: z.string().describe('Why that loss is not covered.'),
});
export type ClusterAvailability = z.infer<typeof clusterAvailability>;

export const clusterSpec = z.strictObject({
  description: z.string().max(1024).default('').describe('Free text for people.'),
  cpuOvercommit: z
    .number()
    .min(1)
    .max(64)
    .default(4)
    .describe('How many virtual CPUs may be placed for each hardware thread of the cluster’s hosts.'),
  memoryOvercommit: z.number().min(1).max(1).default(1).describe('Memory is never promised twice; only 1 is accepted.'),
  placementPolicy: z
    .enum(['balance', 'density'])
    .optional()
    .describe(
      'Whether new machines go where most is free, or where they leave other hosts empty. Default: the scheduler’s.',
    ),
  rebalancing: rebalancing.optional().describe('Whether running machines are moved, and when. Default: never.'),
  powerManagement: powerManagement
    .optional()
    .describe('Whether hosts that nobody needs are powered off, and woken when they are needed. Default: never.'),
  highAvailability: highAvailability.optional().describe('What is promised of the loss of hosts. Default: nothing.'),
});
export type ClusterSpec = z.infer<typeof clusterSpec>;

export const clusterStatus = z.looseObject({
  hosts: z.number().int().describe('Hosts that belong to the cluster.'),
  readyHosts: z.number().int().describe('Hosts of the cluster that are Ready.'),
  parkedHosts: z.number().int().optional().describe('Hosts of the cluster that are powered off.'),
  highAvailability: clusterAvailability
    .optional()
    .describe('Whether what is promised of the loss of hosts holds; absent until something was promised.'),
});

export const clusterKind = defineKind({
  group: 'compute.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Cluster',
  plural: 'clusters',
  singular: 'cluster',
  shortNames: ['pool'],
  categories: ['xen'],
  namespaced: false,
  service: 'compute',
  description: 'A group of hosts between which virtual machines may move, with one policy of over-commitment.',
  spec: clusterSpec,
  status: clusterStatus,
  columns: [
    { name: 'Hosts', type: 'integer', path: '.status.hosts', description: 'Hosts that belong to the cluster.' },
    { name: 'Ready', type: 'integer', path: '.status.readyHosts', description: 'Hosts that are Ready.' },
    {
      name: 'CPU Overcommit',
      type: 'number',
      path: '.spec.cpuOvercommit',
      description: 'Virtual CPUs for each hardware thread.',
      priority: 1,
    },
    {
      name: 'HA',
      type: 'string',
      path: '.status.highAvailability.state',
      description: 'Whether the loss of hosts is covered.',
    },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

/** Counted by the platform whenever a host comes, goes or changes its readiness. */
const hostCounts = z.strictObject({
  hosts: z.number().int(),
  readyHosts: z.number().int(),
  parkedHosts: z.number().int().default(0),
});

/** Commands on a cluster's stream beside `ChangeCluster` and `DeleteCluster`. */
export const clusterCommands = {
  RecordClusterHosts: hostCounts,
  /** Sent by the scheduler when its plans for the loss of hosts come to something else than the cluster says. */
  RecordClusterAvailability: clusterAvailability,
} as const;

export const clusterEvents = {
  ClusterCreated: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  ClusterMetadataChanged: z.looseObject({}),
  ClusterSpecChanged: z.object({ spec: z.looseObject({}) }),
  ClusterDeletionRequested: z.looseObject({}),
  ClusterDeleted: z.object({}),
  ClusterHostsCounted: hostCounts,
  ClusterAvailabilityAssessed: clusterAvailability,
} as const;
export type ClusterEvent = EventOf<typeof clusterEvents>;
