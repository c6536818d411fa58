import {
  changeData,
  decideObject,
  eventOf,
  invalid,
  notFound,
  operationCommands,
  operationKind,
  operationSpec,
  timestamp,
  virtualMachineKind,
  VIRTUAL_MACHINE_ACTIONS,
  xapiActionOf,
  type DesiredMetadata,
  type OperationSpec,
  type PlanStep,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Command,
  type FieldCause,
  type JsonObject,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { ATTEMPTS_BEFORE_OPERATOR, backoffMs, SILENCES_BEFORE_OPERATOR, waitMs } from './operation.pauses.js';
import { cancellation, choicesOf, operationRules, OPERATION_FINALIZER } from './operation.rules.js';
import {
  currentStage,
  isCancellable,
  isOver,
  planned,
  stepState,
  working,
  type OperationOwn,
  type OperationState,
  type PresentOperation,
} from './operation.state.js';
import { waitKey } from './operation.waits.js';
import { neededAnswer } from './plan-references.js';
import { trusted } from './trusted.js';

type Decision = Result<readonly NewEvent[]>;

const NOTHING: Decision = ok([]);

const CHOICES: Readonly<Record<string, 'retry' | 'undo' | 'abandon'>> = {
  RetryOperation: 'retry',
  UndoOperation: 'undo',
  AbandonOperation: 'abandon',
};

const platformMetadata = (name: string, namespace: string | undefined): DesiredMetadata => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  labels: {},
  annotations: {},
  finalizers: [OPERATION_FINALIZER],
  ownerReferences: [],
  managedFields: [],
});

const causesOfTarget = (spec: OperationSpec): readonly FieldCause[] => {
  const causes: FieldCause[] = [];
  const { kind, name, uid } = spec.target;
  const kinds = [virtualMachineKind.kind, operationKind.kind];
  if (!kinds.includes(kind))
    causes.push({
      field: 'spec.target.kind',
      reason: 'FieldValueNotSupported',
      message: `nothing can be done to a ${kind}; supported kinds: ${kinds.join(', ')}`,
    });
  else if (uid === undefined)
    causes.push({ field: 'spec.target.name', reason: 'FieldValueNotFound', message: `there is no ${kind} "${name}"` });
  if (kind === operationKind.kind && !['retry', 'undo', 'abandon'].includes(spec.action))
    causes.push({
      field: 'spec.action',
      reason: 'FieldValueNotSupported',
      message: `operations know retry, undo and abandon, not "${spec.action}"`,
    });
  if (kind === virtualMachineKind.kind && xapiActionOf(spec.action) === null)
    causes.push({
      field: 'spec.action',
      reason: 'FieldValueNotSupported',
      message: `virtual machines know no action "${spec.action}"; there are ${Object.keys(VIRTUAL_MACHINE_ACTIONS).join(', ')}`,
    });
  return causes;
};

/** A user makes an operation: its target decides in the same append whether and how. */
const decideRequest = (command: Command): Decision => {
  const data = changeData.parse(command.data);
  const spec = operationSpec.parse(data.spec);
  const causes = causesOfTarget(spec);
  if (causes.length > 0) return invalid(operationKind, data.metadata, causes);
  const finalizers = [...new Set([...data.metadata.finalizers, OPERATION_FINALIZER])];
  const metadata = { ...data.metadata, finalizers };
  const requested = eventOf('OperationRequested', { metadata, spec } as unknown as JsonObject);
  if (spec.target.kind !== operationKind.kind) return ok([requested]);
  // An operator's choice is made by the time it is said.
  const started = eventOf('OperationStarted', {
    metadata,
    spec,
    plan: [],
    cancellable: false,
  } as unknown as JsonObject);
  return ok([requested, started, eventOf('OperationSucceeded', { steps: [] })]);
};

