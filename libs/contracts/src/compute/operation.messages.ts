import { z } from 'zod';
import { reportMigrationRoundData } from '../agent.messages.js';
import type { EventOf } from '../messages.js';
import { conditions, defineKind } from '../resource.js';

export const operationSpec = z.strictObject({
  target: z
    .strictObject({
      apiVersion: z.string().default('compute.xenolith.dev/v1alpha1').describe('API version of the object.'),
      kind: z.string().describe('Kind of the object that the operation works on.'),
      name: z.string().describe('Its name.'),
      uid: z.string().optional().describe('Its UID; set by the platform.'),
    })
    .describe('The object that the operation works on, in the same namespace.'),
  action: z
    .string()
    .describe(
      'What to do to a VirtualMachine: start, shutdown, clean-shutdown, hard-shutdown, reboot, clean-reboot, hard-reboot, pause, unpause, suspend, resume, migrate, snapshot, checkpoint, revert, or XAPI’s word (clean_shutdown). To an Operation that needs an operator: retry, undo, abandon.',
    ),
  parameters: z
    .record(z.string(), z.unknown())
    .default({})
    .describe(
      'What the action takes: paused and allowOvercommit for start and resume, timeoutSeconds for clean actions, suspend and checkpoint, to (a host), from (the host that it must be on), policy and allowOvercommit (true: even if its cluster could not survive the losses of hosts any more that it promises to) for migrate, name for snapshot and checkpoint, to (a snapshot) for revert.',
    ),
});
export type OperationSpec = z.infer<typeof operationSpec>;

export const OPERATION_PHASES = [
  'Running',
  'Compensating',
  'Succeeded',
  'Failed',
  'Cancelled',
  'NeedsOperator',
] as const;
export type OperationPhase = (typeof OPERATION_PHASES)[number];

export const operationStatus = z.looseObject({
  phase: z.enum(OPERATION_PHASES).describe('How far it is, or how it ended.'),
  progress: z.number().min(0).max(100).describe('Percent of the steps that are done.'),
  step: z.string().optional().describe('The steps under way.'),
  cancellable: z.boolean().describe('Whether deleting it now cancels it.'),
  message: z.string().optional().describe('Why it waits, or ended as it did.'),
  startTime: z.string().describe('When it began.'),
  completionTime: z.string().optional().describe('When it ended.'),
  steps: z
    .array(
      z.looseObject({
        name: z.string().describe('Name of the step.'),
        phase: z.string().describe('How far the step is.'),
      }),
    )
    .describe('The plan, step by step.'),
  waitsOn: z
    .array(z.string())
    .optional()
    .describe(
      'What it waits for: a placement’s UID, or volume:, network:, image: or storagedomain: with a name; it goes on by itself once that is there.',
    ),
  retries: z
    .array(
      z.looseObject({
        step: z.string().describe('Name of the step that failed, or whose undo did.'),
        failures: z.number().int().describe('How often in a row.'),
        attemptsLeft: z
          .number()
          .int()
          .describe('Attempts before an operator is asked; it goes on trying after that, too.'),
        nextAttemptTime: z.string().describe('When it is tried again.'),
      }),
    )
    .optional()
    .describe('What fails and is tried again.'),
  migration: z
    .looseObject({
      round: z.number().int().describe('Rounds of copying that are over.'),
      pagesSent: z.number().int().describe('Pages sent in all of them.'),
      remainingPages: z.number().int().optional().describe('Pages that the guest dirtied during the last round.'),
      pagesPerSecond: z.number().optional().describe('Throughput of the last round.'),
      durationMs: z.number().describe('How long it has taken, up to the last round, or in all.'),
      downtimeMs: z.number().optional().describe('How long the guest stood still, once it is there.'),
    })
    .optional()
    .describe('How far the memory of a machine that is migrated has been copied.'),
  choices: z
    .array(z.string())
    .optional()
    .describe(
      'What an operator can choose when the operation needs one: retry (at once, and as often again), undo (take back what was done), abandon (leave it as it is). Say so with kubectl xen retry NAME, or create an Operation with this one as its target.',
    ),
  conditions,
});

