import { commandSubject } from '@xenolith/contracts';
import type { Dispatch, DispatchOutcome, ProcessDefinition } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import {
  currentWave,
  moveOperation,
  moveOperationName,
  REBALANCE_PLAN_CATEGORY,
  type PlanMove,
  type RebalancePlanState,
} from './rebalance-plan.js';

/** The machine decides at once; longer means that compute is not there. */
const START_MS = 15_000;

/** The migration is asked of the machine, which knows best whether it is still there and may go. */
const startOf = (plan: Uuid, place: number, move: PlanMove): Dispatch => {
  const operation = moveOperation(plan, place);
  return {
    key: String(place),
    commandId: uuidFrom(operation, 'start'),
    subject: commandSubject('compute', 'StartOperation'),
    type: 'StartOperation',
    streamId: move.virtualMachine.uid,
    data: {
      operationId: operation,
      name: moveOperationName(operation),
      action: 'migrate',
      parameters: { from: move.from, to: move.to },
    },
    timeoutMs: START_MS,
  };
};

const record = (dispatch: Dispatch, outcome: DispatchOutcome): { type: string; data: JsonObject } | null => {
  if (outcome.kind === 'fault') return null;
  const move = Number(dispatch.key);
  if (outcome.reply.ok) return { type: 'RecordMoveStarted', data: { move } };
  const { message } = outcome.reply.rejection;
  return { type: 'RecordMoveEnded', data: { move, outcome: 'Skipped', message } };
};

/** Starts the migrations of approved plans, wave by wave. Their ends come by a reaction to the Operations' own. */
export const rebalanceProcess: ProcessDefinition = {
  name: 'rebalance-plans',
  category: REBALANCE_PLAN_CATEGORY,
  isActive: (document) => (document['status'] as { phase?: string } | undefined)?.phase === 'Executing',
  due: (raw, { streamId }) => {
    const state = raw as RebalancePlanState;
    if (state.phase !== 'present' || state.own.phase !== 'Executing') return { dispatches: [], wakeAt: null };
    const wave = currentWave(state.own);
    const dispatches = state.own.moves.flatMap((move, place) =>
      move.phase === 'Pending' && move.wave === wave ? [startOf(streamId, place, move)] : [],
    );
    return { dispatches, wakeAt: null };
  },
  record,
};
