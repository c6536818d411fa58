import { z } from 'zod';
import { blockedMachine, machineReference } from '../compute/host.messages.js';
import type { EventOf } from '../messages.js';
import { conditions, defineKind, ownerReference } from '../resource.js';

/** Moves of one plan: hours of migrations; what is left is planned again from where the plan ended. */
export const REBALANCE_MOVES_MAX = 256;
/** Hosts that one plan empties at most. */
const EVACUATED_HOSTS_MAX = 64;

export const rebalancePlanSpec = z.strictObject({
  cluster: z.string().default('default').describe('The cluster whose hosts are looked at.'),
  mode: z
    .enum(['balance', 'consolidate', 'evacuate'])
    .describe('Whether machines spread over the hosts, leave as many hosts empty as can be, or leave the named hosts.'),
  hosts: z
    .array(z.string())
    .min(1)
    .max(EVACUATED_HOSTS_MAX)
    .optional()
    .describe('Names of the hosts that are to be emptied; of mode evacuate only.'),
  maxMoves: z
    .number()
    .int()
    .min(1)
    .max(REBALANCE_MOVES_MAX)
    .default(64)
    .describe('Migrations that are planned at most.'),
  park: z
    .boolean()
    .optional()
    .describe('True powers off hosts that the plan leaves empty and that nobody needs; of mode consolidate only.'),
  approved: z
    .boolean()
    .default(false)
    .describe(
      'True carries the plan out; until then it is a proposal. It can’t be taken back: delete the plan instead.',
    ),
});
export type RebalancePlanSpec = z.infer<typeof rebalancePlanSpec>;

const plannedMove = {
  virtualMachine: machineReference,
  from: z.string().describe('The host that it is on.'),
  to: z.string().describe('The host that it goes to.'),
  wave: z.number().int().positive().describe('Moves of one wave go side by side once the waves before are over.'),
  reason: z.string().describe('Why it moves.'),
  gain: z.number().describe('By how much the imbalance of the hosts falls.'),
  cost: z
    .strictObject({
      seconds: z.number().describe('How long the migration is expected to take.'),
      bytes: z.number().describe('Memory that is expected to go over the network.'),
    })
    .describe('What the migration is expected to take.'),
};

const blockedOnHost = blockedMachine.extend({ host: z.string().describe('The host that it stays on.') });

const spread = z.strictObject({
  lowest: z.number().describe('Of the host that has least.'),
  mean: z.number().describe('Of all hosts.'),
  highest: z.number().describe('Of the host that has most.'),
});

const hostToPark = z.strictObject({
  host: z.string().describe('The host.'),
  reason: z.string().describe('Why nobody needs it.'),
});

const fleetFigures = z.strictObject({
  hosts: z.number().int().describe('Hosts that were looked at.'),
  emptyHosts: z.number().int().describe('Those of them without machines.'),
  machines: z.number().int().describe('Machines on them.'),
  cpu: spread.describe('Busy share of the hosts’ hardware threads.'),
  memory: spread.describe('Promised share of the hosts’ memory.'),
  imbalance: z.number().describe('Standard deviations of both over the hosts, added up; 0: all are alike.'),
});

/** What became of a move. */
export const MOVE_OUTCOMES = ['Succeeded', 'Failed', 'Skipped', 'Cancelled'] as const;

const moveStatus = z.looseObject({
  ...plannedMove,
  phase: z.enum(['Pending', 'Running', ...MOVE_OUTCOMES]).describe('How far it is.'),
  operation: z.string().optional().describe('Name of the Operation that carries it out, in the machine’s namespace.'),
  message: z.string().optional().describe('Why it ended as it did.'),
});

export const REBALANCE_PHASES = ['Proposed', 'Executing', 'Completed', 'Failed', 'Cancelled'] as const;
export type RebalancePhase = (typeof REBALANCE_PHASES)[number];

const CAUSES = ['User', 'Schedule', 'PowerManagement', 'Maintenance'] as const;

