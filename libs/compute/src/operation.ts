import {
  commandSubject,
  evolveObject,
  nameScope,
  objectConsequences,
  objectResource,
  timestamp,
  virtualMachineKind,
  operationKind,
  type DesiredMetadata,
  type ObjectEnvelope,
  type OperationEvent,
  type OperationSpec,
  type PlanStep,
} from '@xenolith/contracts';
import {
  uuidFrom,
  type Aggregate,
  type AlsoCommand,
  type Command,
  type Consequences,
  type EventPlace,
  type JsonObject,
  type NewEvent,
  type NewTimer,
} from '@xenolith/kernel';
import { decideOperation } from './operation.decide.js';
import { operationRules, OPERATION_FINALIZER } from './operation.rules.js';
import {
  answersOf,
  currentStage,
  isFinish,
  needsUndo,
  planned,
  stepState,
  type OperationOwn,
  type OperationState,
  type PresentOperation,
  type StepState,
} from './operation.state.js';
import { resolveReferences } from './plan-references.js';

/** How long a finished operation can be looked at. */
const TIME_TO_LIVE_MS = 3_600_000;
/** How long a cancelled operation that was deleted can still be seen as Cancelled: long enough for whoever watches. */
const CANCELLED_LINGER_MS = 1_000;

type Steps = ReadonlyMap<string, StepState>;

/** Opens every step of the stage that comes next. */
const openStage = (plan: readonly PlanStep[], steps: Steps, at: number): Steps => {
  const stage = currentStage(plan, steps);
  if (stage === null) return steps;
  const opened = new Map(steps);
  for (const step of plan)
    if (step.stage === stage && !isFinish(step) && !opened.has(step.name))
      opened.set(step.name, { phase: 'open', attempt: 1, from: at, refusals: 0, waits: 0 });
  return opened;
};

/** Goes on without an operator once the step that one was needed for got through. */
const healed = (own: OperationOwn, names: readonly string[], phase: 'Running' | 'Compensating'): OperationOwn =>
  own.stuck !== null && names.includes(own.stuck) ? { ...own, phase, stuck: null } : own;

const withStep = (own: OperationOwn, name: string, state: StepState): OperationOwn => ({
  ...own,
  steps: new Map(own.steps).set(name, state),
});

const withSuccesses = (
  own: OperationOwn,
  successes: readonly { name: string; attempt: number; answer: JsonObject }[],
  at: number,
): OperationOwn => {
  const steps = new Map(own.steps);
  for (const { name, attempt, answer } of successes) steps.set(name, { phase: 'done', attempt, answer });
  const names = successes.map((success) => success.name);
  return healed({ ...own, steps: openStage(own.plan, steps, at) }, names, 'Running');
};

/** Everything that may have run and can be taken back is to be taken back; the rest stays as it is. */
const compensating = (own: OperationOwn, at: number): OperationOwn => {
  const steps = new Map(own.steps);
  for (const step of own.plan) {
    const state = stepState(own, step.name);
    if (!needsUndo(step, state) || !('attempt' in state)) continue;
    const answer = state.phase === 'done' ? state.answer : null;
    steps.set(step.name, { phase: 'undoing', attempt: state.attempt, answer, undoAttempt: 1, from: at, refusals: 0 });
  }
  return { ...own, phase: 'Compensating', steps, stuck: null };
};

/** Due at once: it was woken. */
const deferred = (
  own: OperationOwn,
  data: { name: string; attempt: number; rejection: { code: string; message: string }; retryAt: number },
  at: number,
): OperationOwn => {
  const state = stepState(own, data.name);
  if (state.phase !== 'open') return own;
  const step = planned(own, data.name);
  const expected = step?.waitOn.includes(data.rejection.code) === true;
  return {
    ...withStep(own, data.name, {
      phase: 'open',
      attempt: data.attempt + 1,
      from: data.retryAt,
      refusals: expected ? 0 : state.refusals + 1,
      waits: expected && data.retryAt > at ? state.waits + 1 : 0,
    }),
    message: data.rejection.message,
  };
};

const undoFailed = (
  own: OperationOwn,
  data: { name: string; rejection: { message: string }; retryAt: number },
): OperationOwn => {
  const state = stepState(own, data.name);
  if (state.phase !== 'undoing') return own;
  return withStep(own, data.name, {
    ...state,
    undoAttempt: state.undoAttempt + 1,
    from: data.retryAt,
    refusals: state.refusals + 1,
  });
};

