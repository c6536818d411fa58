import {
  commandSubject,
  eventOf,
  hostPowerCommands,
  hostPowerEvents,
  timestamp,
  POWER_LIMIT_MS,
  type HostEvent,
  type HostPowerEvent,
} from '@xenolith/contracts';
import {
  ok,
  uuidFrom,
  type Command,
  type Consequences,
  type EventPlace,
  type JsonObject,
  type NewEvent,
  type NewTimer,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import type { HostPower, HostState, PresentHost } from './host.state.js';
import { trusted } from './trusted.js';

type Decision = Result<readonly NewEvent[]>;
type HostSpec = PresentHost['spec'];

const NOTHING: Decision = ok([]);

/** What came to nothing is tried again after a pause, which doubles: a broken power supply is not asked all the time. */
const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 600_000;

const pauseMs = (failures: number): number => Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);

const event = (type: HostEvent['type'], data: object): NewEvent => eventOf(type, data as JsonObject);

const shutdown = (failures = 0): NewEvent => event('HostShutdownBegun', { failures });
const wake = (reason: string, failures = 0): NewEvent => event('HostWakeBegun', { reason, failures });

const isEmpty = ({ own }: PresentHost): boolean => own.maintenance?.remaining === 0;

/** The id of a power command that the host was sent. */
export const powerCommandId = (host: Uuid, turn: number): Uuid => uuidFrom(host, 'power', turn);

/** What a change of the wish for the host's power brings, beside the changed spec. */
export const onPowerWish = (host: PresentHost, wished: HostSpec, reason: string): readonly NewEvent[] => {
  const { state } = host.own.power;
  const parked = wished.parked === true;
  if (parked === (host.spec.parked === true)) return [];
  // One that starts already is told so anew, as the parking has ended its time.
  if (!parked) return state === 'On' ? [event('HostParkingEnded', { reason })] : [wake(reason)];
  const begun = event('HostParkingBegun', { reason });
  return (state === 'On' || state === 'Starting') && isEmpty(host) ? [begun, shutdown()] : [begun];
};

/** Somebody changes the host's spec: what it brings for its power is decided in the same append. */
export const onSpecChange = (host: PresentHost, wished: HostSpec, command: Command): Decision => {
  const by = command.actor.replace(/^user:/, '');
  const reason = wished.parked === true ? `parked by ${by}` : `woken by ${by}`;
  const changed = event('HostSpecChanged', { spec: wished });
  return ok([changed, ...onPowerWish(host, wished, reason)]);
};

/** The scheduler wishes it. */
const decideWish = (host: PresentHost, parked: boolean, reason: string): Decision => {
  const { spec, meta } = host;
  if (parked === (spec.parked === true) || meta.deletionTimestamp !== undefined) return NOTHING;
  const wished = { ...spec, parked };
  return ok([event('HostSpecChanged', { spec: wished }), ...onPowerWish(host, wished, reason)]);
};

/** An empty host that is to be parked is shut down; one where a machine came in the same moment is needed on. */
export const onEvacuation = (host: PresentHost, remaining: number): readonly NewEvent[] => {
  if (host.spec.parked !== true) return [];
  const { state } = host.own.power;
  if (remaining === 0) return state === 'On' || state === 'Starting' ? [shutdown()] : [];
  const came = 'a virtual machine was placed on it in the moment that it was parked';
  return state === 'ShuttingDown' || state === 'Off' ? [wake(came)] : [];
};

/** What a registration says of the power; null: it is of a boot that has ended, and says nothing. */
export const onRegistration = (host: PresentHost, bootId: Uuid): readonly NewEvent[] | null => {
  const { power, registration } = host.own;
  const known = registration?.bootId === bootId;
  switch (power.state) {
    case 'On':
    case 'ShuttingDown':
      return [];
    case 'Off':
      return known ? null : woken(host, bootId);
    case 'Starting':
      return known && power.bootId !== bootId ? null : woken(host, bootId);
  }
};

/** A host that comes up though it is to be parked is shut down again. */
const woken = (host: PresentHost, bootId: Uuid): readonly NewEvent[] => [
  event('HostWoken', { bootId }),
  event('HostBecameReady', {}),
  ...(host.spec.parked === true && isEmpty(host) ? [shutdown()] : []),
];

const decidePoweredOn = (host: PresentHost, command: Command): Decision => {
  const { turn, bootId } = trusted(hostPowerCommands.RecordHostPoweredOn, command);
  const { power, registration } = host.own;
  if (power.state !== 'Starting' || power.turn !== turn || power.bootId !== null) return NOTHING;
  const on = event('HostPoweredOn', { bootId });
  // The same boot as before: it never went off, and its agent has no reason to register.
  return ok(registration?.bootId === bootId ? [on, ...woken(host, bootId)] : [on]);
};

const failed = ({ power }: PresentHost['own'], at: number, message: string): Decision =>
  ok([event('HostPowerFailed', { message, retryAt: at + pauseMs(power.failures) })]);

const decideRefused = ({ own }: PresentHost, command: Command): Decision => {
  const { turn, message } = trusted(hostPowerCommands.RecordHostPowerRefused, command);
  const { power } = own;
  if (power.turn !== turn || power.retryAt !== null) return NOTHING;
  if (power.state === 'ShuttingDown') return failed(own, command.at, `it could not be powered off: ${message}`);
  return power.state === 'Starting' ? failed(own, command.at, `it could not be powered on: ${message}`) : NOTHING;
};

