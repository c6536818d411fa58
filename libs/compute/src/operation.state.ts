import {
  type ObjectState,
  type OperationPhase,
  type OperationSpec,
  type PlanStep,
  type PresentObject,
} from '@xenolith/contracts';
import { uuidFrom, type JsonObject, type Rejection, type Uuid } from '@xenolith/kernel';
import type { Answers } from './plan-references.js';

/** Where a step stands. Attempts and undo attempts count from 1; times are milliseconds since the epoch. */
export type StepState =
  | { readonly phase: 'waiting' }
  /**
   * May be under way, from the moment `from` on. `refusals`: how often in a row it was refused, or faulted to its deadline; `waits`: how often since it
   * was woken it was told that what it waits for is not there yet, and with which code. `unanswered`: how often it was asked in vain.
   */
  | {
      readonly phase: 'open';
      readonly attempt: number;
      readonly from: number;
      readonly refusals: number;
      readonly waits: number;
      readonly waitsFor: string | null;
      /** The last refusal's words; empty: there was none. */
      readonly refusal: string;
      readonly unanswered: Unanswered | null;
      /** Whoever carries it out knows that it is to be given up, as far as it can be. */
      readonly cancelAnswered: boolean;
    }
  | { readonly phase: 'done'; readonly attempt: number; readonly answer: JsonObject }
  | { readonly phase: 'refused'; readonly attempt: number; readonly message: string }
  /** It may have had its effect, which is being taken back. */
  | {
      readonly phase: 'undoing';
      readonly attempt: number;
      /** Undos of later steps may refer to it. */
      readonly answer: JsonObject | null;
      readonly undoAttempt: number;
      readonly from: number;
      readonly refusals: number;
      readonly refusal: string;
    }
  | { readonly phase: 'undone' };

/** An attempt that was asked in vain `times` times, and is asked again until `givesUpAt`. */
export interface Unanswered {
  readonly times: number;
  readonly givesUpAt: number;
  readonly message: string;
}

/** Sums over the rounds so far, and the figures of the last one. */
export interface MigrationProgress {
  readonly round: number;
  readonly pagesSent: number;
  readonly durationMs: number;
  readonly remainingPages: number;
  readonly pagesPerSecond: number;
}

export interface OperationOwn {
  /** `requested`: made by a user, and its target has not answered yet. Never seen outside of one append. */
  readonly phase: OperationPhase | 'requested';
  readonly plan: readonly PlanStep[];
  readonly steps: ReadonlyMap<string, StepState>;
  readonly cancellable: boolean;
  /** Set by a request to cancel: the operation ends as Cancelled. */
  readonly cancelled: string | null;
  readonly message: string;
  /** The step that an operator is needed for. */
  readonly stuck: string | null;
  /** Ended rounds of a migration. */
  readonly rounds: MigrationProgress | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

export type OperationState = ObjectState<OperationSpec, OperationOwn>;
export type PresentOperation = PresentObject<OperationSpec, OperationOwn>;

export const isOver = (own: OperationOwn): boolean =>
  own.phase === 'Succeeded' || own.phase === 'Failed' || own.phase === 'Cancelled';

/** What the operation does now. One that needs an operator goes on trying meanwhile, so that it heals when what stood in its way goes. */
export const working = (own: OperationOwn): 'Running' | 'Compensating' | null => {
  if (own.phase === 'Running' || own.phase === 'Compensating') return own.phase;
  if (own.phase !== 'NeedsOperator' || own.stuck === null) return null;
  return own.steps.get(own.stuck)?.phase === 'undoing' ? 'Compensating' : 'Running';
};

export const stepState = (own: OperationOwn, name: string): StepState => own.steps.get(name) ?? { phase: 'waiting' };

export const planned = (own: OperationOwn, name: string): PlanStep | undefined =>
  own.plan.find((step) => step.name === name);

/** Steps of the last stage that speak to the target itself: they are decided in the append that ends the operation. */
export const isFinish = (step: PlanStep): boolean => 'service' in step.to && step.to.service === 'compute';

/** The first stage that has something to do; null when only the finish is left. */
export const currentStage = (plan: readonly PlanStep[], steps: ReadonlyMap<string, StepState>): number | null => {
  const open = plan.filter((step) => !isFinish(step) && steps.get(step.name)?.phase !== 'done');
  return open.length === 0 ? null : Math.min(...open.map((step) => step.stage));
};

export const answersOf = (own: OperationOwn): Answers =>
  new Map(
    [...own.steps].flatMap(([name, state]) =>
      (state.phase === 'done' || state.phase === 'undoing') && state.answer !== null
        ? [[name, state.answer] as const]
        : [],
    ),
  );

/** Whether a step may have had an effect that can be taken back. */
export const needsUndo = (step: PlanStep, state: StepState): boolean =>
  step.undo !== undefined && (state.phase === 'open' || state.phase === 'done' || state.phase === 'refused');

/** A step under way that its carrier can be asked to give up: how it ends is for its answer to say. */
export const abortableStep = (own: OperationOwn): PlanStep | undefined =>
  own.plan.find((step) => step.cancel !== undefined && stepState(own, step.name).phase === 'open');

/** Whether the operation could be cancelled now: not once such a step is done. */
export const isCancellable = (own: OperationOwn): boolean =>
  own.cancellable && !own.plan.some((step) => step.cancel !== undefined && stepState(own, step.name).phase === 'done');

/** The stage whose steps are being taken back: the last one comes first. */
export const undoStage = (own: OperationOwn): number | null => {
  const left = own.plan.filter((step) => stepState(own, step.name).phase === 'undoing');
  return left.length === 0 ? null : Math.max(...left.map((step) => step.stage));
};

/** A new attempt is a new command; whoever asks again about the same attempt uses the same id. */
export const doId = (operation: Uuid, step: string, attempt: number): Uuid => uuidFrom(operation, step, attempt);
export const undoId = (operation: Uuid, step: string, attempt: number, undoAttempt: number): Uuid =>
  uuidFrom(operation, step, attempt, 'undo', undoAttempt);

export const cancelId = (operation: Uuid, step: string, attempt: number): Uuid =>
  uuidFrom(operation, step, attempt, 'cancel');

export const timedOut = (step: string): Rejection => ({
  code: 'operation_timed_out',
  message: `step ${step} got no answer before its deadline`,
});
