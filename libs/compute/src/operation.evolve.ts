import {
  evolveObject,
  timestamp,
  type DesiredMetadata,
  type ObjectEnvelope,
  type OperationEvent,
  type OperationSpec,
  type PlanStep,
} from '@xenolith/contracts';
import type { EventPlace, JsonObject, NewEvent } from '@xenolith/kernel';
import { operationRules, OPERATION_FINALIZER } from './operation.rules.js';
import {
  currentStage,
  isFinish,
  needsUndo,
  planned,
  stepState,
  type MigrationProgress,
  type OperationOwn,
  type OperationState,
  type PresentOperation,
  type StepState,
} from './operation.state.js';

type Steps = ReadonlyMap<string, StepState>;

const UNTRIED = { waitsFor: null, refusal: '', unanswered: null, cancelAnswered: false } as const;

/** Opens every step of the stage that comes next. */
const openStage = (plan: readonly PlanStep[], steps: Steps, at: number): Steps => {
  const stage = currentStage(plan, steps);
  if (stage === null) return steps;
  const opened = new Map(steps);
  for (const step of plan)
    if (step.stage === stage && !isFinish(step) && !opened.has(step.name))
      opened.set(step.name, { phase: 'open', attempt: 1, from: at, refusals: 0, waits: 0, ...UNTRIED });
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
  // What was said of a step that got through is past, unless another one waits.
  const waits = [...steps.values()].some((state) => state.phase === 'open' && state.refusal !== '');
  const message = waits || own.cancelled !== null ? own.message : '';
  return healed({ ...own, message, steps: openStage(own.plan, steps, at) }, names, 'Running');
};

/** Everything that may have run and can be taken back is to be taken back; the rest stays as it is. */
const compensating = (own: OperationOwn, at: number): OperationOwn => {
  const steps = new Map(own.steps);
  for (const step of own.plan) {
    const state = stepState(own, step.name);
    if (!needsUndo(step, state) || !('attempt' in state)) continue;
    const answer = state.phase === 'done' ? state.answer : null;
    steps.set(step.name, {
      phase: 'undoing',
      attempt: state.attempt,
      answer,
      undoAttempt: 1,
      from: at,
      refusals: 0,
      refusal: '',
    });
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
  const waits = expected && data.retryAt > at;
  return {
    ...withStep(own, data.name, {
      phase: 'open',
      attempt: data.attempt + 1,
      from: data.retryAt,
      refusals: expected ? 0 : state.refusals + 1,
      waits: waits ? state.waits + 1 : 0,
      waitsFor: waits ? data.rejection.code : null,
      refusal: data.rejection.message,
      unanswered: null,
      cancelAnswered: false,
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
    refusal: data.rejection.message,
  });
};

const unanswered = (
  own: OperationOwn,
  data: { name: string; times: number; givesUpAt: number; message: string },
): OperationOwn => {
  const state = stepState(own, data.name);
  if (state.phase !== 'open') return own;
  const { times, givesUpAt, message } = data;
  return withStep(own, data.name, { ...state, unanswered: { times, givesUpAt, message } });
};

/** `retry`: the stuck step is tried again from the start, or asked again where another attempt would begin its work anew. `undo`: what was done is taken back. `abandon`: the next event counts the step as over. */
const operatorChose = (own: OperationOwn, choice: 'retry' | 'undo' | 'abandon', at: number): OperationOwn => {
  const state = stepState(own, own.stuck ?? '');
  if (choice === 'undo') return compensating(own, at);
  if (choice === 'abandon' || own.stuck === null)
    return { ...own, phase: state.phase === 'undoing' ? 'Compensating' : 'Running', stuck: null };
  if (state.phase === 'undoing')
    return {
      ...withStep(own, own.stuck, {
        ...state,
        undoAttempt: state.undoAttempt + 1,
        from: at,
        refusals: 0,
      }),
      phase: 'Compensating',
      stuck: null,
    };
  if (state.phase === 'open') {
    const attempt = planned(own, own.stuck)?.untilAnswered === true ? state.attempt : state.attempt + 1;
    return {
      ...withStep(own, own.stuck, { ...state, attempt, from: at, refusals: 0, unanswered: null }),
      phase: 'Running',
      stuck: null,
    };
  }
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

const afterRound = (
  before: MigrationProgress | null,
  ended: Extract<OperationEvent, { type: 'OperationMigrationRoundEnded' }>['data'],
): MigrationProgress => ({
  round: ended.round,
  pagesSent: (before?.pagesSent ?? 0) + ended.pagesSent,
  durationMs: (before?.durationMs ?? 0) + ended.durationMs,
  remainingPages: ended.remainingPages,
  pagesPerSecond: ended.pagesPerSecond,
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
    case 'OperationStepUnanswered':
      return unanswered(own, event.data);
    case 'OperationCancelRequested':
      return { ...own, cancelled: event.data.by };
    case 'OperationCancelAnswered': {
      const state = stepState(own, event.data.name);
      return state.phase === 'open' ? withStep(own, event.data.name, { ...state, cancelAnswered: true }) : own;
    }
    case 'OperationMigrationRoundEnded':
      return { ...own, rounds: afterRound(own.rounds, event.data) };
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
      const late = own.cancelled === null ? '' : `${own.cancelled} cancelled it too late: it was done by then`;
      return over(withSuccesses(own, steps, at), 'Succeeded', late, at);
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
    rounds: null,
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

export const evolveOperation = (state: OperationState, event: NewEvent, place: EventPlace): OperationState => {
  const operationEvent = event as OperationEvent;
  if (operationEvent.type === 'OperationRequested' || operationEvent.type === 'OperationStarted')
    return begun(operationEvent, place);
  const shared = evolveObject(operationRules, state, event, place);
  if (shared !== null) return shared;
  if (state.phase === 'absent') return state;
  const next = { ...state, own: evolveOwn(state.own, operationEvent, place.at) };
  return next.own.endedAt === null ? next : { ...next, ...withoutFinalizer(next) };
};
