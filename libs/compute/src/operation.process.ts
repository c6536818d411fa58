import { agentSubject, commandSubject, type PlanStep, type ServiceName } from '@xenolith/contracts';
import type { Dispatch, DispatchOutcome, ProcessDefinition } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import type { OperationIndex } from './operation.index.js';
import {
  answersOf,
  currentStage,
  doId,
  isFinish,
  stepState,
  timedOut,
  undoId,
  undoStage,
  type OperationOwn,
  type OperationState,
  type StepState,
} from './operation.state.js';
import { resolveReferences, type Answers } from './plan-references.js';
import type { VolumeNames } from './volume-names.js';

/** One request waits no longer than this; then it is asked again under the same id, up to the step's deadline. */
const REQUEST_MS = 15_000;
/** Agents work for long; asking again joins the work under way. */
const AGENT_REQUEST_MS = 30_000;
/** The last request before a deadline is still given this long. */
const SHORTEST_REQUEST_MS = 1_000;
/** An attempt at an undo that nobody answers counts as failed after this. */
const UNDO_ATTEMPT_MS = 30_000;

const PLACEHOLDER = 'volume:';

interface Sender {
  readonly operation: Uuid;
  readonly answers: Answers;
  readonly volumes: VolumeNames;
  readonly now: number;
}

/** What the outcome of a dispatch needs to know of it, carried in its key. */
interface DispatchKey {
  readonly kind: 'do' | 'undo';
  readonly name: string;
  readonly attempt: number;
  readonly deadline: number;
}

const keyOf = (key: DispatchKey): string => JSON.stringify([key.kind, key.name, key.attempt, key.deadline]);

const parseKey = (text: string): DispatchKey => {
  const [kind, name, attempt, deadline] = JSON.parse(text) as ['do' | 'undo', string, number, number];
  return { kind, name, attempt, deadline };
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
  const deadline = state.from + step.timeoutMs;
  const { subject, requestMs } = subjectOf(step, step.type, sender.answers);
  return {
    key: keyOf({ kind: 'do', name: step.name, attempt: state.attempt, deadline }),
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
    key: keyOf({ kind: 'undo', name: step.name, attempt: state.undoAttempt, deadline }),
    commandId: undoId(sender.operation, step.name, state.attempt, state.undoAttempt),
    subject,
    type: step.undo.type,
    streamId: streamOf(step.undo.streamId, sender.volumes),
    data: resolveReferences(step.undo.data, sender.answers) as JsonObject,
    timeoutMs: timeoutMs(deadline, requestMs, sender.now),
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
    return [{ from: state.from, dispatch: doDispatch(step, state, sender) }];
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
  switch (own.phase) {
    case 'Running':
      return dueSteps(own, sender);
    case 'Compensating':
      return dueUndos(own, sender);
    case 'requested':
    case 'NeedsOperator':
    case 'Succeeded':
    case 'Failed':
    case 'Cancelled':
      return NOTHING_DUE;
  }
};

interface Recorded {
  readonly type: string;
  readonly data: JsonObject;
}

const recordReply = (key: DispatchKey, outcome: DispatchOutcome & { kind: 'reply' }): Recorded => {
  const { name, attempt } = key;
  const { reply } = outcome;
  if (reply.ok)
    return key.kind === 'do'
      ? { type: 'RecordStepSucceeded', data: { name, attempt, answer: reply.value } }
      : { type: 'RecordStepUndone', data: { name, attempt } };
  const { code, message } = reply.rejection;
  const type = key.kind === 'do' ? 'RecordStepRefused' : 'RecordUndoRefused';
  return { type, data: { name, attempt, rejection: { code, message } } };
};

/** A fault may or may not have had its effect: the same id is asked again until the attempt's deadline, which then counts as a refusal. */
const record = (dispatch: Dispatch, outcome: DispatchOutcome, now: number): Recorded | null => {
  const key = parseKey(dispatch.key);
  if (outcome.kind === 'reply') return recordReply(key, outcome);
  if (now < key.deadline) return null;
  const { code, message } = timedOut(key.name);
  const type = key.kind === 'do' ? 'RecordStepRefused' : 'RecordUndoRefused';
  return {
    type,
    data: { name: key.name, attempt: key.attempt, rejection: { code, message: `${message}: ${outcome.message}` } },
  };
};

/** Carries operations out: one definition for all of them, as everything that differs is in their plans. */
export const operationProcess = (indexes: {
  readonly operations: OperationIndex;
  readonly volumes: VolumeNames;
}): ProcessDefinition => ({
  name: 'operations',
  category: 'operation',
  isActive: (document) => {
    const status = document['status'] as { phase?: string } | undefined;
    return status?.phase === 'Running' || status?.phase === 'Compensating';
  },
  due: (state, place) => due(state as OperationState, place, indexes.volumes),
  record,
  wakes: (event) => {
    if (event.type === 'VirtualMachineOperationSuperseded') {
      const { operation, by } = event.data as { operation: Uuid; by: string };
      return [{ streamId: operation, type: 'CancelOperation', data: { because: by } }];
    }
    if (event.type !== 'PlacementDecided') return [];
    const waiting = indexes.operations.waitingFor(event.streamId);
    return waiting === undefined
      ? []
      : [{ streamId: waiting, type: 'WakeOperation', data: { streamId: event.streamId } }];
  },
});
