import {
  categoryOf,
  evolveObject,
  objectResource,
  rebalancePlanKind,
  timestamp,
  type Condition,
  type MachineReference,
  type ObjectRules,
  type ObjectState,
  type PlanCause,
  type PresentObject,
  type RebalancePhase,
  type RebalancePlanEvent,
  type RebalancePlanSpec,
  type RebalanceProposal,
} from '@xenolith/contracts';
import { uuidFrom, type EventPlace, type JsonObject, type NewEvent, type Uuid } from '@xenolith/kernel';

type MoveOutcome = Extract<RebalancePlanEvent, { type: 'RebalanceMoveEnded' }>['data']['outcome'];

export type PlanMove = RebalanceProposal['moves'][number] & {
  readonly phase: 'Pending' | 'Running' | MoveOutcome;
  readonly message: string;
};

export interface RebalancePlanOwn {
  readonly phase: RebalancePhase;
  readonly cause: PlanCause;
  readonly moves: readonly PlanMove[];
  readonly blocked: RebalanceProposal['blocked'];
  readonly emptied: readonly string[];
  /** Hosts that are powered off at its end; absent: none. */
  readonly parks?: RebalanceProposal['parks'];
  readonly before: RebalanceProposal['before'];
  readonly after: RebalanceProposal['after'];
  readonly approvedBy: string | null;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** Why it ended as it did. */
  readonly message: string;
  /** Why nothing more begins. */
  readonly cancelled: string | null;
  /** Not all moves of a maintenance's plan succeeded: the next one waits a while. */
  readonly pausing: boolean;
}

export type RebalancePlanState = ObjectState<RebalancePlanSpec, RebalancePlanOwn>;
export type PresentPlan = PresentObject<RebalancePlanSpec, RebalancePlanOwn>;

export const REBALANCE_PLAN_CATEGORY = categoryOf(rebalancePlanKind);

/** Keeps a plan that is being carried out until its last migration has ended. */
export const REBALANCE_PLAN_FINALIZER = 'scheduling.xenolith.dev/rebalance-plan';

export const isOver = (move: PlanMove): boolean => move.phase !== 'Pending' && move.phase !== 'Running';

/** The wave that is under way; null: all moves are over. */
export const currentWave = ({ moves }: Pick<RebalancePlanOwn, 'moves'>): number | null => {
  const waves = moves.filter((move) => !isOver(move)).map((move) => move.wave);
  return waves.length === 0 ? null : Math.min(...waves);
};

/** The Operation of a move has its id from the first: whatever is heard of it finds its plan. */
export const moveOperation = (plan: Uuid, move: number): Uuid => uuidFrom(plan, 'move', move);
export const moveOperationName = (operation: Uuid): string => `rebalance-${operation.slice(0, 8)}`;

export const machineName = ({ namespace, name }: MachineReference): string => `${namespace}/${name}`;

const NOTHING = { lowest: 0, mean: 0, highest: 0 };
const NO_FIGURES = { hosts: 0, emptyHosts: 0, machines: 0, cpu: NOTHING, memory: NOTHING, imbalance: 0 };

const NOT_PROPOSED: RebalancePlanOwn = {
  phase: 'Proposed',
  cause: { by: 'User' },
  moves: [],
  blocked: [],
  emptied: [],
  before: NO_FIGURES,
  after: NO_FIGURES,
  approvedBy: null,
  startedAt: null,
  endedAt: null,
  message: '',
  cancelled: null,
  pausing: false,
};

const changeMove = (own: RebalancePlanOwn, place: number, change: Partial<PlanMove>): RebalancePlanOwn => ({
  ...own,
  moves: own.moves.map((move, index) => (index === place && !isOver(move) ? { ...move, ...change } : move)),
});

/** Moves of the wave that is under way may have begun: they come to their end. */
const cancelled = (own: RebalancePlanOwn, because: string): RebalancePlanOwn => {
  const wave = own.phase === 'Executing' ? currentWave(own) : null;
  const moves = own.moves.map((move) =>
    isOver(move) || move.wave === wave ? move : { ...move, phase: 'Cancelled' as const, message: because },
  );
  return { ...own, moves, cancelled: because };
};

const ended = (own: RebalancePlanOwn, phase: RebalancePhase, at: number, message: string): RebalancePlanOwn => ({
  ...own,
  phase,
  message,
  endedAt: at,
  pausing:
    phase !== 'Cancelled' && own.cause.by === 'Maintenance' && own.moves.some((move) => move.phase !== 'Succeeded'),
});

const evolveOwn = (own: RebalancePlanOwn, event: RebalancePlanEvent, { at }: EventPlace): RebalancePlanOwn => {
  switch (event.type) {
    case 'RebalancePlanProposed': {
      const { moves, ...proposed } = event.data;
      return { ...own, ...proposed, moves: moves.map((move) => ({ ...move, phase: 'Pending', message: '' })) };
    }
    case 'RebalancePlanApproved':
      return { ...own, phase: 'Executing', approvedBy: event.data.by, startedAt: at };
    case 'RebalanceMoveStarted':
      return changeMove(own, event.data.move, { phase: 'Running' });
    case 'RebalanceMoveEnded':
      return changeMove(own, event.data.move, { phase: event.data.outcome, message: event.data.message });
    case 'RebalancePlanCancelRequested':
      return cancelled(own, event.data.because);
    case 'RebalancePlanCompleted':
      return ended(own, 'Completed', at, event.data.message);
    case 'RebalancePlanFailed':
      return ended(own, 'Failed', at, event.data.message);
    case 'RebalancePlanCancelled':
      return ended(own, 'Cancelled', at, event.data.message);
    case 'RebalancePauseEnded':
      return { ...own, pausing: false };
    case 'RebalancePlanCreated':
    case 'RebalancePlanMetadataChanged':
    case 'RebalancePlanSpecChanged':
    case 'RebalancePlanDeletionRequested':
    case 'RebalancePlanDeleted':
      return own;
  }
};

