import type { Uuid } from '@xenolith/kernel';
import type { Errno } from '../outcome.js';
import { enter, idle, onReport, stay } from './end-steps.js';
import { afterRound, beginPrecopy, type PrecopyPolicy, type PrecopyState } from './policies.js';
import {
  migrationNames,
  type EndInput,
  type EndStep,
  type FoundDomain,
  type MigrationEffect,
  type MigrationMessage,
} from './protocol.js';

/**
 * Where the source stands. Up to `renaming` the machine is the source's and any trouble makes it run on here. From `switching` on the source does not know
 * whether the target has it; it resumes only when the target says that it has not.
 */
export type SourcePhase =
  | 'importing'
  | 'squashing'
  | 'connecting'
  | 'openingMemory'
  | 'preparing'
  | 'precopy'
  | 'suspending'
  | 'finalCopy'
  | 'restoring'
  | 'renaming'
  | 'switching'
  | 'asking'
  | 'cleaning'
  | 'failingBack'
  /** The machine is the target's. */
  | 'migrated'
  /** The machine runs here. */
  | 'failedBack'
  /** The domain is gone from here and the target has it neither: its host failed. */
  | 'lost'
  /** Resuming here keeps failing: an operator must look. */
  | 'stuck';

/** Why a migration failed back: an errno of either end, or what happened. */
export type FailBackReason = Errno | 'cancelled' | 'connectionLost' | 'notConverging' | 'restarted';

export interface SourceState {
  readonly machine: Uuid;
  readonly memoryPages: number;
  readonly phase: SourcePhase;
  readonly policy: PrecopyPolicy;
  readonly precopy: PrecopyState | null;
  /** Set as soon as the migration is to fail back although effects are still under way; a host may then report them as failed at once. */
  readonly failing: FailBackReason | null;
  /** Effects were handed out and not reported. */
  readonly working: boolean;
  /** What must be undone when failing back. */
  readonly undo: {
    readonly memoryRange: boolean;
    readonly logDirty: boolean;
    readonly suspended: boolean;
    readonly renamed: boolean;
  };
  /** Times that resuming here was tried. */
  readonly attempts: number;
  /** The connection is gone; nothing is sent any more but an inquiry over a new one. */
  readonly disconnected: boolean;
}

export type SourceInput =
  | EndInput
  /** A live round was sent to its end; the host says what the guest dirtied during it and what share of the link the migration has. */
  | { readonly type: 'roundFinished'; readonly dirtyPages: number; readonly linkPagesPerSecond: number }
  | { readonly type: 'cancel' }
  /** A new connection to the target stands; only `asking` waits for it. */
  | { readonly type: 'connected' }
  /** The target's host is certainly dead (fenced, or its memory is lost). */
  | { readonly type: 'targetDead' };

/** Resuming a suspended domain hardly ever fails; after so many times it will not succeed. */
export const FAIL_BACK_ATTEMPTS = 3;

/** Begins to send the machine. Pages of 4 KiB. */
export const beginSource = (migration: {
  readonly machine: Uuid;
  readonly memoryPages: number;
  readonly policy: PrecopyPolicy;
}): EndStep<SourceState> => ({
  state: {
    ...migration,
    phase: 'importing',
    precopy: null,
    failing: null,
    working: false,
    undo: { memoryRange: false, logDirty: false, suspended: false, renamed: false },
    attempts: 0,
    disconnected: false,
  },
  messages: [{ type: 'importMetadata' }],
  effects: [],
});

const undoes = (state: SourceState, ...what: readonly (keyof SourceState['undo'])[]): SourceState => ({
  ...state,
  undo: { ...state.undo, ...Object.fromEntries(what.map((name) => [name, true])) },
});

const failBackEffects = ({ machine, undo }: SourceState): readonly MigrationEffect[] => {
  const names = migrationNames(machine);
  const effects: MigrationEffect[] = [];
  // The name comes first: as long as the domain has its temporary one, a restarted toolstack asks the target before it resumes.
  if (undo.renamed) effects.push({ do: 'renameDomain', from: names.source, to: names.final });
  if (undo.suspended) effects.push({ do: 'resumeDomain' });
  if (undo.logDirty) effects.push({ do: 'disableLogDirty' });
  if (undo.memoryRange) effects.push({ do: 'restoreMemoryRange' });
  return effects;
};

