import type { Uuid } from '@xenolith/kernel';
import type { Errno } from '../outcome.js';
import { enter, idle, onReport, stay } from './end-steps.js';
import {
  migrationNames,
  type EndInput,
  type EndStep,
  type FoundDomain,
  type MigrationEffect,
  type MigrationMessage,
} from './protocol.js';

/**
 * Where the target stands. Up to `restored` trouble makes it give up what it built. Sync point 3 is the switch: from `renaming` on the machine lives here
 * and later steps are retried, never undone; only a failed renaming, which the guest cannot have noticed, still gives it back.
 */
export type TargetPhase =
  | 'idle'
  | 'importing'
  | 'imported'
  | 'building'
  | 'built'
  | 'ready'
  | 'receiving'
  | 'restoring'
  | 'restored'
  | 'renaming'
  | 'resuming'
  /** The machine is here; kept until the source needs no answer any more. */
  | 'holding'
  | 'done'
  | 'aborting'
  | 'aborted';

export interface TargetState {
  readonly machine: Uuid;
  readonly phase: TargetPhase;
  readonly memoryPages: number;
  /** Effects were handed out and not reported. */
  readonly working: boolean;
  /** Set as soon as this end is to give up although effects are under way; a host may then report them as failed at once. */
  readonly failing: Errno | null;
  /** The source asked who has the machine and has no answer yet. */
  readonly asked: boolean;
  /** Renaming failed, so that it is not known which name the domain bears; it never ran. */
  readonly misnamed: boolean;
  /** Times that devices were restored in vain. */
  readonly attempts: number;
  /** The machine went on without devices that could not be restored, or could not be unpaused. */
  readonly impaired: boolean;
  readonly disconnected: boolean;
}

/** Times that devices are restored before the machine goes on without those that fail. */
export const RESTORE_ATTEMPTS = 3;

export const beginTarget = (machine: Uuid): TargetState => ({
  machine,
  phase: 'idle',
  memoryPages: 0,
  working: false,
  failing: null,
  asked: false,
  misnamed: false,
  attempts: 0,
  impaired: false,
  disconnected: false,
});

const sync = (point: '1' | '1-mem' | '2' | '4'): readonly MigrationMessage[] => [{ type: 'handshake', point }];

const answer = (state: TargetState, machine: boolean): EndStep<TargetState> => ({
  state: { ...state, asked: false },
  messages: [{ type: 'holds', machine }],
  effects: [],
});

/** Whether the machine has become this end's. */
const committed = (phase: TargetPhase): boolean => {
  switch (phase) {
    case 'renaming':
    case 'resuming':
    case 'holding':
    case 'done':
      return true;
    case 'idle':
    case 'importing':
    case 'imported':
    case 'building':
    case 'built':
    case 'ready':
    case 'receiving':
    case 'restoring':
    case 'restored':
    case 'aborting':
    case 'aborted':
      return false;
  }
};

const abort = (state: TargetState, errno: Errno): EndStep<TargetState> => {
  const failing = state.failing ?? errno;
  if (state.working) return stay({ ...state, failing });
  const names = migrationNames(state.machine);
  // Only what bears the temporary name is ever destroyed: under its own, the machine may live here by another migration.
  const effects: readonly MigrationEffect[] = [
    ...(state.misnamed ? [{ do: 'renameDomain', from: names.final, to: names.target } as const] : []),
    { do: 'destroyDomain', name: names.target },
    { do: 'removeMetadata' },
  ];
  return enter({ ...state, failing }, 'aborting', { effects });
};

const resume = (state: TargetState): EndStep<TargetState> =>
  enter(state, 'resuming', {
    effects:
      state.attempts < RESTORE_ATTEMPTS
        ? [{ do: 'restoreDevices' }, { do: 'unpauseDomain' }]
        : [{ do: 'unpauseDomain' }],
  });

/** Nothing is left of what was built, so that the source may be told that it never will run here. */
const aborted = (state: TargetState): EndStep<TargetState> => {
  const step = enter(state, 'aborted');
  if (state.asked) return answer(step.state, false);
  return state.disconnected ? step : { ...step, messages: [{ type: 'handshakeError', errno: state.failing ?? 'EIO' }] };
};

/** The machine runs here: the source may remove its copy. */
const hold = (state: TargetState): EndStep<TargetState> =>
  enter(state, 'holding', { messages: state.disconnected ? [] : sync('4') });

const done = (state: TargetState): EndStep<TargetState> => {
  if (state.phase === 'aborting') return aborted(state);
  if (state.failing !== null && !committed(state.phase)) return abort(state, state.failing);
  switch (state.phase) {
    case 'importing':
      return enter(state, 'imported', { messages: [{ type: 'metadataImported' }] });
    case 'building':
      return enter(state, 'built', { messages: sync('1') });
    case 'restoring':
      return enter(state, 'restored', { messages: sync('2') });
    case 'renaming': {
      const step = resume(state);
      return state.asked
        ? { ...step, state: { ...step.state, asked: false }, messages: [{ type: 'holds', machine: true }] }
        : step;
    }
    case 'resuming':
      return hold(state);
    case 'idle':
    case 'imported':
    case 'built':
    case 'ready':
    case 'receiving':
    case 'restored':
    case 'holding':
    case 'done':
    case 'aborted':
      return stay(state);
  }
};

