import {
  eventOf,
  migrateDomainAnswer,
  operationKind,
  timestamp,
  type Condition,
  type ObjectRules,
  type OperationPhase,
  type OperationSpec,
  type PlanStep,
} from '@xenolith/contracts';
import { ok, reject, type Command, type JsonObject, type NewEvent, type Result } from '@xenolith/kernel';
import { attemptsLeft } from './operation.pauses.js';
import {
  abortableStep,
  currentStage,
  isCancellable,
  isFinish,
  isOver,
  stepState,
  undoStage,
  working,
  type OperationOwn,
  type PresentOperation,
  type StepState,
} from './operation.state.js';
import { waitKey } from './operation.waits.js';

/** Keeps an operation that is being deleted until it has ended. */
export const OPERATION_FINALIZER = 'compute.xenolith.dev/operation';

/** Whether a compensation would have something to take back. */
export const hasUndo = (own: OperationOwn): boolean =>
  own.plan.some((step) => step.undo !== undefined && stepState(own, step.name).phase !== 'waiting');

/** What an operator may choose for a step that is stuck. */
export const choicesOf = (own: OperationOwn): readonly ('retry' | 'undo' | 'abandon')[] => {
  if (own.phase !== 'NeedsOperator' || own.stuck === null) return [];
  if (stepState(own, own.stuck).phase === 'undoing') return ['retry', 'abandon'];
  // Nobody knows whether a step that is not answered has had its effect: what stands before it may be needed still.
  const unknown = own.plan.some((step) => step.name === own.stuck && step.untilAnswered === true);
  return hasUndo(own) && !unknown ? ['retry', 'undo', 'abandon'] : ['retry', 'abandon'];
};

/** The events of a cancellation: everything that may have been done is taken back. */
export const cancellation = (own: OperationOwn, because: string): readonly NewEvent[] => {
  if (own.cancelled !== null) return [];
  const message = `cancelled by ${because}`;
  const requested = eventOf('OperationCancelRequested', { by: because });
  // A compensation under way goes on; it only ends under another name.
  if (own.phase === 'Compensating' || own.phase === 'NeedsOperator') return [requested];
  // Whoever carries the step out is asked to give it up, and says how it ended.
  if (abortableStep(own) !== undefined) return [requested];
  return [
    requested,
    eventOf('OperationCompensationStarted', { because: message }),
    ...(hasUndo(own) ? [] : [eventOf('OperationCancelled', { message })]),
  ];
};

/** Deleting an operation that is under way cancels it. The platform's own collectors only wait for what can't be cancelled. */
const onDeletion = (operation: PresentOperation, command: Command): Result<readonly NewEvent[]> => {
  const { own, meta } = operation;
  if (isOver(own)) return ok([]);
  if (isCancellable(own) || own.phase !== 'Running') return ok(cancellation(own, command.actor));
  if (!command.actor.startsWith('user:')) return ok([]);
  return reject(
    'operation_not_cancellable',
    `operation "${meta.name}" (${operation.spec.action}) can't be cancelled: what it does can't be taken back${own.cancellable ? ' any more' : ''}; wait for its end, which only a hard-shutdown of the machine forestalls`,
  );
};

const WORD_OF: Readonly<Record<StepState['phase'], string>> = {
  waiting: 'Waiting',
  open: 'Running',
  done: 'Succeeded',
  refused: 'Failed',
  undoing: 'Undoing',
  undone: 'Undone',
};

const wordOf = (state: StepState): string =>
  state.phase === 'done' && state.answer['abandoned'] === true ? 'Abandoned' : WORD_OF[state.phase];

const progressOf = (own: OperationOwn): number => {
  if (own.phase === 'Succeeded') return 100;
  if (own.plan.length === 0) return 0;
  const done = own.plan.filter((step) => stepState(own, step.name).phase === 'done').length;
  return Math.floor((100 * done) / own.plan.length);
};

/** What steps were told to wait for. */
const waitsOn = (own: OperationOwn): string[] =>
  own.phase === 'Running'
    ? own.plan.flatMap((step) => {
        const state = stepState(own, step.name);
        return state.phase === 'open' && state.waitsFor !== null ? [waitKey(step, state.waitsFor)] : [];
      })
    : [];

const underWay = (own: OperationOwn): readonly PlanStep[] => {
  const stage = working(own) === 'Compensating' ? undoStage(own) : currentStage(own.plan, own.steps);
  if (isOver(own) || stage === null) return [];
  return own.plan.filter((step) => {
    const { phase } = stepState(own, step.name);
    return step.stage === stage && (phase === 'open' || phase === 'undoing');
  });
};

interface Troubled {
  readonly name: string;
  readonly state: Extract<StepState, { phase: 'open' | 'undoing' }>;
}

const triedAgain = (own: OperationOwn): readonly Troubled[] =>
  isOver(own)
    ? []
    : own.plan.flatMap(({ name }) => {
        const state = stepState(own, name);
        return (state.phase === 'open' || state.phase === 'undoing') && state.refusals > 0 ? [{ name, state }] : [];
      });

