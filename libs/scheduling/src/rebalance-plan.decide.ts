import {
  commandSubject,
  decideObject,
  eventOf,
  invalid,
  objectConsequences,
  rebalancePlanCommands,
  rebalancePlanKind,
  rebalanceProposal,
  timestamp,
  type DesiredMetadata,
  type ObjectRules,
  type PlanCause,
  type RebalancePlanEvent,
  type RebalancePlanSpec,
  type RebalanceProposal,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  sameJson,
  uuidFrom,
  type Aggregate,
  type ClaimChange,
  type Command,
  type Consequences,
  type EventPlace,
  type FieldCause,
  type JsonObject,
  type NewEvent,
  type NewTimer,
  type Result,
} from '@xenolith/kernel';
import {
  currentWave,
  evolveRebalancePlan,
  isOver,
  outcomeOf,
  REBALANCE_PLAN_CATEGORY,
  REBALANCE_PLAN_FINALIZER,
  rebalancePlanResource,
  rebalancePlanRules,
  type PresentPlan,
  type RebalancePlanOwn,
  type RebalancePlanState,
} from './rebalance-plan.js';

type Decision = Result<readonly NewEvent[]>;

/** Held by the plan that is carried out among those that move machines about in a cluster. */
export const EXECUTING_SCOPE = 'rebalance/executing';
/** Held by the cluster policy's own plan until it is over or gone. */
export const SCHEDULED_SCOPE = 'rebalance/scheduled';

/** Held by the plan that empties a host under maintenance, until it is over. */
export const MAINTENANCE_SCOPE = 'rebalance/maintenance';

/** How long a plan can be looked at after its end: as long as an Operation. */
const TIME_TO_LIVE_MS = 3_600_000;

/** A maintenance whose plan was not carried out whole is planned again after a pause, which doubles while that goes on. */
const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 600_000;

const NOTHING: Decision = ok([]);

const event = (type: RebalancePlanEvent['type'], data: object): NewEvent => eventOf(type, data as JsonObject);

const checkCreate = ({ mode, hosts, park }: RebalancePlanSpec): readonly FieldCause[] => {
  if (park === true && mode !== 'consolidate')
    return [{ field: 'spec.park', reason: 'FieldValueForbidden', message: `is of mode consolidate, not of ${mode}` }];
  if (mode === 'evacuate' && hosts === undefined)
    return [{ field: 'spec.hosts', reason: 'FieldValueRequired', message: 'names the hosts that are to be emptied' }];
  if (mode !== 'evacuate' && hosts !== undefined)
    return [{ field: 'spec.hosts', reason: 'FieldValueForbidden', message: `is of mode evacuate, not of ${mode}` }];
  return [];
};

/** The end of a plan of which nothing is under way any more. */
const endOf = (plan: PresentPlan): readonly NewEvent[] => {
  const { own, meta } = plan;
  if (own.phase === 'Executing' && currentWave(own) !== null) return [];
  const message = own.cancelled === null ? outcomeOf(own) : `${own.cancelled}: ${outcomeOf(own)}`;
  const failed = own.moves.some((move) => move.phase === 'Failed');
  const type = own.cancelled !== null ? 'Cancelled' : failed ? 'Failed' : 'Completed';
  const gone =
    meta.deletionTimestamp !== undefined &&
    meta.finalizers.every((finalizer) => finalizer === REBALANCE_PLAN_FINALIZER);
  return [event(`RebalancePlan${type}`, { message }), ...(gone ? [event('RebalancePlanDeleted', {})] : [])];
};

/** The events with what they bring to an end. */
const thenEnd = (plan: PresentPlan, command: Command, events: readonly NewEvent[]): readonly NewEvent[] => {
  const place: EventPlace = { streamId: command.streamId, version: 0, at: command.at, actor: command.actor };
  let state: RebalancePlanState = { phase: 'present', ...plan };
  for (const one of events) state = evolveRebalancePlan(state, one, place);
  return state.phase === 'present' && state.own.phase === 'Executing' ? [...events, ...endOf(state)] : events;
};

const onSpecChange = (plan: PresentPlan, wished: RebalancePlanSpec, command: Command): Decision => {
  const forbidden = (field: string, message: string): Result<never> =>
    invalid(rebalancePlanKind, plan.meta, [{ field, reason: 'FieldValueForbidden', message }]);
  if (!sameJson({ ...wished, approved: false }, { ...plan.spec, approved: false }))
    return forbidden('spec', 'can not change: it says what the plan was made for; make another plan');
  if (plan.own.phase !== 'Proposed')
    return forbidden('spec.approved', `can not change: the plan is ${plan.own.phase}; delete it to end it`);
  const changed = event('RebalancePlanSpecChanged', { spec: wished });
  return ok(thenEnd(plan, command, [changed, event('RebalancePlanApproved', { by: command.actor })]));
};