export const operationKind = defineKind({
  group: 'compute.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Operation',
  plural: 'operations',
  singular: 'operation',
  shortNames: ['op', 'ops'],
  categories: ['xen'],
  namespaced: true,
  service: 'compute',
  description: 'Something that is being done to an object, with its steps and progress. Delete it to cancel it.',
  spec: operationSpec,
  status: operationStatus,
  actions: ['retry', 'undo', 'abandon'],
  fieldSelectors: ['spec.action', 'spec.target.name', 'status.phase'],
  columns: [
    { name: 'Action', type: 'string', path: '.spec.action', description: 'What is being done.' },
    { name: 'Target', type: 'string', path: '.spec.target.name', description: 'To which object.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'How far it is.' },
    { name: 'Progress', type: 'integer', path: '.status.progress', description: 'Percent of the steps that are done.' },
    {
      name: 'Round',
      type: 'integer',
      path: '.status.migration.round',
      description: 'Rounds of a migration that are over.',
      priority: 1,
    },
    {
      name: 'Remaining',
      type: 'integer',
      path: '.status.migration.remainingPages',
      description: 'Pages that were dirtied during the last round.',
      priority: 1,
    },
    {
      name: 'Downtime',
      type: 'number',
      path: '.status.migration.downtimeMs',
      description: 'Milliseconds for which a migrated guest stood still.',
      priority: 1,
    },
    { name: 'Step', type: 'string', path: '.status.step', description: 'The steps under way.', priority: 1 },
    { name: 'Message', type: 'string', path: '.status.message', description: 'Why it ended as it did.', priority: 1 },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since it began.' },
  ],
});

/**
 * One step of a plan, as data. Steps of one stage run side by side; a stage begins when the one before is done. The last stage of a plan may be commands to the
 * operation's own target (`to.service` is `compute`): they are decided in the append that ends the operation, and are never sent. `data` may hold references of the form
 * `{ "$from": "<step name>", "path": "a.b" }` to the answers of earlier steps.
 */
export const planStep = z.strictObject({
  name: z.string(),
  stage: z.number().int().nonnegative(),
  /** `service` sends to `cmd.<service>.<type>`; `agent` to `agent.<host>.<type>`, where `host` may be a reference too. */
  to: z.union([z.strictObject({ service: z.string() }), z.strictObject({ agentOfHost: z.unknown() })]),
  type: z.string(),
  /** `volume:<namespace>/<name>` stands for the volume of that name, looked up each time that the step is sent. */
  streamId: z.string(),
  data: z.record(z.string(), z.unknown()),
  /** From the moment an attempt may begin; faults ask again under the same command id until then. */
  timeoutMs: z.number().int().positive(),
  /** How the step's effect is taken back; absent: it has none, or lies behind the point of no return. */
  undo: z.strictObject({ type: z.string(), streamId: z.string(), data: z.record(z.string(), z.unknown()) }).optional(),
  /** Rejection codes that mean "not yet": the step is asked again (a new attempt) when woken or after a pause, for ever. */
  waitOn: z.array(z.string()).default([]),
  /** Rejection codes that count as done (an undo of what is gone already). */
  doneOn: z.array(z.string()).default([]),
  /** Behind the point of no return: retried until it succeeds, never undone. */
  mustSucceed: z.boolean().default(false),
  /** Codes that refuse even a step that must succeed: it has nothing to succeed in. */
  failOn: z.array(z.string()).optional(),
  /** Codes after which the step surely had no effect. Any other refusal counts as done: a later step finds out. */
  doneUnless: z.array(z.string()).optional(),
  /** Asked under one id until somebody answers: silence says nothing of its effect, and another attempt would begin it again. */
  untilAnswered: z.boolean().optional(),
  /** How whoever carries the step out is asked to give it up; the step's own answer then says how it ended. */
  cancel: z
    .strictObject({ type: z.string(), streamId: z.string(), data: z.record(z.string(), z.unknown()) })
    .optional(),
});
export type PlanStep = z.infer<typeof planStep>;

const rejection = z.strictObject({ code: z.string(), message: z.string() });
const stepSuccess = z.strictObject({ name: z.string(), attempt: z.number().int(), answer: z.looseObject({}) });

/** Commands on an operation's stream beside `ChangeOperation` and `DeleteOperation`. */
export const operationCommands = {
  /** From the target's stream, in the append that starts the operation there. */
  BeginOperation: z.strictObject({
    name: z.string(),
    namespace: z.string().optional(),
    spec: operationSpec,
    plan: z.array(planStep),
    cancellable: z.boolean(),
  }),
  /** Steps that ran side by side are recorded together where their answers are at hand. */
  RecordStepsSucceeded: z.strictObject({ steps: z.array(stepSuccess).min(1) }),
  RecordStepRefused: z.strictObject({ name: z.string(), attempt: z.number().int(), rejection }),
  RecordStepUndone: z.strictObject({ name: z.string(), attempt: z.number().int() }),
  RecordUndoRefused: z.strictObject({ name: z.string(), attempt: z.number().int(), rejection }),
  /** Nobody answers a step, which is asked again under the same id; said now and then. */
  RecordStepUnanswered: z.strictObject({
    name: z.string(),
    attempt: z.number().int(),
    times: z.number().int().describe('How often it was asked in vain.'),
    givesUpAt: z.number(),
    message: z.string(),
  }),
  /** Whoever carries a step out has been asked to give it up. */
  RecordCancelAnswered: z.strictObject({
    name: z.string(),
    attempt: z.number().int(),
    rejection: rejection.optional(),
  }),
  /** From the host that sends a machine: a round of copying is over. */
  ReportMigrationRound: reportMigrationRoundData,
  /** What a step waits for (`status.waitsOn`) may be there now. */
  WakeOperation: z.strictObject({ streamId: z.string() }),
  /** Refusals: `operation_finished`, `operation_not_cancellable`. */
  CancelOperation: z.strictObject({ because: z.string() }),
  /** The operator's choices. Refusal: `operation_not_allowed` unless the operation needs an operator and offers the choice. */
  RetryOperation: z.strictObject({}),
  UndoOperation: z.strictObject({}),
  AbandonOperation: z.strictObject({}),
  /** Takes a finished operation away once its time to live is over. */
  RemoveOperation: z.strictObject({}),
} as const;

export const operationEvents = {
  /** Somebody made the object; its target's stream answers with the plan in the same append. */
  OperationRequested: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  /** The plan is the recorded intent: every step of a stage that may have run is undone when the operation fails. */
  OperationStarted: z.object({
    metadata: z.looseObject({}),
    spec: z.looseObject({}),
    plan: z.array(planStep),
    cancellable: z.boolean(),
  }),
  OperationMetadataChanged: z.looseObject({}),
  OperationSpecChanged: z.object({ spec: z.looseObject({}) }),
  OperationDeletionRequested: z.looseObject({}),
  OperationDeleted: z.object({}),
  /** Answers of steps; several that came together are one event. */
  OperationStepsSucceeded: z.object({
    steps: z.array(stepSuccess),
  }),
  OperationStepRefused: z.object({ name: z.string(), attempt: z.number().int(), rejection }),
  /** The step was told "not yet"; it is tried again at or before `retryAt` (milliseconds since the epoch). */
  OperationStepDeferred: z.object({ name: z.string(), attempt: z.number().int(), rejection, retryAt: z.number() }),
  /** Asked in vain so far; it is asked again until `givesUpAt`, when the attempt counts as refused. */
  OperationStepUnanswered: z.object({
    name: z.string(),
    attempt: z.number().int(),
    times: z.number().int(),
    givesUpAt: z.number(),
    message: z.string(),
  }),
  /** Whoever carries the step out knows that it is to give it up, or says why it does not. */
  OperationCancelAnswered: z.object({ name: z.string(), attempt: z.number().int(), rejection: rejection.optional() }),
  OperationMigrationRoundEnded: z.object(reportMigrationRoundData.shape),
  OperationCancelRequested: z.object({ by: z.string() }),
  OperationCompensationStarted: z.object({ because: z.string() }),
  OperationStepsUndone: z.object({ names: z.array(z.string()) }),
  /** An undo was refused, or found nobody in time; it is tried again at `retryAt` (milliseconds since the epoch). */
  OperationUndoFailed: z.object({ name: z.string(), attempt: z.number().int(), rejection, retryAt: z.number() }),
  /** A compensation, or a step that must succeed, kept failing. */
  OperationNeededOperator: z.object({ name: z.string(), attempts: z.number().int(), message: z.string() }),
  OperationOperatorChose: z.object({ choice: z.enum(['retry', 'undo', 'abandon']), by: z.string() }),
  /** `steps`: the last answers, which completed the plan. */
  OperationSucceeded: z.object({ steps: z.array(stepSuccess).default([]) }),
  OperationFailed: z.object({ message: z.string() }),
  OperationCancelled: z.object({ message: z.string() }),
} as const;
export type OperationEvent = EventOf<typeof operationEvents>;
