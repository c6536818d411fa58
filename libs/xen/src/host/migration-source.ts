import { reject, type Rejection } from '@xenolith/kernel';
import type { MigrationPolicyName, PeerMessage } from '../host-model.js';
import { DEFAULT_BALLOON_RATE, PAGE_BYTES } from '../hypervisor/index.js';
import { CONVERGENCE_SCHEDULES, type PrecopyPolicy } from '../migration/policies.js';
import type { EndStep, MigrationEffect, MigrationMessage } from '../migration/protocol.js';
import { SUSPEND_ACK_TIMEOUT_US, SUSPEND_TIMEOUT_US } from '../migration/save.js';
import { beginSource, stepSource, type SourceInput, type SourceState } from '../migration/source-end.js';
import { memoryTargetPath } from '../xenstore/index.js';
import { hasFrontends } from './machine-devices.js';
import { beginSending, endSending, pagesNow } from './migration-link.js';
import {
  carryEffects,
  forgetSession,
  handOut,
  MIGRATIONS_AT_ONCE,
  planEffect,
  planKeepalive,
  reconnect,
  say,
  SILENCE_US,
  sourcesOf,
  type Carried,
  type SourceSession,
} from './migration-session.js';
import { nowMs, US_PER_MS, type Host, type Machine } from './host-state.js';
import { transact } from './store-access.js';
import { askToSuspend, contentOf, resumeInPlace, withdrawSuspend } from './suspend.js';
import { answer, beginTeardown, refuse, refuseStopping } from './toolstack.js';

/** A guest that gives memory back before it goes is waited for no longer than this: what it has not given is sent. */
const SQUASH_PATIENCE_US = 20_000_000;

const US_PER_SECOND = 1_000_000;

const policyOf = (name: MigrationPolicyName): PrecopyPolicy =>
  name === 'xen-v2' || name === 'xen-legacy'
    ? { name }
    : { name: 'convergence', schedule: CONVERGENCE_SCHEDULES[name] };

const machineOf = (host: Host, session: SourceSession): Machine | null => {
  const machine = host.state.machines[session.uid];
  return machine?.incarnation === session.incarnation ? machine : null;
};

/** The machine is still a domain of this host that may be migrated. */
const isStanding = (machine: Machine | null): machine is Machine =>
  machine !== null && (machine.phase === 'up' || machine.phase === 'suspended');

// Effects.

const KIBIBYTE = 1024;

const setTarget = (host: Host, { domid }: Machine, bytes: number): void =>
  transact(host, 0, [{ op: 'write', path: memoryTargetPath(domid), value: String(bytes / KIBIBYTE) }]);

const squash = (host: Host, session: SourceSession, machine: Machine): Carried => {
  const { dynamicMinBytes, dynamicMaxBytes } = machine.settings;
  if (dynamicMinBytes >= dynamicMaxBytes || !hasFrontends(machine) || !host.timing.timedDevices) return 'done';
  setTarget(host, machine, dynamicMinBytes);
  const pages = pagesNow(host, session) - dynamicMinBytes / PAGE_BYTES;
  const neededUs = Math.ceil((pages * US_PER_SECOND) / DEFAULT_BALLOON_RATE) + US_PER_SECOND;
  planEffect(host, session, host.state.nowUs + Math.min(SQUASH_PATIENCE_US, neededUs));
  return 'underWay';
};

const rename = (host: Host, machine: Machine, effect: MigrationEffect & { do: 'renameDomain' }): Carried => {
  if (host.state.hypervisor.domains[machine.domid]?.handle === effect.from)
    host.hypervisor.domains.setHandle(machine.domid, effect.to);
  return 'done';
};

const suspendGuest = (host: Host, session: SourceSession, machine: Machine): Carried => {
  if (machine.phase === 'suspended') return 'done';
  session.roundBeganUs = host.state.nowUs;
  planEffect(host, session, host.state.nowUs + SUSPEND_ACK_TIMEOUT_US);
  askToSuspend(host, machine);
  return 'underWay';
};

const carryOut = (host: Host, session: SourceSession, effect: MigrationEffect): Carried => {
  const machine = machineOf(host, session);
  // What ended meanwhile can neither be changed nor brought back.
  if (machine === null) return 'done';
  switch (effect.do) {
    case 'squashMemory':
      return squash(host, session, machine);
    case 'restoreMemoryRange':
      if (isStanding(machine)) setTarget(host, machine, machine.settings.dynamicMaxBytes);
      return 'done';
    case 'sendRound':
      session.roundBeganUs = host.state.nowUs;
      beginSending(host, session, effect.pages);
      return 'underWay';
    case 'sendFinal':
      session.suspendedUs = host.state.nowUs;
      beginSending(host, session, session.dirtyPages);
      return 'underWay';
    case 'suspendDomain':
      return suspendGuest(host, session, machine);
    case 'resumeDomain':
      if (machine.phase === 'suspended') resumeInPlace(host, machine);
      return 'done';
    case 'renameDomain':
      return rename(host, machine, effect);
    case 'destroyDomain':
      refuseStopping(host, machine, `went to ${session.peer}`);
      beginTeardown(host, machine);
      return 'underWay';
    case 'enableLogDirty':
    case 'disableLogDirty':
      return 'done';
    case 'importMetadata':
    case 'buildShell':
    case 'restoreDomain':
    case 'restoreDevices':
    case 'unpauseDomain':
    case 'removeMetadata':
      // The target's.
      return 'failed';
  }
};