const decideBegin = (state: OperationState, command: Command): Decision => {
  const data = trusted(operationCommands.BeginOperation, command);
  const requested = state.phase === 'present' && state.own.phase === 'requested';
  if (state.phase !== 'absent' && !requested)
    return reject('already_exists', `operation ${command.streamId} has begun`);
  const metadata = requested
    ? { ...state.meta, uid: undefined, generation: undefined, creationTimestamp: undefined }
    : platformMetadata(data.name, data.namespace);
  const started = eventOf('OperationStarted', {
    metadata,
    spec: data.spec,
    plan: data.plan,
    cancellable: data.cancellable,
  } as unknown as JsonObject);
  const nothingToDo = currentStage(data.plan, new Map()) === null;
  return ok(nothingToDo ? [started, eventOf('OperationSucceeded', { steps: [] })] : [started]);
};

/** The step in its present attempt, or null: what is told of another attempt, or too late, changes nothing. */
const openStep = (own: OperationOwn, data: { name: string; attempt: number }): PlanStep | null => {
  const state = stepState(own, data.name);
  const current = working(own) === 'Running' && state.phase === 'open' && state.attempt === data.attempt;
  return current ? (planned(own, data.name) ?? null) : null;
};

type StepAnswer = { readonly name: string; readonly attempt: number; readonly answer: JsonObject };

const stepsDone = (own: OperationOwn, steps: readonly StepAnswer[]): NewEvent => {
  const after = new Map(own.steps);
  for (const one of steps) after.set(one.name, { phase: 'done', ...one });
  const complete = currentStage(own.plan, after) === null;
  return eventOf(complete ? 'OperationSucceeded' : 'OperationStepsSucceeded', {
    steps: steps.map((one) => ({ ...one })),
  });
};

const succeeded = (own: OperationOwn, answers: readonly StepAnswer[]): Decision =>
  ok([
    stepsDone(
      own,
      answers.map((one) => ({ ...one, answer: neededAnswer(own.plan, one.name, one.answer) })),
    ),
  ]);

const decideStepsSucceeded = (own: OperationOwn, command: Command): Decision => {
  const { steps } = trusted(operationCommands.RecordStepsSucceeded, command);
  const current = steps.filter((one) => openStep(own, one) !== null);
  return current.length === 0 ? NOTHING : succeeded(own, current as readonly StepAnswer[]);
};

/** The end of a compensation, once nothing is left to take back. */
const compensated = (own: OperationOwn, left: readonly string[]): readonly NewEvent[] => {
  if (left.length > 0) return [];
  return own.cancelled === null
    ? [eventOf('OperationFailed', { message: own.message })]
    : [eventOf('OperationCancelled', { message: `cancelled by ${own.cancelled}` })];
};

/** Fails the operation: what may have been done is taken back first. */
const failure = (own: OperationOwn, step: PlanStep, message: string): readonly NewEvent[] => {
  const begun = own.plan.some(
    (other) => other.undo !== undefined && (other.name === step.name || stepState(own, other.name).phase !== 'waiting'),
  );
  return [
    eventOf('OperationCompensationStarted', { because: message }),
    ...(begun ? [] : compensated({ ...own, message }, [])),
  ];
};

const decideStepRefused = (own: OperationOwn, command: Command): Decision => {
  const data = trusted(operationCommands.RecordStepRefused, command);
  const { name, attempt, rejection } = data;
  const step = openStep(own, data);
  const state = stepState(own, name);
  if (step === null || state.phase !== 'open') return NOTHING;
  const counts = step.doneOn.includes(rejection.code) || step.doneUnless?.includes(rejection.code) === false;
  if (counts) return succeeded(own, [{ name, attempt, answer: {} }]);
  if (step.waitOn.includes(rejection.code))
    return ok([eventOf('OperationStepDeferred', { ...data, retryAt: command.at + waitMs(attempt, state.waits) })]);
  if (!step.mustSucceed || step.failOn?.includes(rejection.code) === true) {
    const message = `${name}: ${rejection.message}`;
    return ok([eventOf('OperationStepRefused', { name, attempt, rejection }), ...failure(own, step, message)]);
  }
  const retryAt = command.at + backoffMs(state.refusals);
  const tried = eventOf('OperationStepDeferred', { ...data, retryAt });
  if (state.refusals + 1 < ATTEMPTS_BEFORE_OPERATOR || own.phase === 'NeedsOperator') return ok([tried]);
  const needed = { name, attempts: state.refusals + 1, message: `${name} keeps failing: ${rejection.message}` };
  return ok([tried, eventOf('OperationNeededOperator', needed)]);
};