/** `retry`: the stuck step is tried again from the start. `undo`: what was done is taken back. `abandon`: the decider ends the operation. */
const operatorChose = (own: OperationOwn, choice: 'retry' | 'undo' | 'abandon', at: number): OperationOwn => {
  const state = stepState(own, own.stuck ?? '');
  if (choice === 'undo') return compensating(own, at);
  if (choice === 'abandon' || own.stuck === null)
    return { ...own, phase: state.phase === 'undoing' ? 'Compensating' : own.phase, stuck: null };
  if (state.phase === 'undoing')
    return {
      ...withStep(own, own.stuck, { ...state, undoAttempt: state.undoAttempt + 1, from: at, refusals: 0 }),
      phase: 'Compensating',
      stuck: null,
    };
  if (state.phase === 'open')
    return {
      ...withStep(own, own.stuck, { ...state, attempt: state.attempt + 1, from: at, refusals: 0 }),
      phase: 'Running',
      stuck: null,
    };
  return { ...own, stuck: null };
};

const over = (
  own: OperationOwn,
  phase: 'Succeeded' | 'Failed' | 'Cancelled',
  message: string,
  at: number,
): OperationOwn => ({
  ...own,
  phase,
  message,
  stuck: null,
  endedAt: at,
});

const evolveOwn = (own: OperationOwn, event: OperationEvent, at: number): OperationOwn => {
  switch (event.type) {
    case 'OperationStepsSucceeded':
      return withSuccesses(own, event.data.steps as { name: string; attempt: number; answer: JsonObject }[], at);
    case 'OperationStepRefused': {
      const { name, attempt, rejection } = event.data;
      return withStep(own, name, { phase: 'refused', attempt, message: rejection.message });
    }
    case 'OperationStepDeferred':
      return deferred(own, event.data, at);
    case 'OperationCancelRequested':
      return { ...own, cancelled: event.data.by };
    case 'OperationCompensationStarted':
      return { ...compensating(own, at), message: event.data.because };
    case 'OperationStepsUndone':
      return healed(
        event.data.names.reduce((next, name) => withStep(next, name, { phase: 'undone' }), own),
        event.data.names,
        'Compensating',
      );
    case 'OperationUndoFailed':
      return undoFailed(own, event.data);
    case 'OperationNeededOperator':
      return { ...own, phase: 'NeedsOperator', stuck: event.data.name, message: event.data.message };
    case 'OperationOperatorChose':
      return operatorChose(own, event.data.choice, at);
    case 'OperationSucceeded': {
      const steps = event.data.steps as { name: string; attempt: number; answer: JsonObject }[];
      return over(withSuccesses(own, steps, at), 'Succeeded', '', at);
    }
    case 'OperationFailed':
      return over(own, 'Failed', event.data.message, at);
    case 'OperationCancelled':
      return over(own, 'Cancelled', event.data.message, at);
    case 'OperationRequested':
    case 'OperationStarted':
    case 'OperationMetadataChanged':
    case 'OperationSpecChanged':
    case 'OperationDeletionRequested':
    case 'OperationDeleted':
      return own;
  }
};

const envelope = (metadata: DesiredMetadata, place: EventPlace): ObjectEnvelope => ({
  ...metadata,
  uid: place.streamId,
  generation: 1,
  creationTimestamp: timestamp(place.at),
});

const begun = (
  event: { data: { metadata: unknown; spec: unknown; plan?: readonly PlanStep[]; cancellable?: boolean } },
  place: EventPlace,
): OperationState => {
  const { plan, cancellable } = event.data;
  const own: OperationOwn = {
    phase: plan === undefined ? 'requested' : 'Running',
    plan: plan ?? [],
    steps: openStage(plan ?? [], new Map(), place.at),
    cancellable: cancellable ?? false,
    cancelled: null,
    message: '',
    stuck: null,
    startedAt: place.at,
    endedAt: null,
  };
  return {
    phase: 'present',
    meta: envelope(event.data.metadata as DesiredMetadata, place),
    spec: event.data.spec as OperationSpec,
    own,
  };
};

const withoutFinalizer = (state: PresentOperation): PresentOperation => ({
  ...state,
  meta: { ...state.meta, finalizers: state.meta.finalizers.filter((held) => held !== OPERATION_FINALIZER) },
});

const evolve = (state: OperationState, event: NewEvent, place: EventPlace): OperationState => {
  const operationEvent = event as OperationEvent;
  if (operationEvent.type === 'OperationRequested' || operationEvent.type === 'OperationStarted')
    return begun(operationEvent, place);
  const shared = evolveObject(operationRules, state, event, place);
  if (shared !== null) return shared;
  if (state.phase === 'absent') return state;
  const next = { ...state, own: evolveOwn(state.own, operationEvent, place.at) };
  return next.own.endedAt === null ? next : { ...next, ...withoutFinalizer(next) };
};

/** What the target is told in the append that ends the operation. */
const told = (operation: PresentOperation, type: string, data: JsonObject): AlsoCommand[] =>
  operation.spec.target.kind === virtualMachineKind.kind && operation.spec.target.uid !== undefined
    ? [{ category: 'virtualmachine', streamId: operation.spec.target.uid, type, data }]
    : [];

