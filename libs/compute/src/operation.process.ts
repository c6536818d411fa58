import { agentSubject, commandSubject, type PlanStep, type ServiceName } from '@xenolith/contracts';
import type { Dispatch, DispatchOutcome, ProcessDefinition } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import type { OperationIndex } from './operation.index.js';
import {
  answersOf,
  cancelId,
  currentStage,
  doId,
  isFinish,
  stepState,
  timedOut,
  undoId,
  undoStage,
  working,
  type OperationOwn,
  type OperationState,
  type StepState,
} from './operation.state.js';
import { resolveReferences, type Answers } from './plan-references.js';
import type { VolumeNames } from './volume-names.js';
import { wakesOf } from './operation.waits.js';
import type { WaitedNames } from './waited-names.js';

/** One request waits no longer than this; then it is asked again under the same id, up to the step's deadline. */
const REQUEST_MS = 15_000;
/** Agents work for long; asking again joins the work under way. */
const AGENT_REQUEST_MS = 30_000;
/** The last request before a deadline is still given this long. */
const SHORTEST_REQUEST_MS = 1_000;
/** An attempt at an undo that nobody answers counts as failed after this. */
const UNDO_ATTEMPT_MS = 30_000;

/** The deadline of a step that is asked until it is answered. */
const NEVER = Number.MAX_SAFE_INTEGER;

const PLACEHOLDER = 'volume:';

interface Sender {
  readonly operation: Uuid;
  readonly answers: Answers;
  readonly volumes: VolumeNames;
  readonly now: number;
}

/** What the outcome of a dispatch needs to know of it, carried in its key. */
interface DispatchKey {
  readonly operation: Uuid;
  readonly kind: 'do' | 'undo' | 'cancel';
  readonly name: string;
  readonly attempt: number;
  readonly deadline: number;
}

const keyOf = (key: DispatchKey): string =>
  JSON.stringify([key.operation, key.kind, key.name, key.attempt, key.deadline]);

const parseKey = (text: string): DispatchKey => {
  const [operation, kind, name, attempt, deadline] = JSON.parse(text) as [
    Uuid,
    DispatchKey['kind'],
    string,
    number,
    number,
  ];
  return { operation, kind, name, attempt, deadline };
};

const subjectOf = (step: PlanStep, type: string, answers: Answers): { subject: string; requestMs: number } => {
  if ('service' in step.to)
    return { subject: commandSubject(step.to.service as ServiceName, type), requestMs: REQUEST_MS };
  const host = resolveReferences(step.to.agentOfHost, answers);
  return { subject: agentSubject(typeof host === 'string' ? host : 'unknown', type), requestMs: AGENT_REQUEST_MS };
};

/** A volume known by name only gets the uid that it has now; one that does not exist gets one that nobody has, and storage says so. */
const streamOf = (streamId: string, volumes: VolumeNames): Uuid => {
  if (!streamId.startsWith(PLACEHOLDER)) return streamId;
  return volumes.uid(streamId.slice(PLACEHOLDER.length)) ?? uuidFrom('absent', streamId);
};

const timeoutMs = (deadline: number, requestMs: number, now: number): number =>
  Math.max(SHORTEST_REQUEST_MS, Math.min(requestMs, deadline - now));

const doDispatch = (step: PlanStep, state: StepState & { phase: 'open' }, sender: Sender): Dispatch => {
  const deadline = step.untilAnswered === true ? NEVER : state.from + step.timeoutMs;
  const { subject, requestMs } = subjectOf(step, step.type, sender.answers);
  return {
    key: keyOf({ operation: sender.operation, kind: 'do', name: step.name, attempt: state.attempt, deadline }),
    commandId: doId(sender.operation, step.name, state.attempt),
    subject,
    type: step.type,
    streamId: streamOf(step.streamId, sender.volumes),
    data: resolveReferences(step.data, sender.answers) as JsonObject,
    timeoutMs: timeoutMs(deadline, requestMs, sender.now),
  };
};

/** An undo carries the id of its do, so that a do which comes late is refused. */
const undoDispatch = (step: PlanStep, state: StepState & { phase: 'undoing' }, sender: Sender): Dispatch | null => {
  if (step.undo === undefined) return null;
  const deadline = state.from + UNDO_ATTEMPT_MS;
  const { subject, requestMs } = subjectOf(step, step.undo.type, sender.answers);
  return {
    key: keyOf({ operation: sender.operation, kind: 'undo', name: step.name, attempt: state.undoAttempt, deadline }),
    commandId: undoId(sender.operation, step.name, state.attempt, state.undoAttempt),
    subject,
    type: step.undo.type,
    streamId: streamOf(step.undo.streamId, sender.volumes),
    data: resolveReferences(step.undo.data, sender.answers) as JsonObject,
    timeoutMs: timeoutMs(deadline, requestMs, sender.now),
    undoes: doId(sender.operation, step.name, state.attempt),
  };
};