/** Says of an attempt under way that nobody answers it. */
const decideUnanswered = (own: OperationOwn, command: Command): Decision => {
  const data = trusted(operationCommands.RecordStepUnanswered, command);
  const state = stepState(own, data.name);
  const known = state.phase !== 'open' || (state.unanswered?.times ?? 0) >= data.times;
  const step = openStep(own, data);
  if (known || step === null) return NOTHING;
  const unanswered = eventOf('OperationStepUnanswered', data);
  const forLong = step.untilAnswered === true && data.times >= SILENCES_BEFORE_OPERATOR;
  if (!forLong || own.phase === 'NeedsOperator') return ok([unanswered]);
  const { name, times: attempts } = data;
  const message = `${name} is not answered, so that nobody knows whether it has had its effect: ${data.message}`;
  return ok([unanswered, eventOf('OperationNeededOperator', { name, attempts, message })]);
};

/** A step that is to be given up: it goes on until its own answer comes. */
const decideCancelAnswered = (own: OperationOwn, command: Command): Decision => {
  const data = trusted(operationCommands.RecordCancelAnswered, command);
  const state = stepState(own, data.name);
  const known = state.phase !== 'open' || state.cancelAnswered;
  return known || openStep(own, data) === null ? NOTHING : ok([eventOf('OperationCancelAnswered', data)]);
};

/** Each round once, however often it is reported. */
const decideRound = (own: OperationOwn, command: Command): Decision => {
  const data = trusted(operationCommands.ReportMigrationRound, command);
  const known = working(own) !== 'Running' || data.round <= (own.rounds?.round ?? 0);
  return known ? NOTHING : ok([eventOf('OperationMigrationRoundEnded', data)]);
};

const undoingSteps = (own: OperationOwn): readonly string[] =>
  [...own.steps].filter(([, state]) => state.phase === 'undoing').map(([name]) => name);

const undone = (own: OperationOwn, name: string): Decision => {
  if (working(own) !== 'Compensating' || stepState(own, name).phase !== 'undoing') return NOTHING;
  const left = undoingSteps(own).filter((other) => other !== name);
  return ok([eventOf('OperationStepsUndone', { names: [name] }), ...compensated(own, left)]);
};

/** What there never was, or is gone, needs no undo: so say hosts, storage, network and the scheduler. */
const GONE: ReadonlySet<string> = new Set([
  'host_unknown_domain',
  'host_stale_incarnation',
  'not_found',
  'placement_unknown',
]);

const decideUndoRefused = (own: OperationOwn, command: Command): Decision => {
  const data = trusted(operationCommands.RecordUndoRefused, command);
  const state = stepState(own, data.name);
  if (working(own) !== 'Compensating' || state.phase !== 'undoing' || state.undoAttempt !== data.attempt)
    return NOTHING;
  if (GONE.has(data.rejection.code)) return undone(own, data.name);
  const failed = eventOf('OperationUndoFailed', { ...data, retryAt: command.at + backoffMs(state.refusals) });
  if (state.refusals + 1 < ATTEMPTS_BEFORE_OPERATOR || own.phase === 'NeedsOperator') return ok([failed]);
  const message = `taking back ${data.name} keeps failing: ${data.rejection.message}`;
  return ok([failed, eventOf('OperationNeededOperator', { name: data.name, attempts: state.refusals + 1, message })]);
};

/** The step that waits for it is tried at once. */
const decideWake = (own: OperationOwn, command: Command): Decision => {
  const { streamId: key } = trusted(operationCommands.WakeOperation, command);
  if (working(own) !== 'Running') return NOTHING;
  const woken = own.plan.flatMap((step) => {
    const state = stepState(own, step.name);
    if (state.phase !== 'open' || state.waitsFor === null || state.from <= command.at) return [];
    if (waitKey(step, state.waitsFor) !== key) return [];
    const rejection = { code: state.waitsFor, message: state.refusal };
    // The attempt that is skipped was never sent: its turn had not come.
    return [
      eventOf('OperationStepDeferred', { name: step.name, attempt: state.attempt, rejection, retryAt: command.at }),
    ];
  });
  return ok(woken);
};