/** The finalizer is there exactly while the plan is being carried out. */
const withFinalizer = (plan: PresentPlan): PresentPlan['meta'] => {
  const others = plan.meta.finalizers.filter((finalizer) => finalizer !== REBALANCE_PLAN_FINALIZER);
  const finalizers = plan.own.phase === 'Executing' ? [...others, REBALANCE_PLAN_FINALIZER] : others;
  return { ...plan.meta, finalizers };
};

export const evolveRebalancePlan = (
  state: RebalancePlanState,
  event: NewEvent,
  place: EventPlace,
): RebalancePlanState => {
  const shared = evolveObject(rebalancePlanRules, state, event, place);
  if (shared !== null) return shared;
  if (state.phase === 'absent') return state;
  const after = { ...state, own: evolveOwn(state.own, event as unknown as RebalancePlanEvent, place) };
  return after.own.phase === state.own.phase ? after : { ...after, meta: withFinalizer(after) };
};

export const counted = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;

/** A clause on machines that stay; empty: there are none. */
export const cantMove = (blocked: readonly unknown[]): string =>
  blocked.length === 0 ? '' : `; ${counted(blocked.length, 'machine', 'machines')} can't move`;

/** A clause on hosts that are powered off. */
const parked = (parks: RebalanceProposal['parks'] = []): string =>
  parks.length === 0 ? '' : `; parks ${parks.map(({ host }) => host).join(', ')}`;

/** What the plan comes to, in a sentence. */
export const outcomeOf = ({ moves, blocked, parks }: Pick<RebalancePlanOwn, 'moves' | 'blocked' | 'parks'>): string => {
  if (moves.length === 0) return `there was nothing to move${cantMove(blocked)}${parked(parks)}`;
  const count = (phase: PlanMove['phase']): number => moves.filter((move) => move.phase === phase).length;
  const others = (['Failed', 'Skipped', 'Cancelled'] as const)
    .filter((phase) => count(phase) > 0)
    .map((phase) => `${count(phase)} ${phase.toLowerCase()}`);
  const succeeded = `${count('Succeeded')} of ${counted(moves.length, 'move', 'moves')} succeeded`;
  return `${[succeeded, ...others].join(', ')}${cantMove(blocked)}${parked(parks)}`;
};

const messageOf = (own: RebalancePlanOwn): string => {
  if (own.message !== '') return own.message;
  if (own.moves.length === 0) return `nothing to move${cantMove(own.blocked)}${parked(own.parks)}`;
  const [before, after] = [own.before, own.after];
  const imbalance = `imbalance ${before.imbalance} to ${after.imbalance}`;
  const empty = `empty hosts ${before.emptyHosts} to ${after.emptyHosts}`;
  return `${counted(own.moves.length, 'move', 'moves')}: ${imbalance}, ${empty}${cantMove(own.blocked)}${parked(own.parks)}`;
};

const CONDITION: Readonly<Record<RebalancePhase, Condition['status']>> = {
  Proposed: 'False',
  Executing: 'False',
  Completed: 'True',
  Failed: 'False',
  Cancelled: 'False',
};

const statusOf = (plan: PresentPlan): JsonObject => {
  const { own, meta } = plan;
  const begun = own.phase === 'Executing' || own.endedAt !== null;
  const lastTransitionTime = timestamp(own.endedAt ?? own.startedAt ?? 0);
  return {
    phase: own.phase,
    cause: own.cause.by,
    message: messageOf(own),
    progress: `${own.moves.filter(isOver).length}/${own.moves.length}`,
    ...(own.approvedBy === null ? {} : { approvedBy: own.approvedBy }),
    ...(own.startedAt === null ? {} : { startTime: timestamp(own.startedAt) }),
    ...(own.endedAt === null ? {} : { completionTime: timestamp(own.endedAt) }),
    ...(own.cause.by === 'Maintenance' ? { maintenance: own.cause.maintenance, attempt: own.cause.attempt } : {}),
    ...(own.pausing ? { pausing: true } : {}),
    moves: own.moves.map(({ message, ...move }, index) => ({
      ...move,
      ...(begun ? { operation: moveOperationName(moveOperation(meta.uid, index)) } : {}),
      ...(message === '' ? {} : { message }),
    })),
    ...(own.blocked.length === 0 ? {} : { blocked: own.blocked }),
    ...(own.emptied.length === 0 ? {} : { emptied: [...own.emptied] }),
    ...(own.parks === undefined || own.parks.length === 0 ? {} : { parks: own.parks }),
    before: own.before,
    after: own.after,
    conditions: [
      {
        type: 'Complete',
        status: CONDITION[own.phase],
        reason: own.phase,
        message: messageOf(own),
        lastTransitionTime: begun ? lastTransitionTime : meta.creationTimestamp,
      },
    ],
  };
};

export const rebalancePlanRules: ObjectRules<RebalancePlanSpec, RebalancePlanOwn> = {
  kind: rebalancePlanKind,
  initialOwn: () => NOT_PROPOSED,
  status: statusOf,
};

export const rebalancePlanResource = (state: RebalancePlanState): JsonObject | null =>
  objectResource(rebalancePlanRules, state);