const wordsOfRetry = ({ name, state }: Troubled): string => {
  const left = attemptsLeft(state.refusals);
  const what = state.phase === 'undoing' ? `taking back ${name}` : name;
  const operator = left === 0 ? '' : `, after ${left} more an operator is asked`;
  return `${what} failed ${state.refusals} times (${state.refusal}); next attempt at ${timestamp(state.from)}${operator}`;
};

const wordsOfSilence = (own: OperationOwn): readonly string[] =>
  underWay(own).flatMap(({ name, untilAnswered }) => {
    const state = stepState(own, name);
    if (state.phase !== 'open' || state.unanswered === null) return [];
    const { times, givesUpAt, message } = state.unanswered;
    const end = untilAnswered === true ? '' : `, gives up at ${timestamp(givesUpAt)}`;
    return [`${name} is not answered (${message}); asked again ${times} times${end}`];
  });

/** Why the operation is where it is: how it ended or why it is being taken back, and what stands in its way now. */
const messageOf = (own: OperationOwn): string => {
  const retries = own.phase === 'NeedsOperator' ? [] : triedAgain(own).map(wordsOfRetry);
  return [...(own.message === '' ? [] : [own.message]), ...retries, ...wordsOfSilence(own)].join('; ');
};

/** The rounds that were reported, and in the end what the host that sent the machine said of all. */
const migrationOf = (own: OperationOwn): JsonObject => {
  const sent = own.plan.find(({ type }) => type === 'MigrateDomain');
  const state = sent === undefined ? null : stepState(own, sent.name);
  const told = migrateDomainAnswer.safeParse(state?.phase === 'done' ? state.answer : null);
  if (!told.success) return own.rounds === null ? {} : { migration: { ...own.rounds } };
  const { rounds: round, pagesSent, durationMs, downtimeMs } = told.data;
  const { remainingPages = 0, pagesPerSecond = 0 } = own.rounds ?? {};
  return { migration: { round, pagesSent, remainingPages, pagesPerSecond, durationMs, downtimeMs } };
};

const REASONS: Readonly<Record<OperationPhase, { status: Condition['status'] }>> = {
  Running: { status: 'Unknown' },
  Compensating: { status: 'Unknown' },
  NeedsOperator: { status: 'Unknown' },
  Succeeded: { status: 'True' },
  Failed: { status: 'False' },
  Cancelled: { status: 'False' },
};

const status = (operation: PresentOperation): JsonObject => {
  const { own } = operation;
  const phase: OperationPhase = own.phase === 'requested' ? 'Running' : own.phase;
  const choices = choicesOf(own);
  const steps = underWay(own).map((step) => step.name);
  const waiting = waitsOn(own);
  const message = messageOf(own);
  const retries = triedAgain(own).map(({ name, state }) => ({
    step: name,
    failures: state.refusals,
    attemptsLeft: attemptsLeft(state.refusals),
    nextAttemptTime: timestamp(state.from),
  }));
  return {
    phase,
    progress: progressOf(own),
    ...(steps.length === 0 ? {} : { step: steps.join(', ') }),
    cancellable: isCancellable(own) && phase === 'Running' && own.cancelled === null,
    ...(message === '' ? {} : { message }),
    startTime: timestamp(own.startedAt),
    ...(own.endedAt === null ? {} : { completionTime: timestamp(own.endedAt) }),
    steps: own.plan.map((step) => {
      const ended = isFinish(step) && own.phase === 'Succeeded';
      return { name: step.name, phase: ended ? 'Succeeded' : wordOf(stepState(own, step.name)) };
    }),
    ...(choices.length === 0 ? {} : { choices: [...choices] }),
    ...(waiting.length === 0 ? {} : { waitsOn: waiting }),
    ...(retries.length === 0 ? {} : { retries }),
    ...migrationOf(own),
    conditions: [
      {
        type: 'Complete',
        status: REASONS[phase].status,
        reason: phase,
        message,
        lastTransitionTime: timestamp(own.endedAt ?? own.startedAt),
      },
    ],
  };
};

const NOT_BEGUN: OperationOwn = {
  phase: 'requested',
  plan: [],
  steps: new Map(),
  cancellable: false,
  cancelled: null,
  message: '',
  stuck: null,
  rounds: null,
  startedAt: 0,
  endedAt: null,
};

export const operationRules: ObjectRules<OperationSpec, OperationOwn> = {
  kind: operationKind,
  teardownFinalizer: OPERATION_FINALIZER,
  initialOwn: () => NOT_BEGUN,
  onSpecChange: (operation) =>
    reject('object_invalid', `operation "${operation.meta.name}" has begun: what it does can't change`, {
      causes: [
        { field: 'spec', reason: 'FieldValueForbidden', message: 'can not change once the operation has begun' },
      ],
    }),
  onDeletion,
  status,
};