const failBack = (state: SourceState, reason: FailBackReason): EndStep<SourceState> => {
  const failing = state.failing ?? reason;
  if (state.working) return stay({ ...state, failing });
  const effects = failBackEffects(state);
  // The target is not told: it learns from the closed connection.
  const closed: SourceState = { ...state, failing, disconnected: true };
  return effects.length === 0 ? enter(closed, 'failedBack') : enter(closed, 'failingBack', { effects });
};

const ask = (state: SourceState): EndStep<SourceState> => enter({ ...state, disconnected: true }, 'asking');

/** The machine is the target's: what is left here goes. */
const cleanUp = (state: SourceState): EndStep<SourceState> =>
  enter(state, 'cleaning', { effects: [{ do: 'destroyDomain', name: migrationNames(state.machine).source }] });

const precopyStep = (state: SourceState, step: ReturnType<typeof beginPrecopy>): EndStep<SourceState> => {
  const next = { ...state, precopy: step.state };
  switch (step.decision.do) {
    case 'send':
      return enter(next, 'precopy', { effects: [{ do: 'sendRound', pages: step.decision.pages }] });
    // Xen has no post-copy: there the guest stops for what is left.
    case 'postcopy':
    case 'stopAndCopy':
      return enter(undoes(next, 'suspended'), 'suspending', { effects: [{ do: 'suspendDomain' }] });
    case 'abort':
      return failBack({ ...next, working: false }, 'notConverging');
  }
};

const done = (state: SourceState): EndStep<SourceState> => {
  if (state.failing !== null && state.phase !== 'failingBack') return failBack(state, state.failing);
  switch (state.phase) {
    case 'squashing':
      return enter(state, 'connecting', { messages: [{ type: 'openControl', memoryPages: state.memoryPages }] });
    case 'preparing':
      return precopyStep(state, beginPrecopy(state.policy, state.memoryPages));
    case 'suspending':
      return enter(state, 'finalCopy', { effects: [{ do: 'sendFinal' }] });
    case 'finalCopy':
      return enter(state, 'restoring', { messages: [{ type: 'endOfStream' }] });
    case 'renaming':
      return enter(state, 'switching', { messages: [{ type: 'handshake', point: '3' }] });
    case 'cleaning':
      return enter(state, 'migrated', { messages: [{ type: 'closed' }] });
    case 'failingBack':
      return enter(state, 'failedBack');
    case 'importing':
    case 'connecting':
    case 'openingMemory':
    case 'precopy':
    case 'restoring':
    case 'switching':
    case 'asking':
    case 'migrated':
    case 'failedBack':
    case 'lost':
    case 'stuck':
      return stay(state);
  }
};

const failed = (state: SourceState, errno: Errno): EndStep<SourceState> => {
  if (state.phase === 'cleaning') return cleanUp(state);
  if (state.phase !== 'failingBack') return failBack(state, errno);
  const attempts = state.attempts + 1;
  return attempts >= FAIL_BACK_ATTEMPTS
    ? enter({ ...state, attempts }, 'stuck')
    : enter({ ...state, attempts }, 'failingBack', { effects: failBackEffects(state) });
};

/** Phases in which it cannot be known from here who has the machine. */
const inDoubt = (state: SourceState): boolean => state.phase === 'switching' || state.phase === 'asking';

/** The machine is certainly the source's, and still to be brought to run here or on its way. */
const owns = (state: SourceState): boolean => {
  switch (state.phase) {
    case 'importing':
    case 'squashing':
    case 'connecting':
    case 'openingMemory':
    case 'preparing':
    case 'precopy':
    case 'suspending':
    case 'finalCopy':
    case 'restoring':
    case 'renaming':
      return true;
    case 'switching':
    case 'asking':
    case 'cleaning':
    case 'failingBack':
    case 'migrated':
    case 'failedBack':
    case 'lost':
    case 'stuck':
      return false;
  }
};