const decideCancel = (operation: PresentOperation, command: Command): Decision => {
  const { because } = trusted(operationCommands.CancelOperation, command);
  const { own, meta } = operation;
  if (isOver(own)) return reject('operation_finished', `operation "${meta.name}" is over: ${own.phase}`);
  if (!isCancellable(own) && own.phase === 'Running')
    return reject(
      'operation_not_cancellable',
      `operation "${meta.name}" (${operation.spec.action}) can't be taken back`,
    );
  return ok(cancellation(own, because));
};

const decideChoice = (
  operation: PresentOperation,
  command: Command,
  choice: 'retry' | 'undo' | 'abandon',
): Decision => {
  const { own, meta } = operation;
  const choices = choicesOf(own);
  if (!choices.includes(choice))
    return reject(
      'operation_not_allowed',
      `operation "${meta.name}" is ${own.phase} and offers ${choices.length === 0 ? 'no choice' : choices.join(', ')}, not ${choice}`,
    );
  const chose = eventOf('OperationOperatorChose', { choice, by: command.actor });
  if (choice !== 'abandon') return ok([chose]);
  const name = own.stuck ?? '';
  const stuck = stepState(own, name);
  // What is given up is left as it is; everything else is still to be done, or taken back.
  if (stuck.phase === 'open') {
    const steps = [{ name, attempt: stuck.attempt, answer: { abandoned: true } }];
    return ok([chose, stepsDone(own, steps)]);
  }
  const left = undoingSteps(own).filter((other) => other !== name);
  const message = `abandoned by ${command.actor}: ${own.message}`;
  return ok([
    chose,
    eventOf('OperationStepsUndone', { names: [name] }),
    ...(left.length === 0 ? [eventOf('OperationFailed', { message })] : []),
  ]);
};

const decideRemove = (operation: PresentOperation, command: Command): Decision => {
  if (!isOver(operation.own)) return NOTHING;
  const { finalizers, deletionTimestamp } = operation.meta;
  if (finalizers.length === 0) return ok([eventOf('OperationDeleted', {})]);
  // Somebody else's finalizer keeps it; who takes that off deletes it.
  if (deletionTimestamp !== undefined) return NOTHING;
  return ok([eventOf('OperationDeletionRequested', { deletionTimestamp: timestamp(command.at), finalizers })]);
};

const decideOwn = (operation: PresentOperation, command: Command): Decision => {
  const { own } = operation;
  const choice = CHOICES[command.type];
  if (choice !== undefined) return decideChoice(operation, command, choice);
  switch (command.type) {
    case 'RecordStepsSucceeded':
      return decideStepsSucceeded(own, command);
    case 'RecordStepRefused':
      return decideStepRefused(own, command);
    case 'RecordStepUnanswered':
      return decideUnanswered(own, command);
    case 'RecordStepUndone':
      return undone(own, trusted(operationCommands.RecordStepUndone, command).name);
    case 'RecordUndoRefused':
      return decideUndoRefused(own, command);
    case 'RecordCancelAnswered':
      return decideCancelAnswered(own, command);
    case 'ReportMigrationRound':
      return decideRound(own, command);
    case 'WakeOperation':
      return decideWake(own, command);
    case 'CancelOperation':
      return decideCancel(operation, command);
    case 'RemoveOperation':
      return decideRemove(operation, command);
    default:
      return reject('command_unknown', `operations know no command ${command.type}`);
  }
};

export const decideOperation = (command: Command, state: OperationState): Decision => {
  if (command.type === 'BeginOperation') return decideBegin(state, command);
  const creates = command.type === 'ChangeOperation' && command.data['intent'] === 'create';
  if (creates && state.phase === 'absent') return decideRequest(command);
  const shared = decideObject(operationRules, command, state);
  if (shared !== null) return shared;
  if (state.phase === 'present') return decideOwn(state, command);
  return command.type in CHOICES ? notFound(operationKind, command.streamId) : NOTHING;
};