const decideExpiry = ({ own }: PresentHost, command: Command): Decision => {
  const { turn } = trusted(hostPowerCommands.ExpireHostPower, command);
  const { power } = own;
  const isOpen = power.state === 'Starting' || power.state === 'ShuttingDown';
  if (!isOpen || power.turn !== turn || power.retryAt !== null) return NOTHING;
  const minutes = POWER_LIMIT_MS / 60_000;
  const what = power.bootId === null ? 'nobody answered for its power' : 'it was powered on, and did not register';
  return failed(own, command.at, `${what} within ${minutes} minutes`);
};

const decideRetry = ({ own, spec }: PresentHost, command: Command): Decision => {
  const { turn } = trusted(hostPowerCommands.RetryHostPower, command);
  const { state, reason, failures, retryAt, turn: last } = own.power;
  if (last !== turn || retryAt === null) return NOTHING;
  if (state === 'ShuttingDown') return ok([shutdown(failures)]);
  return state === 'Off' && spec.parked !== true ? ok([wake(reason, failures)]) : NOTHING;
};

/** Null: the command is not about power. */
export const decidePower = (host: PresentHost, command: Command): Decision | null => {
  switch (command.type) {
    case 'ParkHost':
      return decideWish(host, true, trusted(hostPowerCommands.ParkHost, command).reason);
    case 'WakeHost':
      return decideWish(host, false, trusted(hostPowerCommands.WakeHost, command).reason);
    case 'RecordHostPoweredOff': {
      const { turn } = trusted(hostPowerCommands.RecordHostPoweredOff, command);
      const { power } = host.own;
      return power.state === 'ShuttingDown' && power.turn === turn ? ok([event('HostPoweredOff', {})]) : NOTHING;
    }
    case 'RecordHostPoweredOn':
      return decidePoweredOn(host, command);
    case 'RecordHostPowerRefused':
      return decideRefused(host, command);
    case 'ExpireHostPower':
      return decideExpiry(host, command);
    case 'RetryHostPower':
      return decideRetry(host, command);
    default:
      return null;
  }
};

/** The next power command; what went wrong with the last is over. */
const begun = (power: HostPower, state: HostPower['state'], now: string, failures: number): HostPower => ({
  ...power,
  state,
  since: now,
  turn: power.turn + 1,
  bootId: null,
  failures,
  retryAt: null,
  message: failures === 0 ? '' : power.message,
});

export const isPowerEvent = (event: HostEvent): event is HostPowerEvent => event.type in hostPowerEvents;

/** What a registration or a crash says of the power. */
const evolveOn = (power: HostPower, stored: HostEvent, now: string): HostPower => {
  if (stored.type === 'HostRegistered' && power.since === null)
    return { ...power, since: now, reason: 'it registered' };
  if (stored.type !== 'HostCrashed' || power.state !== 'On') return power;
  return { ...power, since: now, reason: 'it crashed and booted again' };
};

export const evolvePower = (power: HostPower, stored: HostEvent, { at }: EventPlace): HostPower => {
  const now = timestamp(at);
  if (!isPowerEvent(stored)) return evolveOn(power, stored, now);
  switch (stored.type) {
    case 'HostParkingBegun':
    case 'HostParkingEnded':
      return { ...power, reason: stored.data.reason, failures: 0, message: '', retryAt: null };
    case 'HostShutdownBegun':
      return begun(power, 'ShuttingDown', now, stored.data.failures);
    case 'HostWakeBegun':
      return { ...begun(power, 'Starting', now, stored.data.failures), reason: stored.data.reason };
    case 'HostPoweredOff':
      return { ...power, state: 'Off', since: now, failures: 0, message: '', retryAt: null };
    case 'HostPoweredOn':
      return { ...power, bootId: stored.data.bootId };
    case 'HostWoken':
      return { ...power, state: 'On', since: now, failures: 0, message: '', retryAt: null };
    case 'HostPowerFailed': {
      const { message, retryAt } = stored.data;
      const state = power.state === 'Starting' ? { state: 'Off' as const, since: now } : {};
      return { ...power, ...state, message, retryAt, failures: power.failures + 1 };
    }
  }
};

const TIMERS = ['ExpireHostPower', 'RetryHostPower'] as const;

const timerId = (host: Uuid, type: (typeof TIMERS)[number], turn: number): Uuid => uuidFrom(host, type, turn);

const powerTimer = (
  host: Uuid,
  type: (typeof TIMERS)[number],
  { turn, dueAt }: { readonly turn: number; readonly dueAt: number },
): NewTimer => {
  const id = timerId(host, type, turn);
  const message = { commandId: id, type, streamId: host, data: { turn }, actor: 'system:compute', at: dueAt };
  return {
    op: 'set',
    id,
    dueAt,
    subject: commandSubject('compute', type),
    command: { ...message, correlationId: id, causationId: id },
  };
};

/** What is asked of a host’s power has a timer for its end; what came to nothing has one for the next attempt. */
export const powerConsequences = (stored: HostEvent, before: HostState, command: Command): Consequences => {
  if (before.phase !== 'present') return {};
  const host = command.streamId;
  const { turn } = before.own.power;
  const none = (): Consequences => ({
    timers: TIMERS.map((type) => ({ op: 'cancel', id: timerId(host, type, turn) })),
  });
  if (stored.type === 'HostDeleted') return none();
  if (!isPowerEvent(stored)) return {};
  switch (stored.type) {
    case 'HostWakeBegun':
    case 'HostShutdownBegun':
      return { timers: [powerTimer(host, 'ExpireHostPower', { turn: turn + 1, dueAt: command.at + POWER_LIMIT_MS })] };
    case 'HostPowerFailed':
      return { timers: [powerTimer(host, 'RetryHostPower', { turn, dueAt: stored.data.retryAt })] };
    case 'HostParkingBegun':
    case 'HostPoweredOff':
    case 'HostWoken':
      return none();
    case 'HostParkingEnded':
    case 'HostPoweredOn':
      return {};
  }
};
