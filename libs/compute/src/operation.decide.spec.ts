import { eventOf, type PlanStep } from '@xenolith/contracts';
import { ok, reject, type Command, type JsonObject, type NewEvent } from '@xenolith/kernel';
import type { Dispatch, DispatchOutcome } from '@xenolith/engine';
import { given } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OperationIndex } from './operation.index.js';
import { operationAggregate } from './operation.js';
import { operationProcess } from './operation.process.js';
import { isOver, type OperationState } from './operation.state.js';
import { VolumeNames } from './volume-names.js';
import { WaitedNames } from './waited-names.js';

const OPERATION = 'operation-uid';

const step = (name: string, stage: number, more: Partial<PlanStep> = {}): PlanStep => ({
  name,
  stage,
  to: { service: 'storage' },
  type: 'Do',
  streamId: `stream-${name}`,
  data: {},
  timeoutMs: 60_000,
  waitOn: [],
  doneOn: [],
  mustSucceed: false,
  ...more,
});

const undo = (name: string): PlanStep['undo'] => ({ type: 'Undo', streamId: `stream-${name}`, data: {} });

const startedWith = (plan: readonly PlanStep[], cancellable = true): NewEvent =>
  eventOf('OperationStarted', {
    metadata: {
      name: 'op',
      namespace: 'default',
      labels: {},
      annotations: {},
      finalizers: ['compute.xenolith.dev/operation'],
      ownerReferences: [],
      managedFields: [],
    },
    spec: { target: { kind: 'VirtualMachine', name: 'web', uid: 'web-uid' }, action: 'start', parameters: {} },
    plan: [...plan],
    cancellable,
  } as unknown as JsonObject);

const operation = (plan: readonly PlanStep[], cancellable = true) =>
  given(operationAggregate, [startedWith(plan, cancellable)], OPERATION);

const TWO = [step('a', 0, { undo: undo('a') }), step('b', 1)];

describe('an operation', () => {
  it('goes from stage to stage and keeps of answers what others refer to', () => {
    const plan = [step('a', 0), step('b', 1, { data: { uid: { $from: 'a', path: 'uid' } } })];
    operation(plan)
      .when({
        type: 'RecordStepsSucceeded',
        data: { steps: [{ name: 'a', attempt: 1, answer: { uid: 'x', document: {} } }] },
      })
      .then([{ type: 'OperationStepsSucceeded', data: { steps: [{ name: 'a', attempt: 1, answer: { uid: 'x' } }] } }]);
  });

  it('hears nothing of attempts that are over', () => {
    operation(TWO)
      .when({ type: 'RecordStepsSucceeded', data: { steps: [{ name: 'a', attempt: 2, answer: {} }] } })
      .thenNothing();
    operation(TWO)
      .when({ type: 'RecordStepUndone', data: { name: 'a', attempt: 1 } })
      .thenNothing();
  });

  it('takes a refused step back too, as it may have had its effect', () => {
    operation(TWO)
      .when({ type: 'RecordStepRefused', data: { name: 'a', attempt: 1, rejection: { code: 'x', message: 'no' } } })
      .then([{ type: 'OperationStepRefused' }, { type: 'OperationCompensationStarted', data: { because: 'a: no' } }]);
    operation([step('a', 0)])
      .when({ type: 'RecordStepRefused', data: { name: 'a', attempt: 1, rejection: { code: 'x', message: 'no' } } })
      .then([{ type: 'OperationStepRefused' }, { type: 'OperationCompensationStarted' }, { type: 'OperationFailed' }]);
  });

  it('that can not be taken back can not be cancelled by its user; collectors wait for it', () => {
    const fixed = operation(TWO, false);
    fixed.when({ type: 'DeleteOperation', data: {} }).thenRejected('operation_not_cancellable');
    fixed
      .when({ type: 'DeleteOperation', data: {}, actor: 'process:collector' })
      .then([{ type: 'OperationDeletionRequested' }]);
    operation(TWO)
      .when({ type: 'DeleteOperation', data: {} })
      .then([
        { type: 'OperationDeletionRequested' },
        { type: 'OperationCancelRequested' },
        { type: 'OperationCompensationStarted' },
      ]);
  });

  it('is removed when its time to live is over, and not before its end', () => {
    operation(TWO).when({ type: 'RemoveOperation', data: {} }).thenNothing();
    given(operationAggregate, [startedWith([]), eventOf('OperationSucceeded', { steps: [] })], OPERATION)
      .when({ type: 'RemoveOperation', data: {} })
      .then([{ type: 'OperationDeleted' }]);
  });

  it('refuses choices that it does not offer', () => {
    operation(TWO)
      .when({ type: 'RetryOperation', data: {} })
      .thenRejected('operation_not_allowed', /offers no choice/);
  });
});