/** Asks whoever carries a step out to give it up. It names the step's command, so that one which has not come yet is refused when it does. */
const cancelDispatch = (step: PlanStep, state: StepState & { phase: 'open' }, sender: Sender): Dispatch | null => {
  if (step.cancel === undefined || state.cancelAnswered) return null;
  const { type, streamId, data } = step.cancel;
  const { subject, requestMs } = subjectOf(step, type, sender.answers);
  return {
    key: keyOf({
      operation: sender.operation,
      kind: 'cancel',
      name: step.name,
      attempt: state.attempt,
      deadline: NEVER,
    }),
    commandId: cancelId(sender.operation, step.name, state.attempt),
    subject,
    type,
    streamId,
    data: resolveReferences(data, sender.answers) as JsonObject,
    timeoutMs: requestMs,
    undoes: doId(sender.operation, step.name, state.attempt),
  };
};

interface Due {
  readonly dispatches: readonly Dispatch[];
  readonly wakeAt: number | null;
}

const NOTHING_DUE: Due = { dispatches: [], wakeAt: null };

const dueOf = (steps: readonly { from: number; dispatch: Dispatch | null }[], now: number): Due => {
  const later = steps.filter((step) => step.from > now).map((step) => step.from);
  return {
    dispatches: steps.flatMap((step) => (step.from <= now && step.dispatch !== null ? [step.dispatch] : [])),
    wakeAt: later.length === 0 ? null : Math.min(...later),
  };
};

const dueSteps = (own: OperationOwn, sender: Sender): Due => {
  const stage = currentStage(own.plan, own.steps);
  const open = own.plan.flatMap((step) => {
    const state = stepState(own, step.name);
    if (step.stage !== stage || isFinish(step) || state.phase !== 'open') return [];
    const cancel = own.cancelled === null ? null : cancelDispatch(step, state, sender);
    return [
      { from: state.from, dispatch: doDispatch(step, state, sender) },
      ...(cancel === null ? [] : [{ from: sender.now, dispatch: cancel }]),
    ];
  });
  return dueOf(open, sender.now);
};

const dueUndos = (own: OperationOwn, sender: Sender): Due => {
  const stage = undoStage(own);
  const undoing = own.plan.flatMap((step) => {
    const state = stepState(own, step.name);
    if (step.stage !== stage || state.phase !== 'undoing') return [];
    return [{ from: state.from, dispatch: undoDispatch(step, state, sender) }];
  });
  return dueOf(undoing, sender.now);
};

const due = (state: OperationState, place: { streamId: Uuid; now: number }, volumes: VolumeNames): Due => {
  if (state.phase !== 'present') return NOTHING_DUE;
  const { own } = state;
  const sender: Sender = { operation: place.streamId, answers: answersOf(own), volumes, now: place.now };
  switch (working(own)) {
    case 'Running':
      return dueSteps(own, sender);
    case 'Compensating':
      return dueUndos(own, sender);
    case null:
      return NOTHING_DUE;
  }
};

interface Recorded {
  readonly type: string;
  readonly data: JsonObject;
}

/**
 * Answers that wait for those of the steps beside them, so that a stage enters the log at once. They are held in memory only: after a crash the steps are
 * asked again under the same ids, and answer the same.
 */
class HeldAnswers {
  private readonly open = new Map<Uuid, ReadonlySet<string>>();
  private readonly answers = new Map<Uuid, Map<string, { attempt: number; answer: JsonObject }>>();

  /** The steps that are under way now; none: nothing is held any more. */
  expect(operation: Uuid, names: readonly string[]): void {
    if (names.length > 0) this.open.set(operation, new Set(names));
    else this.forget(operation);
  }

  /** Whether the attempt has been answered and only waits to be recorded. */
  holds(operation: Uuid, name: string, attempt: number): boolean {
    return this.answers.get(operation)?.get(name)?.attempt === attempt;
  }

  /** The answers of all steps that were under way, once the last of them is there; else null. */
  take(operation: Uuid, name: string, answered: { attempt: number; answer: JsonObject }): JsonObject[] | null {
    const answers = this.answers.get(operation) ?? new Map<string, { attempt: number; answer: JsonObject }>();
    this.answers.set(operation, answers.set(name, answered));
    const open = this.open.get(operation) ?? new Set([name]);
    if ([...open].some((other) => !answers.has(other))) return null;
    this.answers.delete(operation);
    return [...answers]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([step, held]) => ({ name: step, ...held }));
  }

  forget(operation: Uuid): void {
    this.open.delete(operation);
    this.answers.delete(operation);
  }
}

/** Attempts that nobody has answered, by command: the log hears of them after so many askings in vain, and no more. */
const SAID_AFTER: ReadonlySet<number> = new Set([1, 4, 16]);
/** Attempts that are counted: more are hardly under way at once, and what was left behind by operations that were cancelled goes first. */
const COUNTED_MAX = 4_096;

class Silences {
  private readonly counts = new Map<Uuid, number>();