const work = (host: Host, session: SourceSession): void =>
  carryEffects(session, {
    carryOut: (effect) => carryOut(host, session, effect),
    tell: (input) => step(host, session, input),
  });

const finishEffect = (session: SourceSession): void => {
  session.effects.shift();
  session.doing = null;
  session.effectDueUs = null;
};

/** What is under way is given up: the migration fails back. */
const interrupt = (host: Host, session: SourceSession): void => {
  const machine = machineOf(host, session);
  if (session.transfer !== null) endSending(host, session);
  if (session.doing === 'suspendDomain' && machine) withdrawSuspend(host, machine);
  session.effects = [];
  session.doing = null;
  session.effectDueUs = null;
  step(host, session, { type: 'failed', errno: 'EIO' });
};

// Steps.

/** The guest goes with the last message of the stream. */
const dressed = (host: Host, session: SourceSession, message: MigrationMessage): PeerMessage => {
  const machine = machineOf(host, session);
  return message.type === 'endOfStream' && machine ? { ...message, content: contentOf(machine) } : message;
};

const isInterruptible = (end: SourceState): boolean =>
  end.failing !== null && end.working && end.phase !== 'failingBack' && end.phase !== 'cleaning';

/** Moves the source's end on and does what it says; true: it refused. */
export const step = (host: Host, session: SourceSession, input: SourceInput): boolean => {
  if (session.end === null) return false;
  const before = session.end;
  const next: EndStep<SourceState> = stepSource(before, input);
  session.end = next.state;
  if (next.state.disconnected && !before.disconnected) {
    reconnect(session);
    if (next.state.phase !== 'asking') say(host, session, { type: 'disconnected' });
  }
  for (const message of next.messages) say(host, session, dressed(host, session, message));
  handOut(session, next);
  if (session.doing !== null && isInterruptible(next.state)) interrupt(host, session);
  else work(host, session);
  // Over a new connection, as the old one has just been closed.
  if (next.state.phase === 'asking' && before.phase !== 'asking') step(host, session, { type: 'connected' });
  return next.refused !== undefined;
};

export const endSession = (host: Host, session: SourceSession, tell: (ticket: string) => void): void => {
  forgetSession(host, session);
  for (const ticket of session.tickets.splice(0)) tell(ticket);
};

const why = (host: Host, session: SourceSession, end: SourceState): { readonly rejection: Rejection } => {
  const name = host.state.machines[session.uid]?.settings.name ?? session.uid;
  const reason = end.failing ?? 'EIO';
  if (reason === 'cancelled')
    return reject('migration_cancelled', `the migration of ${name} to ${session.peer} was cancelled; it runs on here`);
  const message = `the migration of ${name} from ${host.state.name} to ${session.peer} failed (${reason}) after ${session.rounds} rounds`;
  return reject('migration_failed', message, { details: { reason, rounds: session.rounds } });
};

const migrated = (host: Host, session: SourceSession): void => {
  const { nowUs } = host.state;
  if (session.targetDead) {
    const message = `${session.peer} was lost when it had ${session.uid}, or was about to; it is not here any more`;
    endSession(host, session, (ticket) => refuse(host, ticket, reject('host_crashed', message)));
    return;
  }
  const runsUs = session.runsThereUs ?? nowUs;
  endSession(host, session, (ticket) =>
    answer(host, ticket, {
      rounds: session.rounds,
      pagesSent: session.pagesSent,
      durationMs: Math.round((nowUs - session.beganUs) / US_PER_MS),
      downtimeMs: Math.max(0, Math.round((runsUs - (session.suspendedUs ?? runsUs)) / US_PER_MS)),
    }),
  );
};

/** Answers and forgets a migration that has ended; begins those that waited for it. */
const settle = (host: Host, session: SourceSession): void => {
  const { end } = session;
  if (end?.phase === 'migrated') migrated(host, session);
  else if (end?.phase === 'failedBack' || end?.phase === 'lost' || end?.phase === 'stuck')
    endSession(host, session, (ticket) => refuse(host, ticket, why(host, session, end)));
};

const begin = (host: Host, session: SourceSession): void => {
  session.beganUs = host.state.nowUs;
  session.heardUs = host.state.nowUs;
  const first = beginSource({
    machine: session.uid,
    memoryPages: pagesNow(host, session),
    policy: policyOf(session.policy),
  });
  session.end = first.state;
  for (const message of first.messages) say(host, session, message);
  planKeepalive(host, session);
};

// What happens to it.

