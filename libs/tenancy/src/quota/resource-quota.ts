import {
  categoryOf,
  changeData,
  chargeData,
  commandSubject,
  countData,
  decideObject,
  deleteData,
  dropData,
  eventOf,
  evolveObject,
  notFound,
  objectConsequences,
  objectResource,
  resourceQuotaKind,
  settleData,
  type Amounts,
  type ObjectRules,
  type ObjectState,
  type PresentObject,
  type ResourceQuotaSpec,
} from '@xenolith/contracts';
import type { CommandRoute } from '@xenolith/engine';
import {
  formatBytes,
  ok,
  parseQuantity,
  reject,
  sameJson,
  uuidFrom,
  type Aggregate,
  type Command,
  type Consequences,
  type JsonObject,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';

export const QUOTA_CATEGORY = categoryOf(resourceQuotaKind);

/** What is known of one object: what it has, and what commands that are under way would leave it with. */
interface Charge {
  readonly settled: Amounts;
  readonly pending: Readonly<Record<Uuid, Amounts>>;
}

interface Ledger {
  /** Parts of the first count that are still to come; null: the count has not begun. */
  readonly missing: readonly number[] | null;
  readonly charges: Readonly<Record<Uuid, Charge>>;
  /** The sum over all charges. */
  readonly used: Amounts;
}

export type ResourceQuotaState = ObjectState<ResourceQuotaSpec, Ledger>;
type Quota = PresentObject<ResourceQuotaSpec, Ledger>;

const NOTHING: Charge = { settled: {}, pending: {} };

/**
 * A command is answered within two minutes, or never. One whose end nobody told after this long is asked for: then the log says what came of it. The room
 * is held until then, so that it can't be promised twice.
 */
const DOUBT_MS = 10 * 60_000;

const most = (left: Amounts, right: Amounts): Amounts =>
  Object.fromEntries(
    [...new Set([...Object.keys(left), ...Object.keys(right)])].map((name) => [
      name,
      Math.max(left[name] ?? 0, right[name] ?? 0),
    ]),
  );

/** What is held for an object: as much as it may turn out to have. */
const heldFor = ({ settled, pending }: Charge): Amounts => Object.values(pending).reduce(most, settled);

const moved = (used: Amounts, before: Amounts, after: Amounts): Amounts => {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  const changed = [...names].map((name): [string, number] => [
    name,
    (used[name] ?? 0) + (after[name] ?? 0) - (before[name] ?? 0),
  ]);
  return { ...used, ...Object.fromEntries(changed) };
};

const withCharge = (ledger: Ledger, uid: Uuid, after: Charge): Ledger => {
  const before = ledger.charges[uid] ?? NOTHING;
  const { [uid]: _before, ...others } = ledger.charges;
  const isEmpty = Object.keys(after.pending).length === 0 && Object.keys(after.settled).length === 0;
  return {
    ...ledger,
    charges: isEmpty ? others : { ...others, [uid]: after },
    used: moved(ledger.used, heldFor(before), heldFor(after)),
  };
};

const without = (pending: Charge['pending'], commandId: Uuid): Charge['pending'] => {
  const { [commandId]: _gone, ...others } = pending;
  return others;
};

/** Bytes as Kubernetes writes them, all else as it is. */
const quantityOf = (name: string, amount: number): string =>
  name === 'requests.memory' || name === 'requests.storage' ? formatBytes(amount) : String(amount);

const limitOf = (text: string): number => {
  const parsed = parseQuantity(text);
  return parsed.ok ? parsed.value : 0;
};

const listed = (names: readonly string[], textOf: (name: string) => string): string =>
  names.map((name) => `${name}=${textOf(name)}`).join(',');

const rules: ObjectRules<ResourceQuotaSpec, Ledger> = {
  kind: resourceQuotaKind,
  initialOwn: () => ({ missing: null, charges: {}, used: {} }),
  status: ({ spec, own }) => {
    if (own.missing?.length !== 0) return {};
    const used = Object.keys(spec.hard).map((name) => [name, quantityOf(name, own.used[name] ?? 0)]);
    return { hard: spec.hard, used: Object.fromEntries(used) as JsonObject };
  },
};

const decideCharge = ({ meta, spec, own }: Quota, command: Command): Result<readonly NewEvent[]> => {
  const { uid, commandId, amounts } = chargeData.parse(command.data);
  if (own.missing?.length !== 0)
    return reject(
      'quota_not_counted',
      `status unknown for quota: ${meta.name}, what the namespace has is being counted`,
    );
  const charge = own.charges[uid] ?? NOTHING;
  if (charge.pending[commandId] !== undefined) return ok([]);
  const before = heldFor(charge);
  const after = most(before, amounts);
  const asked = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  const exceeded = Object.entries(spec.hard)
    .filter(([name, hard]) => asked(name) > 0 && (own.used[name] ?? 0) + asked(name) > limitOf(hard))
    .map(([name]) => name)
    .sort();
  if (exceeded.length > 0)
    return reject(
      'quota_exceeded',
      `exceeded quota: ${meta.name}, requested: ${listed(exceeded, (name) => quantityOf(name, asked(name)))}, ` +
        `used: ${listed(exceeded, (name) => quantityOf(name, own.used[name] ?? 0))}, ` +
        `limited: ${listed(exceeded, (name) => spec.hard[name] ?? '')}`,
    );
  return ok([eventOf('ResourceQuotaCharged', { uid, commandId, amounts })]);
};

const decideSettle = ({ own }: Quota, command: Command): readonly NewEvent[] => {
  const { uid, commandId, amounts } = settleData.parse(command.data);
  const charge = own.charges[uid] ?? NOTHING;
  const same = sameJson(charge.settled, amounts ?? {}) && charge.pending[commandId] === undefined;
  return same ? [] : [eventOf('ResourceQuotaSettled', { uid, commandId, amounts })];
};

const decideDrop = ({ own }: Quota, command: Command, type: string): readonly NewEvent[] => {
  const { uid, commandId } = dropData.parse(command.data);
  return own.charges[uid]?.pending[commandId] === undefined ? [] : [eventOf(type, { uid, commandId })];
};

const decideCount = ({ own }: Quota, command: Command): readonly NewEvent[] => {
  const data = countData.parse(command.data);
  const isNew = own.missing === null || own.missing.includes(data.part);
  return isNew ? [eventOf('ResourceQuotaCounted', data as unknown as JsonObject)] : [];
};

const decideOwn = (command: Command, quota: Quota): Result<readonly NewEvent[]> => {
  switch (command.type) {
    case 'ChargeResourceQuota':
      return decideCharge(quota, command);
    case 'SettleResourceQuota':
      return ok(decideSettle(quota, command));
    case 'DropResourceQuotaCharge':
      return ok(decideDrop(quota, command, 'ResourceQuotaChargeDropped'));
    case 'DoubtResourceQuotaCharge':
      return ok(decideDrop(quota, command, 'ResourceQuotaChargeDoubted'));
    case 'CountResourceQuota':
      return ok(decideCount(quota, command));
    default:
      return reject('command_unknown', `a resource quota knows no command ${command.type}`);
  }
};

const decide = (command: Command, state: ResourceQuotaState): Result<readonly NewEvent[]> => {
  const shared = decideObject(rules, command, state);
  if (shared !== null) return shared;
  return state.phase === 'present' ? decideOwn(command, state) : notFound(resourceQuotaKind, command.streamId);
};

const evolveLedger = (own: Ledger, event: NewEvent): Ledger => {
  switch (event.type) {
    case 'ResourceQuotaCounted': {
      const { part, parts, objects } = countData.parse(event.data);
      const all = own.missing ?? Array.from({ length: parts }, (_, index) => index);
      const counted = objects.reduce(
        // An object that a command told of meanwhile is known better by that.
        (ledger, { uid, amounts }) =>
          ledger.charges[uid] === undefined ? withCharge(ledger, uid, { settled: amounts, pending: {} }) : ledger,
        own,
      );
      return { ...counted, missing: all.filter((other) => other !== part) };
    }
    case 'ResourceQuotaCharged': {
      const { uid, commandId, amounts } = chargeData.parse(event.data);
      const { settled, pending } = own.charges[uid] ?? NOTHING;
      return withCharge(own, uid, { settled, pending: { ...pending, [commandId]: amounts } });
    }
    case 'ResourceQuotaChargeDropped': {
      const { uid, commandId } = dropData.parse(event.data);
      const { settled, pending } = own.charges[uid] ?? NOTHING;
      return withCharge(own, uid, { settled, pending: without(pending, commandId) });
    }
    case 'ResourceQuotaSettled': {
      const { uid, commandId, amounts } = settleData.parse(event.data);
      const { pending } = own.charges[uid] ?? NOTHING;
      return withCharge(own, uid, { settled: amounts ?? {}, pending: without(pending, commandId) });
    }
    default:
      return own;
  }
};

const evolve: Aggregate<ResourceQuotaState>['evolve'] = (state, event, place) => {
  const shared = evolveObject(rules, state, event, place);
  if (shared !== null || state.phase === 'absent') return shared ?? state;
  return { ...state, own: evolveLedger(state.own, event) };
};

const doubtId = (commandId: Uuid): Uuid => uuidFrom('quota-doubt', commandId);

/** While a command is under way, a timer asks for its end. */
const timersOf = (event: NewEvent, command: Command): Pick<Consequences, 'timers'> => {
  switch (event.type) {
    case 'ResourceQuotaCharged': {
      const { uid, commandId } = chargeData.parse(event.data);
      const id = doubtId(commandId);
      return {
        timers: [
          {
            op: 'set',
            id,
            dueAt: command.at + DOUBT_MS,
            subject: commandSubject('gateway', 'DoubtResourceQuotaCharge'),
            command: {
              commandId: id,
              type: 'DoubtResourceQuotaCharge',
              streamId: command.streamId,
              data: { uid, commandId },
              actor: 'system:gateway',
              correlationId: commandId,
              causationId: commandId,
              at: command.at + DOUBT_MS,
            },
          },
        ],
      };
    }
    case 'ResourceQuotaSettled':
    case 'ResourceQuotaChargeDropped':
      return { timers: [{ op: 'cancel', id: doubtId((event.data as { commandId: Uuid }).commandId) }] };
    default:
      return {};
  }
};

/** A ledger's stream has several events for each object that came and went. */
const SNAPSHOT_EVERY = 200;

/**
 * A quota is the ledger of its namespace: who makes something takes room in it first, at the exact version of its stream, so that no two can take the
 * same. What the log says became of it settles the account.
 */
export const resourceQuotaAggregate: Aggregate<ResourceQuotaState> = {
  category: QUOTA_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve,
  toResource: (state) => objectResource(rules, state),
  consequences: (event, before, command) => ({
    ...objectConsequences(rules, event, before, command),
    ...timersOf(event, command),
  }),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
  snapshotEvery: SNAPSHOT_EVERY,
};

const category = QUOTA_CATEGORY;

export const resourceQuotaRoutes: readonly CommandRoute[] = [
  { type: 'ChangeResourceQuota', category, schema: changeData },
  { type: 'DeleteResourceQuota', category, schema: deleteData },
  { type: 'ChargeResourceQuota', category, schema: chargeData },
  { type: 'SettleResourceQuota', category, schema: settleData },
  { type: 'DropResourceQuotaCharge', category, schema: dropData },
  { type: 'DoubtResourceQuotaCharge', category, schema: dropData },
  { type: 'CountResourceQuota', category, schema: countData },
];
