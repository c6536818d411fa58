import { z } from 'zod';
import { machineReference } from '../compute/host.messages.js';
import { defineKind } from '../resource.js';

/** Machines that one plan names: more than hosts hold; the others are counted only. */
export const FAILOVER_MACHINES_NAMED = 1_024;

const host = (what: string) => z.string().describe(what);

const plannedRestart = z.strictObject({
  virtualMachine: machineReference,
  from: host('The lost host that it is on.'),
  to: host('The host that it is restarted on.'),
  priority: z.number().int().describe('Its spec.ha.priority: higher ones are restarted first.'),
  order: z.number().int().describe('Its spec.ha.order: among machines of one priority lower ones are restarted first.'),
  turn: z.number().int().positive().describe('Machines of one turn are started side by side, from 1.'),
  startsAfterSeconds: z
    .number()
    .int()
    .nonnegative()
    .describe(
      'How long after the first turn its own begins at the earliest: the delays of the turns before, added up.',
    ),
});

const plannedEviction = z.strictObject({
  virtualMachine: machineReference,
  host: host('The host that it runs on, where it makes room.'),
  restart: z.enum(['best-effort', 'never']).describe('Its spec.ha.restart: always is never ended.'),
});

export const failoverPlanSpec = z.strictObject({
  cluster: z.string().describe('The cluster that promises to survive the loss.'),
  lost: z.array(z.string()).describe('The hosts that are lost together.'),
});

export const failoverPlanStatus = z.strictObject({
  state: z
    .enum(['Guaranteed', 'Impossible', 'Unknown'])
    .describe(
      'Guaranteed: there is this plan. Impossible: it is proved that there is none. Unknown: neither was found, and nothing relies on it.',
    ),
  machines: z.number().int().describe('Machines on the lost hosts that are always to be restarted.'),
  bestEffort: z
    .number()
    .int()
    .describe('Machines on them that are restarted if there is room; no room is kept for them.'),
  evicted: z.number().int().describe('Machines elsewhere that end to make room.'),
  message: z.string().describe('Why there is no plan, and what is short.'),
  restarts: z.array(plannedRestart).optional().describe('Who is restarted where, in the order in which they start.'),
  evictions: z.array(plannedEviction).optional().describe('Who ends, before anybody is restarted.'),
});
export type FailoverPlanStatus = z.infer<typeof failoverPlanStatus>;

/** Not in the log: the scheduler keeps plans in memory, follows the log with them, and answers what they are now. */
export const failoverPlanKind = defineKind({
  group: 'scheduling.xenolith.dev',
  version: 'v1alpha1',
  kind: 'FailoverPlan',
  plural: 'failoverplans',
  singular: 'failoverplan',
  shortNames: ['fop'],
  categories: [],
  namespaced: false,
  service: 'scheduler',
  description:
    'Where machines would be restarted if hosts were lost, for each loss that a cluster promises to survive. Made by the scheduler as things change; it can be read, not written or watched.',
  spec: failoverPlanSpec,
  status: failoverPlanStatus,
  verbs: [],
  fieldSelectors: ['spec.cluster', 'status.state'],
  columns: [
    { name: 'Cluster', type: 'string', path: '.spec.cluster', description: 'The cluster.' },
    { name: 'State', type: 'string', path: '.status.state', description: 'Whether there is a plan.' },
    { name: 'Machines', type: 'integer', path: '.status.machines', description: 'Machines that must be restarted.' },
    { name: 'Evicted', type: 'integer', path: '.status.evicted', description: 'Machines that end to make room.' },
    {
      name: 'Best Effort',
      type: 'integer',
      path: '.status.bestEffort',
      description: 'Machines that are restarted if there is room.',
      priority: 1,
    },
    { name: 'Message', type: 'string', path: '.status.message', description: 'Why there is no plan.', priority: 1 },
  ],
  nameRule: 'subdomain',
});

/** Asked of `query.scheduler.ListFailoverPlans`: plans in the order of their names, a page at a time. */
export const listFailoverPlansData = z.strictObject({
  /** The log's position that the answer must not be older than. */
  position: z.number().int().nonnegative(),
  /** Only that plan. */
  name: z.string().optional(),
  /** Only plans after that name. */
  after: z.string().optional(),
});
export type ListFailoverPlansData = z.infer<typeof listFailoverPlansData>;

export const listFailoverPlansAnswer = z.looseObject({
  plans: z.array(z.looseObject({})),
  /** True: plans follow. */
  more: z.boolean(),
});