/** A step as drawn: whether it can be taken back, waits, must succeed. */
const drawnPlan = fc
  .array(fc.record({ stage: fc.nat(2), undo: fc.boolean(), waits: fc.boolean(), must: fc.boolean() }), {
    minLength: 1,
    maxLength: 6,
  })
  .map((drawn) => {
    const stages = [...new Set(drawn.map((one) => one.stage))].sort();
    return drawn.map((one, index) =>
      step(`s${index}`, stages.indexOf(one.stage), {
        ...(one.undo ? { undo: undo(`s${index}`) } : {}),
        waitOn: one.waits ? ['not_yet'] : [],
        mustSucceed: one.must,
      }),
    );
  });

/** Each draw decides the outcome of one dispatch. */
const draws = fc.array(fc.constantFrom('ok', 'ok', 'no', 'not_yet', 'silence', 'cancel', 'operator'), {
  minLength: 40,
  maxLength: 80,
});

describe('any plan under any outcomes', () => {
  const run = (plan: readonly PlanStep[], outcomes: readonly string[]) => {
    const process = operationProcess({
      operations: new OperationIndex(),
      volumes: new VolumeNames(),
      waited: new WaitedNames(),
    });
    let now = 1_000_000;
    let version = 1;
    let state: OperationState = operationAggregate.evolve(operationAggregate.initial, startedWith(plan), {
      streamId: OPERATION,
      version,
      at: now,
      actor: 'x',
    });
    /** Effects that parties hold: by step. */
    const held = new Set<string>();
    const tell = (type: string, data: JsonObject): boolean => {
      const command: Command = { type, data, commandId: `c${version}`, streamId: OPERATION, at: now, actor: 'user:x' };
      const decided = operationAggregate.decide(command, state);
      if (!decided.ok) return false;
      for (const event of decided.value)
        state = operationAggregate.evolve(state, event, {
          streamId: OPERATION,
          version: (version += 1),
          at: now,
          actor: 'x',
        });
      return decided.value.length > 0;
    };
    const outcomeOf = (dispatch: Dispatch, drawn: string): DispatchOutcome => {
      const name = dispatch.streamId.replace('stream-', '');
      const undoes = dispatch.type === 'Undo';
      if (drawn === 'silence') {
        if (!undoes) held.add(name);
        return { kind: 'fault', fault: 'timeout', message: 'silence' };
      }
      if (drawn === 'no' || drawn === 'not_yet') return { kind: 'reply', reply: reject(drawn, drawn) };
      if (undoes) held.delete(name);
      else held.add(name);
      return { kind: 'reply', reply: ok({}) };
    };
    let next = 0;
    for (let round = 0; round < 4_000; round += 1) {
      if (state.phase !== 'present' || isOver(state.own)) break;
      // Once the draws are used up, everybody behaves.
      const drawn = outcomes[next++] ?? 'ok';
      if (state.own.phase === 'NeedsOperator') {
        tell(drawn === 'operator' ? 'UndoOperation' : 'RetryOperation', {});
        continue;
      }
      if (drawn === 'cancel' && tell('CancelOperation', { because: 'test' })) continue;
      const { dispatches, wakeAt } = process.due(state, { streamId: OPERATION, now });
      const [dispatch] = dispatches;
      if (!dispatch) {
        expect(wakeAt).not.toBeNull();
        now = wakeAt ?? now;
        continue;
      }
      const record = process.record(dispatch, outcomeOf(dispatch, drawn), now);
      if (record) tell(record.type, record.data);
      else now += 5_000;
    }
    return { state, held };
  };

  it('ends, and a failed one has taken back all that can be taken back', () => {
    fc.assert(
      fc.property(drawnPlan, draws, (plan, outcomes) => {
        const { state, held } = run(plan, outcomes);
        if (state.phase !== 'present') throw new Error('an operation does not vanish');
        expect(isOver(state.own)).toBe(true);
        const undoable = plan.filter((one) => one.undo !== undefined).map((one) => one.name);
        if (state.own.phase === 'Succeeded') expect(plan.every((one) => held.has(one.name))).toBe(true);
        else expect(undoable.filter((name) => held.has(name))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