const failed = (state: TargetState, errno: Errno): EndStep<TargetState> => {
  if (state.phase === 'renaming') return abort({ ...state, phase: 'restored', misnamed: true }, errno);
  // A failed clean-up is tried again: as long as it fails the source gets no answer.
  if (state.phase !== 'resuming') return abort(state, errno);
  const attempts = state.attempts + 1;
  const tried: TargetState = { ...state, attempts, impaired: attempts >= RESTORE_ATTEMPTS };
  return attempts > RESTORE_ATTEMPTS ? hold(tried) : resume(tried);
};

const handshake = (state: TargetState, point: string): EndStep<TargetState> => {
  if (point === '1-mem ACK' && state.phase === 'ready') return enter(state, 'receiving');
  if (point === '3' && state.phase === 'restored') {
    const names = migrationNames(state.machine);
    return enter(state, 'renaming', { effects: [{ do: 'renameDomain', from: names.target, to: names.final }] });
  }
  return stay(state);
};

/** Whoever has not got 3 when he is asked never acts on it: the answer must stay true. */
const inquired = (state: TargetState): EndStep<TargetState> => {
  switch (state.phase) {
    case 'resuming':
    case 'holding':
    case 'done':
      return answer(state, true);
    case 'aborted':
      return answer(state, false);
    case 'idle':
      return answer({ ...state, phase: 'aborted' }, false);
    case 'renaming':
    case 'aborting':
      return stay({ ...state, asked: true });
    case 'importing':
    case 'imported':
    case 'building':
    case 'built':
    case 'ready':
    case 'receiving':
    case 'restoring':
    case 'restored':
      return abort({ ...state, asked: true }, 'ENOTCONN');
  }
};

const received = (state: TargetState, message: MigrationMessage): EndStep<TargetState> => {
  if (message.type === 'inquire') return inquired(state);
  if (message.type === 'closed') return state.phase === 'holding' ? enter(state, 'done') : stay(state);
  if (state.failing !== null || state.disconnected) return stay(state);
  switch (message.type) {
    case 'importMetadata':
      return state.phase === 'idle' ? enter(state, 'importing', { effects: [{ do: 'importMetadata' }] }) : stay(state);
    case 'openControl': {
      if (state.phase !== 'imported') return stay(state);
      const { memoryPages } = message;
      const name = migrationNames(state.machine).target;
      return enter({ ...state, memoryPages }, 'building', { effects: [{ do: 'buildShell', name, memoryPages }] });
    }
    case 'openMemory':
      return state.phase === 'built' ? enter(state, 'ready', { messages: sync('1-mem') }) : stay(state);
    case 'endOfStream':
      return state.phase === 'receiving'
        ? enter(state, 'restoring', { effects: [{ do: 'restoreDomain' }] })
        : stay(state);
    case 'handshake':
      return handshake(state, message.point);
    case 'metadataImported':
    case 'handshakeError':
    case 'holds':
      return stay(state);
  }
};

const lost = (state: TargetState): EndStep<TargetState> => {
  const alone: TargetState = { ...state, disconnected: true };
  if (committed(state.phase) || state.phase === 'aborting' || state.phase === 'aborted') return stay(alone);
  return state.phase === 'idle' ? enter(alone, 'aborted') : abort(alone, 'ENOTCONN');
};

/** The name decides: it was changed when sync point 3 had come. */
const restarted = (state: TargetState, found: FoundDomain): EndStep<TargetState> => {
  const woken: TargetState = { ...idle(state), disconnected: true, asked: false };
  switch (state.phase) {
    case 'done':
    case 'aborted':
      return stay(woken);
    case 'idle':
      return enter(woken, 'aborted');
    case 'resuming':
    case 'holding':
      // Gone since it became ours: it ended here, and the source's copy must not come back.
      return found === 'final' && state.phase === 'resuming' ? resume(woken) : enter(woken, 'holding');
    case 'importing':
    case 'imported':
    case 'building':
    case 'built':
    case 'ready':
    case 'receiving':
    case 'restoring':
    case 'restored':
    case 'renaming':
    case 'aborting':
      return found === 'final' && state.phase === 'renaming' ? resume(woken) : abort(woken, 'EIO');
  }
};

/**
 * Moves the target on. Pure; `state` is JSON and may be kept in a journal: what a step hands out may leave the host once its state is kept. What no longer
 * fits (a late message) changes nothing.
 */
export const stepTarget = (state: TargetState, input: EndInput): EndStep<TargetState> => {
  switch (input.type) {
    case 'message':
      return received(state, input.message);
    case 'done':
      return onReport(state, done);
    case 'failed':
      return onReport(state, (reported) => failed(reported, input.errno));
    case 'lost':
      return lost(state);
    case 'restarted':
      return restarted(state, input.found);
  }
};