const handshake = (state: SourceState, point: string): EndStep<SourceState> => {
  if (point === '4' && inDoubt(state)) return cleanUp(state);
  if (state.failing !== null || state.disconnected) return stay(state);
  if (point === '1' && state.phase === 'connecting')
    return enter(state, 'openingMemory', { messages: [{ type: 'openMemory' }] });
  if (point === '1-mem' && state.phase === 'openingMemory')
    return enter(undoes(state, 'logDirty'), 'preparing', {
      messages: [{ type: 'handshake', point: '1-mem ACK' }],
      effects: [{ do: 'enableLogDirty' }],
    });
  if (point === '2' && state.phase === 'restoring') {
    const names = migrationNames(state.machine);
    return enter(undoes(state, 'renamed'), 'renaming', {
      effects: [{ do: 'renameDomain', from: names.final, to: names.source }],
    });
  }
  return stay(state);
};

const received = (state: SourceState, message: MigrationMessage): EndStep<SourceState> => {
  switch (message.type) {
    case 'metadataImported':
      return state.phase === 'importing' && !state.disconnected
        ? enter(undoes(state, 'memoryRange'), 'squashing', { effects: [{ do: 'squashMemory' }] })
        : stay(state);
    case 'handshake':
      return handshake(state, message.point);
    case 'handshakeError':
      return owns(state) || inDoubt(state) ? failBack(state, message.errno) : stay(state);
    case 'holds':
      if (state.phase !== 'asking') return stay(state);
      return message.machine ? cleanUp(state) : failBack(state, 'connectionLost');
    case 'importMetadata':
    case 'openControl':
    case 'openMemory':
    case 'endOfStream':
    case 'inquire':
    case 'closed':
      return stay(state);
  }
};

const lost = (state: SourceState): EndStep<SourceState> => {
  if (state.phase === 'switching') return ask(state);
  if (owns(state)) return failBack({ ...state, disconnected: true }, 'connectionLost');
  return stay({ ...state, disconnected: true });
};

/** The name decides: under its temporary one the machine may be the target's already, whatever this end remembers. */
const restarted = (state: SourceState, found: FoundDomain): EndStep<SourceState> => {
  const woken: SourceState = { ...idle(state), disconnected: true };
  switch (state.phase) {
    case 'migrated':
    case 'failedBack':
    case 'lost':
    case 'stuck':
      return stay(woken);
    case 'cleaning':
      return cleanUp(woken);
    case 'importing':
    case 'squashing':
    case 'connecting':
    case 'openingMemory':
    case 'preparing':
    case 'precopy':
    case 'suspending':
    case 'finalCopy':
    case 'restoring':
    case 'renaming':
    case 'switching':
    case 'asking':
    case 'failingBack':
      if (found === 'temporary') return ask(undoes(woken, 'renamed', 'suspended'));
      if (found === 'final') return failBack({ ...woken, undo: { ...woken.undo, renamed: false } }, 'restarted');
      // The domain is gone with its host. Only where the target may have the machine is there anything left to learn.
      return inDoubt(state) ? ask(woken) : enter(woken, 'lost');
  }
};

const cancelled = (state: SourceState): EndStep<SourceState> =>
  owns(state) ? failBack(state, 'cancelled') : { ...stay(state), refused: 'EBUSY' };

/**
 * Moves the source on. Pure; `state` is JSON and may be kept in a journal: what a step hands out may leave the host once its state is kept. What no longer
 * fits (a late message) changes nothing.
 */
export const stepSource = (state: SourceState, input: SourceInput): EndStep<SourceState> => {
  switch (input.type) {
    case 'message':
      return received(state, input.message);
    case 'done':
      return onReport(state, done);
    case 'failed':
      return onReport(state, (reported) => failed(reported, input.errno));
    case 'roundFinished': {
      if (state.phase !== 'precopy' || !state.working || state.precopy === null) return stay(state);
      return state.failing === null
        ? precopyStep(idle(state), afterRound(state.precopy, input))
        : failBack(idle(state), state.failing);
    }
    case 'lost':
      return lost(state);
    case 'restarted':
      return restarted(state, input.found);
    case 'cancel':
      return cancelled(state);
    case 'connected':
      return state.phase === 'asking' ? { ...stay(state), messages: [{ type: 'inquire' }] } : stay(state);
    case 'targetDead':
      // The target may have run the machine before it died: the copy here is out of date and must not run again.
      if (inDoubt(state)) return cleanUp(state);
      return owns(state) ? failBack(state, 'connectionLost') : stay(state);
  }
};
