import {
  commandSubject,
  nameScope,
  objectConsequences,
  objectResource,
  virtualMachineKind,
  operationKind,
  type DesiredMetadata,
  type OperationEvent,
  type OperationSpec,
} from '@xenolith/contracts';
import {
  uuidFrom,
  type Aggregate,
  type AlsoCommand,
  type Command,
  type Consequences,
  type JsonObject,
  type NewEvent,
  type NewTimer,
} from '@xenolith/kernel';
import { decideOperation } from './operation.decide.js';
import { evolveOperation } from './operation.evolve.js';
import { operationRules } from './operation.rules.js';
import {
  answersOf,
  isFinish,
  planned,
  stepState,
  type OperationOwn,
  type OperationState,
  type PresentOperation,
} from './operation.state.js';
import { resolveReferences } from './plan-references.js';

/** How long a finished operation can be looked at. */
const TIME_TO_LIVE_MS = 3_600_000;
/** How long a cancelled operation that was deleted can still be seen as Cancelled: long enough for whoever watches. */
const CANCELLED_LINGER_MS = 1_000;

/** What the target is told in the append that ends the operation. */
const told = (operation: PresentOperation, type: string, data: JsonObject): AlsoCommand[] =>
  operation.spec.target.kind === virtualMachineKind.kind && operation.spec.target.uid !== undefined
    ? [{ category: 'virtualmachine', streamId: operation.spec.target.uid, type, data }]
    : [];

const finishing = (operation: PresentOperation, event: NewEvent, command: Command): AlsoCommand[] => {
  const place = { streamId: command.streamId, version: 0, at: command.at, actor: command.actor };
  const after = evolveOperation({ phase: 'present', ...operation }, event, place);
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

/** Whether the last of the steps that were told to wait got through. */
const waitEnds = (own: OperationOwn, successes: readonly { readonly name: string }[]): boolean => {
  const names = new Set(successes.map(({ name }) => name));
  const waited = own.plan.filter(({ name, waitOn }) => {
    const state = stepState(own, name);
    return waitOn.length > 0 && state.phase === 'open' && state.refusal !== '';
  });
  return waited.length > 0 && waited.every(({ name }) => names.has(name));
};

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
    const data = { operation: uid, message: rejection.message, code: rejection.code };
    return waits ? { also: told(before, 'RecordVirtualMachineUnschedulable', data) } : {};
  }
  if (event.type === 'OperationStepsSucceeded')
    return waitEnds(before.own, event.data.steps)
      ? { also: told(before, 'RecordVirtualMachineSchedulable', { operation: uid }) }
      : {};
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
  evolve: evolveOperation,
  toResource: (state) => objectResource(operationRules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 3,
};