export const rebalancePlanKind = defineKind({
  group: 'scheduling.xenolith.dev',
  version: 'v1alpha1',
  kind: 'RebalancePlan',
  plural: 'rebalanceplans',
  singular: 'rebalanceplan',
  shortNames: ['rbp'],
  categories: ['xen'],
  namespaced: false,
  service: 'scheduler',
  description: 'Migrations that would balance, consolidate or empty hosts, and how far they are once approved.',
  spec: rebalancePlanSpec,
  status: z.looseObject({
    phase: z.enum(REBALANCE_PHASES).describe('How far it is, or how it ended.'),
    cause: z
      .enum(CAUSES)
      .describe('Who made it: a user, the cluster’s policy of rebalancing or of power, or the maintenance of a host.'),
    message: z.string().describe('What it is about, or why it ended as it did.'),
    progress: z.string().describe('Moves that are over, of all.'),
    approvedBy: z.string().optional().describe('Who approved it.'),
    startTime: z.string().optional().describe('When its execution began.'),
    completionTime: z.string().optional().describe('When it ended.'),
    maintenance: z.string().optional().describe('The maintenance that it belongs to: UID in the host’s status.'),
    attempt: z
      .number()
      .int()
      .optional()
      .describe('Plans of this maintenance before it, in a row, that were not carried out whole.'),
    pausing: z
      .boolean()
      .optional()
      .describe('True while the next plan of the maintenance is put off, as not all moves succeeded.'),
    moves: z.array(moveStatus).describe('The migrations, wave by wave.'),
    blocked: z.array(blockedOnHost).optional().describe('Machines that should move and can’t, and why.'),
    emptied: z.array(z.string()).optional().describe('Hosts that become empty.'),
    parks: z.array(hostToPark).optional().describe('Hosts that are powered off once all moves are over.'),
    before: fleetFigures.describe('The hosts when it was made.'),
    after: fleetFigures.describe('The hosts once all moves have succeeded, if nothing else changes.'),
    conditions,
  }),
  fieldSelectors: ['spec.cluster', 'spec.mode', 'status.phase'],
  columns: [
    { name: 'Mode', type: 'string', path: '.spec.mode', description: 'What it is for.' },
    { name: 'Cluster', type: 'string', path: '.spec.cluster', description: 'The cluster.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'How far it is.' },
    { name: 'Moves', type: 'string', path: '.status.progress', description: 'Moves that are over, of all.' },
    { name: 'Cause', type: 'string', path: '.status.cause', description: 'Who made it.' },
    { name: 'Message', type: 'string', path: '.status.message', description: 'What it is about.', priority: 1 },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since it was made.' },
  ],
  nameRule: 'subdomain',
});

/** Who makes a plan; of a maintenance, which one, and how many plans of it did not come to their end in a row. */
const planCause = z.discriminatedUnion('by', [
  z.strictObject({ by: z.literal('User') }),
  z.strictObject({ by: z.literal('Schedule') }),
  z.strictObject({ by: z.literal('PowerManagement') }),
  z.strictObject({
    by: z.literal('Maintenance'),
    maintenance: z.string(),
    hostUid: z.string(),
    attempt: z.number().int().nonnegative(),
  }),
]);
export type PlanCause = z.infer<typeof planCause>;

const proposedPlan = {
  moves: z.array(z.strictObject(plannedMove)).max(REBALANCE_MOVES_MAX),
  blocked: z.array(blockedOnHost),
  emptied: z.array(z.string()),
  parks: z.array(hostToPark).optional(),
  before: fleetFigures,
  after: fleetFigures,
};
export const rebalanceProposal = z.strictObject(proposedPlan);
export type RebalanceProposal = z.infer<typeof rebalanceProposal>;

const move = z.number().int().nonnegative().describe('Its place in the plan, from 0.');

/** Commands on a plan’s stream beside `ChangeRebalancePlan` and `DeleteRebalancePlan`. */
export const rebalancePlanCommands = {
  /** From the scheduler itself; a repeated or late one finds the plan there. */
  ProposeRebalancePlan: z.strictObject({
    name: z.string(),
    spec: rebalancePlanSpec,
    cause: planCause,
    ownerReferences: z.array(ownerReference).default([]),
  }),
  /** The machine has begun to move. */
  RecordMoveStarted: z.strictObject({ move }),
  RecordMoveEnded: z.strictObject({ move, outcome: z.enum(MOVE_OUTCOMES), message: z.string() }),
  /** What has not begun does not begin any more. */
  CancelRebalancePlan: z.strictObject({ because: z.string() }),
  /** The pause after a plan that did not come to its end is over. */
  EndRebalancePause: z.strictObject({}),
  /** Takes a plan away some time after its end. */
  RemoveRebalancePlan: z.strictObject({}),
} as const;

const ended = z.object({ message: z.string() });

export const rebalancePlanEvents = {
  RebalancePlanCreated: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  RebalancePlanMetadataChanged: z.looseObject({}),
  RebalancePlanSpecChanged: z.object({ spec: z.looseObject({}) }),
  RebalancePlanDeletionRequested: z.looseObject({}),
  RebalancePlanDeleted: z.object({}),
  RebalancePlanProposed: z.object({ cause: planCause, ...proposedPlan }),
  RebalancePlanApproved: z.object({ by: z.string() }),
  RebalanceMoveStarted: z.object({ move }),
  RebalanceMoveEnded: z.object({ move, outcome: z.enum(MOVE_OUTCOMES), message: z.string() }),
  /** Waves after the present one do not begin. */
  RebalancePlanCancelRequested: z.object({ because: z.string() }),
  RebalancePlanCompleted: ended,
  /** A move failed. */
  RebalancePlanFailed: ended,
  RebalancePlanCancelled: ended,
  RebalancePauseEnded: z.object({}),
} as const;
export type RebalancePlanEvent = EventOf<typeof rebalancePlanEvents>;