const cancellation = (plan: PresentPlan, command: Command, because: string): readonly NewEvent[] =>
  plan.own.cancelled === null ? thenEnd(plan, command, [event('RebalancePlanCancelRequested', { because })]) : [];

/** What is under way comes to its end first. */
const onDeletion = (plan: PresentPlan, command: Command): Decision =>
  ok(plan.own.phase === 'Executing' ? cancellation(plan, command, `deleted by ${command.actor}`) : []);

const rules: ObjectRules<RebalancePlanSpec, RebalancePlanOwn> = {
  ...rebalancePlanRules,
  checkCreate,
  onSpecChange,
  onDeletion,
};
/** While the plan is carried out its finalizer is the scheduler's to take off. */
const executingRules: typeof rules = { ...rules, teardownFinalizer: REBALANCE_PLAN_FINALIZER };

/** The plan is there from the first; one that is approved begins in the same append. */
const create = (command: Command, asked: { readonly data: object; readonly cause: PlanCause }): Decision => {
  const created = decideObject(
    rules,
    { ...command, type: CHANGE, data: asked.data as JsonObject },
    { phase: 'absent' },
  );
  if (!created?.ok) return created ?? NOTHING;
  const found: RebalanceProposal = rebalanceProposal.parse(command.data['proposal']);
  const proposed = [...created.value, event('RebalancePlanProposed', { cause: asked.cause, ...found })];
  const place: EventPlace = { streamId: command.streamId, version: 1, at: command.at, actor: command.actor };
  let state: RebalancePlanState = { phase: 'absent' };
  for (const one of proposed) state = evolveRebalancePlan(state, one, place);
  if (state.phase !== 'present' || !state.spec.approved) return ok(proposed);
  return ok([...proposed, ...thenEnd(state, command, [event('RebalancePlanApproved', { by: command.actor })])]);
};

const CHANGE = `Change${rebalancePlanKind.kind}`;

const propose = (command: Command, state: RebalancePlanState): Decision => {
  if (state.phase !== 'absent') return NOTHING;
  const { proposal: _found, ...data } = command.data;
  const { name, spec, cause, ownerReferences } = rebalancePlanCommands.ProposeRebalancePlan.parse(data);
  const metadata: DesiredMetadata = {
    name,
    labels: {},
    annotations: {},
    finalizers: [],
    ownerReferences,
    managedFields: [],
  };
  return create(command, { data: { intent: 'create', metadata, spec }, cause });
};

const decideMoveStarted = ({ own }: PresentPlan, command: Command): Decision => {
  const { move } = rebalancePlanCommands.RecordMoveStarted.parse(command.data);
  return own.moves[move]?.phase === 'Pending' ? ok([event('RebalanceMoveStarted', { move })]) : NOTHING;
};

const decideMoveEnded = (plan: PresentPlan, command: Command): Decision => {
  const data = rebalancePlanCommands.RecordMoveEnded.parse(command.data);
  const move = plan.own.moves[data.move];
  if (plan.own.phase !== 'Executing' || move === undefined || isOver(move)) return NOTHING;
  return ok(thenEnd(plan, command, [event('RebalanceMoveEnded', data)]));
};

const decideCancel = (plan: PresentPlan, command: Command): Decision => {
  const { because } = rebalancePlanCommands.CancelRebalancePlan.parse(command.data);
  if (plan.own.phase === 'Executing') return ok(cancellation(plan, command, because));
  return ok(plan.own.pausing ? [event('RebalancePauseEnded', {})] : []);
};

const decideRemove = (plan: PresentPlan, command: Command): Decision => {
  const { own, meta } = plan;
  if (own.endedAt === null || meta.deletionTimestamp !== undefined) return NOTHING;
  const { finalizers } = meta;
  const requested = event('RebalancePlanDeletionRequested', { deletionTimestamp: timestamp(command.at), finalizers });
  return ok(finalizers.length === 0 ? [requested, event('RebalancePlanDeleted', {})] : [requested]);
};

const decideOwn = (plan: PresentPlan, command: Command): Decision => {
  switch (command.type) {
    case 'RecordMoveStarted':
      return decideMoveStarted(plan, command);
    case 'RecordMoveEnded':
      return decideMoveEnded(plan, command);
    case 'CancelRebalancePlan':
      return decideCancel(plan, command);
    case 'EndRebalancePause':
      return ok(plan.own.pausing ? [event('RebalancePauseEnded', {})] : []);
    case 'RemoveRebalancePlan':
      return decideRemove(plan, command);
    default:
      return reject('command_unknown', `rebalance plans know no command ${command.type}`);
  }
};