  /** What to record of one more asking in vain; null: nothing new. */
  again(dispatch: Dispatch, of: { readonly key: DispatchKey; readonly message: string }): Recorded | null {
    const known = this.counts.get(dispatch.commandId) ?? 0;
    const times = known + 1;
    this.counts.set(dispatch.commandId, times);
    const [oldest] = this.counts.keys();
    if (this.counts.size > COUNTED_MAX && oldest !== undefined) this.forget(oldest);
    if (!SAID_AFTER.has(times)) return null;
    const { name, attempt, deadline } = of.key;
    return { type: 'RecordStepUnanswered', data: { name, attempt, times, givesUpAt: deadline, message: of.message } };
  }

  forget(commandId: Uuid): void {
    this.counts.delete(commandId);
  }
}

const recordReply = (
  key: DispatchKey,
  outcome: DispatchOutcome & { kind: 'reply' },
  held: HeldAnswers,
): Recorded | null => {
  const { name, attempt } = key;
  const { reply } = outcome;
  if (key.kind === 'cancel') {
    const refused = reply.ok ? {} : { rejection: { code: reply.rejection.code, message: reply.rejection.message } };
    return { type: 'RecordCancelAnswered', data: { name, attempt, ...refused } };
  }
  if (reply.ok) {
    if (key.kind === 'undo') return { type: 'RecordStepUndone', data: { name, attempt } };
    const steps = held.take(key.operation, name, { attempt, answer: reply.value });
    return steps === null ? null : { type: 'RecordStepsSucceeded', data: { steps } };
  }
  const { code, message } = reply.rejection;
  const type = key.kind === 'do' ? 'RecordStepRefused' : 'RecordUndoRefused';
  return { type, data: { name, attempt, rejection: { code, message } } };
};

/** A fault may or may not have had its effect: the same id is asked again until the attempt's deadline, which then counts as a refusal. */
const record = (
  dispatch: Dispatch,
  came: { outcome: DispatchOutcome; now: number },
  memory: { held: HeldAnswers; silences: Silences },
): Recorded | null => {
  const { outcome, now } = came;
  const key = parseKey(dispatch.key);
  if (outcome.kind === 'reply') {
    memory.silences.forget(dispatch.commandId);
    return recordReply(key, outcome, memory.held);
  }
  // An undo that nobody answers is tried anew soon, and says so by that; a cancellation is part of what the step is to say.
  if (now < key.deadline)
    return key.kind !== 'do' ? null : memory.silences.again(dispatch, { key, message: outcome.message });
  memory.silences.forget(dispatch.commandId);
  const { code, message } = timedOut(key.name);
  const type = key.kind === 'do' ? 'RecordStepRefused' : 'RecordUndoRefused';
  return {
    type,
    data: { name: key.name, attempt: key.attempt, rejection: { code, message: `${message}: ${outcome.message}` } },
  };
};

/** What is due, less what has been answered and waits to be recorded with the steps beside it. */
const dueUnheld = (
  state: OperationState,
  place: { streamId: Uuid; now: number },
  tools: { volumes: VolumeNames; held: HeldAnswers },
): Due => {
  const { dispatches, wakeAt } = due(state, place, tools.volumes);
  const steps = dispatches.map((dispatch) => parseKey(dispatch.key)).filter((key) => key.kind === 'do');
  tools.held.expect(
    place.streamId,
    steps.map((key) => key.name),
  );
  const unheld = dispatches.filter((dispatch) => {
    const key = parseKey(dispatch.key);
    return key.kind !== 'do' || !tools.held.holds(place.streamId, key.name, key.attempt);
  });
  if (unheld.length > 0 || wakeAt !== null) return { dispatches: unheld, wakeAt };
  // All are held, and nobody is left to bring them along: another runner has recorded the rest.
  tools.held.forget(place.streamId);
  return { dispatches, wakeAt };
};

/** Carries operations out: one definition for all of them, as everything that differs is in their plans. */
export const operationProcess = (indexes: {
  readonly operations: OperationIndex;
  readonly volumes: VolumeNames;
  readonly waited: WaitedNames;
}): ProcessDefinition => {
  const tools = { volumes: indexes.volumes, held: new HeldAnswers(), silences: new Silences() };
  return {
    name: 'operations',
    category: 'operation',
    isActive: (document) => {
      const status = document['status'] as { phase?: string } | undefined;
      return status?.phase === 'Running' || status?.phase === 'Compensating' || status?.phase === 'NeedsOperator';
    },
    due: (state, place) => dueUnheld(state as OperationState, place, tools),
    record: (dispatch, outcome, now) => record(dispatch, { outcome, now }, tools),
    wakes: (event) => {
      if (event.type === 'VirtualMachineOperationSuperseded') {
        const { operation, by } = event.data as { operation: Uuid; by: string };
        return [{ streamId: operation, type: 'CancelOperation', data: { because: by } }];
      }
      return wakesOf(event, (uid) => indexes.waited.key(uid)).flatMap(({ key, atMost }) =>
        indexes.operations
          .waitingFor(key, atMost)
          .map((waiting) => ({ streamId: waiting, type: 'WakeOperation', data: { streamId: key } })),
      );
    },
  };
};
