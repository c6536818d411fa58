import { agentSubject, powerOnHostAnswer } from '@xenolith/contracts';
import type { Dispatch, DispatchOutcome, ProcessDefinition } from '@xenolith/engine';
import type { JsonObject } from '@xenolith/kernel';
import { powerCommandId } from './host.power.js';
import type { HostState, PresentHost } from './host.state.js';

/** A baseboard controller answers in seconds; one that a fault rule slows down is asked again under the same id. */
const POWER_MS = 30_000;

const ASKS: Readonly<Record<string, 'PowerOffHost' | 'PowerOnHost'>> = {
  ShuttingDown: 'PowerOffHost',
  Starting: 'PowerOnHost',
};

/** The command of the present turn. It makes the one before void, so that what comes late has no effect. */
const commandOf = ({ meta, own }: PresentHost): Dispatch | null => {
  const { state, turn, bootId, retryAt } = own.power;
  const type = ASKS[state];
  if (type === undefined || bootId !== null || retryAt !== null) return null;
  return {
    key: String(turn),
    commandId: powerCommandId(meta.uid, turn),
    subject: agentSubject(meta.name, type),
    type,
    streamId: meta.uid,
    data: {},
    timeoutMs: POWER_MS,
    ...(turn > 1 ? { undoes: powerCommandId(meta.uid, turn - 1) } : {}),
  };
};

const record = (dispatch: Dispatch, outcome: DispatchOutcome): { type: string; data: JsonObject } | null => {
  if (outcome.kind === 'fault') return null;
  const turn = Number(dispatch.key);
  const { reply } = outcome;
  if (!reply.ok) return { type: 'RecordHostPowerRefused', data: { turn, message: reply.rejection.message } };
  if (dispatch.type === 'PowerOffHost') return { type: 'RecordHostPoweredOff', data: { turn } };
  const { bootId } = powerOnHostAnswer.parse(reply.value);
  return { type: 'RecordHostPoweredOn', data: { turn, bootId } };
};

/** Switches the power of hosts, as their streams say that it is to be. */
export const hostPowerProcess: ProcessDefinition = {
  name: 'host-power',
  category: 'host',
  isActive: (document) => {
    const { power } = (document['status'] ?? {}) as { power?: { state: string } };
    return power !== undefined && power.state in ASKS;
  },
  due: (raw) => {
    const state = raw as HostState;
    const dispatch = state.phase === 'present' ? commandOf(state) : null;
    return { dispatches: dispatch ? [dispatch] : [], wakeAt: null };
  },
  record,
};