const decide = (command: Command, state: RebalancePlanState): Decision => {
  if (command.type === 'ProposeRebalancePlan') return propose(command, state);
  const { proposal, ...data } = command.data;
  if (state.phase === 'absent' && proposal !== undefined) return create(command, { data, cause: { by: 'User' } });
  const executing = state.phase === 'present' && state.own.phase === 'Executing';
  const shared = decideObject(executing ? executingRules : rules, { ...command, data }, state);
  if (shared !== null) return shared;
  // What is recorded of a plan that is gone changes nothing.
  return state.phase === 'present' ? decideOwn(state, command) : NOTHING;
};

const TIMERS = ['RemoveRebalancePlan', 'EndRebalancePause'] as const;

const timer = (
  type: (typeof TIMERS)[number],
  { streamId, commandId: cause, at }: Command,
  delayMs: number,
): NewTimer => {
  const commandId = uuidFrom(streamId, type, cause);
  const dueAt = at + delayMs;
  const message = { commandId, type, streamId, data: {}, actor: 'system:scheduler', at: dueAt };
  return {
    op: 'set',
    id: uuidFrom(streamId, type),
    dueAt,
    subject: commandSubject('scheduler', type),
    command: { ...message, correlationId: commandId, causationId: cause },
  };
};

/** What a plan holds from when it is made, or approved. */
const claimsOf = (plan: PresentPlan, cause: PlanCause): Readonly<Record<'made' | 'approved', ClaimChange | null>> => {
  const claim = (scope: string, value: string): ClaimChange => ({ op: 'claim', scope, value, holder: plan.meta.uid });
  const { cluster, mode } = plan.spec;
  const made =
    cause.by === 'Schedule' || cause.by === 'PowerManagement'
      ? claim(SCHEDULED_SCOPE, cluster)
      : cause.by === 'Maintenance'
        ? claim(MAINTENANCE_SCOPE, cause.maintenance)
        : null;
  return { made, approved: mode === 'evacuate' ? null : claim(EXECUTING_SCOPE, cluster) };
};

const claims = (...changes: readonly (ClaimChange | null)[]): readonly ClaimChange[] =>
  changes.filter((change) => change !== null);

const released = (plan: PresentPlan): readonly ClaimChange[] =>
  claims(...Object.values(claimsOf(plan, plan.own.cause))).map((held) => ({ ...held, op: 'release' }));

const atEnd = (before: PresentPlan, stored: NewEvent, command: Command): Consequences => {
  const place: EventPlace = { streamId: command.streamId, version: 0, at: command.at, actor: command.actor };
  const after = evolveRebalancePlan({ phase: 'present', ...before }, stored, place);
  if (after.phase !== 'present') return {};
  const { cause, pausing } = after.own;
  const attempt = cause.by === 'Maintenance' ? cause.attempt : 0;
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS);
  return {
    claims: released(before),
    timers: [
      timer('RemoveRebalancePlan', command, TIME_TO_LIVE_MS),
      ...(pausing ? [timer('EndRebalancePause', command, pauseMs)] : []),
    ],
  };
};

const consequences = (stored: NewEvent, before: RebalancePlanState, command: Command): Consequences => {
  const plan = stored as unknown as RebalancePlanEvent;
  const shared = objectConsequences(rebalancePlanRules, stored, before, command);
  if (before.phase !== 'present') return shared;
  const uid = command.streamId;
  switch (plan.type) {
    case 'RebalancePlanProposed':
      return { claims: claims(claimsOf(before, plan.data.cause).made) };
    case 'RebalancePlanApproved':
      return { claims: claims(claimsOf(before, before.own.cause).approved) };
    case 'RebalancePlanCompleted':
    case 'RebalancePlanFailed':
    case 'RebalancePlanCancelled':
      return atEnd(before, stored, command);
    case 'RebalancePlanDeleted':
      return {
        claims: [...(shared.claims ?? []), ...released(before)],
        timers: TIMERS.map((type) => ({ op: 'cancel', id: uuidFrom(uid, type) })),
      };
    case 'RebalancePlanCreated':
    case 'RebalancePlanMetadataChanged':
    case 'RebalancePlanSpecChanged':
    case 'RebalancePlanDeletionRequested':
    case 'RebalancePlanCancelRequested':
    case 'RebalanceMoveStarted':
    case 'RebalanceMoveEnded':
    case 'RebalancePauseEnded':
      return shared;
  }
};

export const rebalancePlanAggregate: Aggregate<RebalancePlanState> = {
  category: REBALANCE_PLAN_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: evolveRebalancePlan,
  toResource: rebalancePlanResource,
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