const roundFinished = (host: Host, session: SourceSession): void => {
  const { pages, dirtied, linkPagesPerSecond } = endSending(host, session);
  const durationUs = host.state.nowUs - session.roundBeganUs;
  finishEffect(session);
  session.rounds += 1;
  session.pagesSent += pages;
  session.dirtyPages = dirtied;
  host.events.push({
    type: 'migrationRound',
    at: nowMs(host),
    operation: session.operation,
    uid: session.uid,
    round: session.rounds,
    pagesSent: pages,
    remainingPages: dirtied,
    pagesPerSecond: durationUs > 0 ? Math.round((pages * US_PER_SECOND) / durationUs) : linkPagesPerSecond,
    durationMs: Math.round(durationUs / US_PER_MS),
  });
  step(host, session, { type: 'roundFinished', dirtyPages: dirtied, linkPagesPerSecond });
};

const suspendTakesLong = (host: Host, session: SourceSession): void => {
  const machine = machineOf(host, session);
  const acknowledged = machine?.guest.stopping === 'suspend';
  const patienceUs = SUSPEND_ACK_TIMEOUT_US + SUSPEND_TIMEOUT_US;
  // Its first patience is for the acknowledgement, which came; the other for standing still.
  if (acknowledged && host.state.nowUs < session.roundBeganUs + patienceUs) {
    planEffect(host, session, host.state.nowUs + SUSPEND_TIMEOUT_US);
    return;
  }
  interrupt(host, session);
};

const finalSent = (host: Host, session: SourceSession): void => {
  session.pagesSent += endSending(host, session).pages;
  finishEffect(session);
  work(host, session);
};

const squashed = (host: Host, session: SourceSession): void => {
  finishEffect(session);
  if (session.end) session.end = { ...session.end, memoryPages: pagesNow(host, session) };
  work(host, session);
};

/** The time of what is under way has come. */
export const sourceEffectEnds = (host: Host, session: SourceSession): void => {
  if (session.doing === 'sendRound') roundFinished(host, session);
  else if (session.doing === 'suspendDomain') suspendTakesLong(host, session);
  else if (session.doing === 'sendFinal') finalSent(host, session);
  else if (session.doing === 'squashMemory') squashed(host, session);
};

/** Looks at the machine: whether it stands still, is gone, or has left otherwise. */
export const followSource = (host: Host, session: SourceSession): void => {
  const { end } = session;
  if (end === null) {
    const active = sourcesOf(host.state).filter((other) => other.end !== null).length;
    const machine = machineOf(host, session);
    if (!isStanding(machine)) endSession(host, session, (ticket) => refuse(host, ticket, hasLeft(host, session)));
    else if (active < MIGRATIONS_AT_ONCE) begin(host, session);
    return;
  }
  const machine = machineOf(host, session);
  const arrivedAtStandstill = session.doing === 'suspendDomain' && machine?.phase === 'suspended';
  const gone = session.doing === 'destroyDomain' && machine === null;
  if (arrivedAtStandstill || gone) {
    finishEffect(session);
    work(host, session);
  } else if (!isStanding(machine) && !isAfterSwitch(end)) leave(host, session, end);
  settle(host, session);
};

/** From here on it is not this end's business whether the domain stands. */
const isAfterSwitch = ({ phase }: SourceState): boolean =>
  phase === 'switching' || phase === 'asking' || phase === 'cleaning' || phase === 'migrated' || phase === 'failedBack';

/** The guest ended, reboots, or was ended by force: there is nothing to migrate any more. */
const leave = (host: Host, session: SourceSession, end: SourceState): void => {
  if (session.doing !== null && end.phase !== 'failingBack') interrupt(host, session);
  else step(host, session, { type: 'lost' });
};

const hasLeft = (host: Host, session: SourceSession): { readonly rejection: Rejection } =>
  reject(
    'migration_failed',
    `${session.uid} ended on ${host.state.name} before its migration to ${session.peer} began`,
  );

/** A message of the target's. */
export const sourceHears = (host: Host, session: SourceSession, message: PeerMessage): void => {
  if (message.type === 'ping' || message.type === 'pong' || message.type === 'disconnected') return;
  session.runsThereUs ??= message.runsUs ?? null;
  step(host, session, { type: 'message', message });
};

/** The other host does not take a message: it knows nothing of the migration, or the connection broke. */
export const sourceIsRefused = (host: Host, session: SourceSession, unknown: boolean): void => {
  if (!unknown) {
    step(host, session, { type: 'lost' });
    return;
  }
  const inDoubt = session.end?.phase === 'switching' || session.end?.phase === 'asking';
  session.targetDead ||= inDoubt;
  step(host, session, { type: 'targetDead' });
};

/** Time to let the target know that this end is there, to ask it again, or to take it for gone. */
export const sourceKeepsAlive = (host: Host, session: SourceSession): void => {
  const { end } = session;
  if (end === null || end.phase === 'failingBack' || end.phase === 'cleaning') return;
  if (end.phase === 'asking') {
    reconnect(session);
    step(host, session, { type: 'connected' });
  } else if (host.state.nowUs - session.heardUs >= SILENCE_US) step(host, session, { type: 'lost' });
  else say(host, session, { type: 'ping' });
  planKeepalive(host, session);
};