const finishing = (operation: PresentOperation, event: NewEvent, command: Command): AlsoCommand[] => {
  const place = { streamId: command.streamId, version: 0, at: command.at, actor: command.actor };
  const after = evolve({ phase: 'present', ...operation }, event, place);
  if (after.phase !== 'present') return [];
  const answers = answersOf(after.own);
  return operation.own.plan
    .filter(isFinish)
    .flatMap((step) => told(operation, step.type, resolveReferences(step.data, answers) as JsonObject));
};

const removalTimer = (operation: PresentOperation, command: Command): NewTimer => {
  const { uid } = operation.meta;
  const lifeMs = operation.meta.deletionTimestamp === undefined ? TIME_TO_LIVE_MS : CANCELLED_LINGER_MS;
  const commandId = uuidFrom(uid, 'remove', command.commandId);
  return {
    op: 'set',
    id: uuidFrom(uid, 'remove'),
    dueAt: command.at + lifeMs,
    subject: commandSubject('compute', 'RemoveOperation'),
    command: {
      commandId,
      type: 'RemoveOperation',
      streamId: uid,
      data: {},
      actor: 'system:compute',
      correlationId: commandId,
      causationId: command.commandId,
      at: command.at + lifeMs,
    },
  };
};

const claimedName = (event: NewEvent, command: Command, requireNamespace: boolean): Consequences => {
  const { metadata } = event.data as unknown as { metadata: DesiredMetadata };
  const scope = nameScope(operationKind, metadata.namespace);
  const claim = { op: 'claim', scope, value: metadata.name, holder: command.streamId } as const;
  if (!requireNamespace) return { claims: [claim] };
  const shared = objectConsequences(
    operationRules,
    { type: 'OperationCreated', schemaVersion: 1, data: event.data },
    { phase: 'absent' },
    command,
  );
  return { claims: shared.claims ?? [] };
};

const consequences = (event: NewEvent, before: OperationState, command: Command): Consequences => {
  const operationEvent = event as OperationEvent;
  if (operationEvent.type === 'OperationRequested') {
    const also = requestedOf(operationEvent.data.spec as unknown as OperationSpec, operationEvent.data, command);
    return { ...claimedName(event, command, true), also };
  }
  // The platform tears machines down in namespaces that are no longer active, too.
  if (operationEvent.type === 'OperationStarted')
    return before.phase === 'absent' ? claimedName(event, command, false) : {};
  return before.phase === 'present' ? ofPresent(operationEvent, before, command) : {};
};

/** Whom a user's new operation is for: a machine starts it, another operation takes it as its operator's choice. */
const requestedOf = (spec: OperationSpec, data: { metadata: unknown }, command: Command): readonly AlsoCommand[] => {
  const { target } = spec;
  const { name } = data.metadata as DesiredMetadata;
  if (target.uid === undefined) return [];
  if (target.kind === operationKind.kind)
    return [{ category: 'operation', streamId: target.uid, type: choiceCommand(spec.action), data: {} }];
  const parameters = spec.parameters as JsonObject;
  return [
    {
      category: 'virtualmachine',
      streamId: target.uid,
      type: 'StartOperation',
      data: { operationId: command.streamId, name, action: spec.action, parameters },
    },
  ];
};

const choiceCommand = (action: string): string =>
  action === 'retry' ? 'RetryOperation' : action === 'undo' ? 'UndoOperation' : 'AbandonOperation';

const ofPresent = (event: OperationEvent, before: PresentOperation, command: Command): Consequences => {
  const { uid } = before.meta;
  if (event.type === 'OperationSucceeded')
    return {
      timers: [removalTimer(before, command)],
      also: finishing(before, event as unknown as NewEvent, command),
    };
  if (event.type === 'OperationFailed' || event.type === 'OperationCancelled') {
    const outcome = event.type === 'OperationFailed' ? 'failed' : 'cancelled';
    const { message } = event.data;
    return {
      timers: [removalTimer(before, command)],
      also: told(before, 'RecordOperationEnded', { operation: uid, outcome, message }),
    };
  }
  if (event.type === 'OperationStepDeferred') {
    const { name, rejection } = event.data;
    const waits = planned(before.own, name)?.waitOn.includes(rejection.code) === true;
    const data = { operation: uid, message: rejection.message };
    return waits ? { also: told(before, 'RecordVirtualMachineUnschedulable', data) } : {};
  }
  if (event.type === 'OperationDeleted') {
    const state: OperationState = { phase: 'present', ...before };
    const released = objectConsequences(operationRules, event as unknown as NewEvent, state, command);
    return { ...released, timers: [{ op: 'cancel', id: uuidFrom(uid, 'remove') }] };
  }
  return {};
};

export const operationAggregate: Aggregate<OperationState> = {
  category: 'operation',
  initial: { phase: 'absent' },
  decide: decideOperation,
  evolve,
  toResource: (state) => objectResource(operationRules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
