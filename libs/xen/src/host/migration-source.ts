import { reject, type Rejection } from '@xenolith/kernel';
import type { PeerMessage } from '../host-model.js';
import type { EndStep, MigrationEffect, MigrationMessage } from '../migration/protocol.js';
import { beginSource, stepSource, type SourceInput, type SourceState } from '../migration/source-end.js';
import { answer, nowMs, refuse, US_PER_MS } from './answers.js';
import type { MigrationHost, MovingDomain } from './migration-host.js';
import { beginSending, endSending } from './migration-link.js';
import {
  carryEffects,
  finishEffect,
  handOut,
  MIGRATIONS_AT_ONCE,
  reconnect,
  SILENCE_US,
  sourcesOf,
  type Carried,
  type SourceSession,
} from './migration-session.js';
import { forgetSession, planKeepalive, say } from './session-work.js';

const US_PER_SECOND = 1_000_000;

const domainOf = (host: MigrationHost, { uid, incarnation }: SourceSession): MovingDomain | null =>
  host.domain(uid, incarnation);

/** The machine is still a domain of this host that may be migrated. */
const isStanding = (domain: MovingDomain | null): boolean => domain?.phase === 'up' || domain?.phase === 'still';

// Effects.

const carryOut = (host: MigrationHost, session: SourceSession, effect: MigrationEffect): Carried => {
  // What ended meanwhile can neither be changed nor brought back.
  if (domainOf(host, session) === null) return 'done';
  switch (effect.do) {
    case 'sendRound':
      session.roundBeganUs = host.state.nowUs;
      beginSending(host, session, effect.pages);
      return 'underWay';
    case 'sendFinal':
      session.suspendedUs = host.state.nowUs;
      beginSending(host, session, session.dirtyPages);
      return 'underWay';
    case 'squashMemory':
    case 'restoreMemoryRange':
    case 'suspendDomain':
    case 'resumeDomain':
    case 'renameDomain':
    case 'destroyDomain':
      return host.sending.carryOut(session, effect);
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

const work = (host: MigrationHost, session: SourceSession): void =>
  carryEffects(session, {
    carryOut: (effect) => carryOut(host, session, effect),
    tell: (input) => step(host, session, input),
  });

/** What is under way is given up: the migration fails back. */
const interrupt = (host: MigrationHost, session: SourceSession): void => {
  if (session.transfer !== null) endSending(host, session);
  if (session.doing === 'suspendDomain') host.sending.withdraw(session);
  session.effects = [];
  session.doing = null;
  session.effectDueUs = null;
  step(host, session, { type: 'failed', errno: 'EIO' });
};

// Steps.

/** The guest goes with the last message of the stream, and as it is now with the first: so the other host can tell whether it understands it. */
const dressed = (host: MigrationHost, session: SourceSession, message: MigrationMessage): PeerMessage => {
  const tells = message.type === 'importMetadata' || message.type === 'endOfStream';
  const content = tells ? host.sending.content(session) : null;
  return content === null ? message : { ...message, content };
};

const isInterruptible = (end: SourceState): boolean =>
  end.failing !== null && end.working && end.phase !== 'failingBack' && end.phase !== 'cleaning';

/** Moves the source's end on and does what it says; true: it refused. */
export const step = (host: MigrationHost, session: SourceSession, input: SourceInput): boolean => {
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

export const endSession = (host: MigrationHost, session: SourceSession, tell: (ticket: string) => void): void => {
  forgetSession(host, session);
  for (const ticket of session.tickets.splice(0)) tell(ticket);
};

const why = (host: MigrationHost, session: SourceSession, end: SourceState): { readonly rejection: Rejection } => {
  const name = domainOf(host, session)?.name ?? session.uid;
  const reason = end.failing ?? 'EIO';
  if (reason === 'cancelled')
    return reject('migration_cancelled', `the migration of ${name} to ${session.peer} was cancelled; it runs on here`);
  const message = `the migration of ${name} from ${host.state.name} to ${session.peer} failed (${reason}) after ${session.rounds} rounds`;
  return reject('migration_failed', message, { details: { reason, rounds: session.rounds } });
};

const migrated = (host: MigrationHost, session: SourceSession): void => {
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
const settle = (host: MigrationHost, session: SourceSession): void => {
  const { end } = session;
  if (end?.phase === 'migrated') migrated(host, session);
  else if (end?.phase === 'failedBack' || end?.phase === 'lost' || end?.phase === 'stuck')
    endSession(host, session, (ticket) => refuse(host, ticket, why(host, session, end)));
};

const begin = (host: MigrationHost, session: SourceSession): void => {
  session.beganUs = host.state.nowUs;
  session.heardUs = host.state.nowUs;
  const first = beginSource({
    machine: session.uid,
    memoryPages: host.sending.pages(session),
    policy: session.policy,
  });
  session.end = first.state;
  for (const message of first.messages) say(host, session, dressed(host, session, message));
  planKeepalive(host, session);
};

// What happens to it.

const roundFinished = (host: MigrationHost, session: SourceSession): void => {
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

const finalSent = (host: MigrationHost, session: SourceSession): void => {
  session.pagesSent += endSending(host, session).pages;
  finishEffect(session);
  work(host, session);
};

const squashed = (host: MigrationHost, session: SourceSession): void => {
  finishEffect(session);
  if (session.end) session.end = { ...session.end, memoryPages: host.sending.pages(session) };
  work(host, session);
};

/** The time of what is under way has come. */
export const sourceEffectEnds = (host: MigrationHost, session: SourceSession): void => {
  if (session.doing === 'sendRound') roundFinished(host, session);
  else if (session.doing === 'suspendDomain') {
    if (!host.sending.waitsOn(session)) interrupt(host, session);
  } else if (session.doing === 'sendFinal') finalSent(host, session);
  else if (session.doing === 'squashMemory') squashed(host, session);
};

/** Looks at the machine: whether it stands still, is gone, or has left otherwise. */
export const followSource = (host: MigrationHost, session: SourceSession): void => {
  const { end } = session;
  if (end === null) {
    const active = sourcesOf(host.state).filter((other) => other.end !== null).length;
    if (!isStanding(domainOf(host, session)))
      endSession(host, session, (ticket) => refuse(host, ticket, hasLeft(host, session)));
    else if (active < MIGRATIONS_AT_ONCE) begin(host, session);
    return;
  }
  const domain = domainOf(host, session);
  const arrivedAtStandstill = session.doing === 'suspendDomain' && domain?.phase === 'still';
  const gone = session.doing === 'destroyDomain' && domain === null;
  if (arrivedAtStandstill || gone) {
    finishEffect(session);
    work(host, session);
  } else if (!isStanding(domain) && !isAfterSwitch(end)) leave(host, session, end);
  settle(host, session);
};

/** From here on it is not this end's business whether the domain stands. */
const isAfterSwitch = ({ phase }: SourceState): boolean =>
  phase === 'switching' || phase === 'asking' || phase === 'cleaning' || phase === 'migrated' || phase === 'failedBack';

/** The guest ended, reboots, or was ended by force: there is nothing to migrate any more. */
const leave = (host: MigrationHost, session: SourceSession, end: SourceState): void => {
  if (session.doing !== null && end.phase !== 'failingBack') interrupt(host, session);
  else step(host, session, { type: 'lost' });
};

const hasLeft = (host: MigrationHost, session: SourceSession): { readonly rejection: Rejection } =>
  reject(
    'migration_failed',
    `${session.uid} ended on ${host.state.name} before its migration to ${session.peer} began`,
  );

/** A message of the target's. */
export const sourceHears = (host: MigrationHost, session: SourceSession, message: PeerMessage): void => {
  if (message.type === 'ping' || message.type === 'pong' || message.type === 'disconnected') return;
  session.runsThereUs ??= message.runsUs ?? null;
  step(host, session, { type: 'message', message });
};

/** The other host does not take a message: it knows nothing of the migration, or the connection broke. */
export const sourceIsRefused = (host: MigrationHost, session: SourceSession, unknown: boolean): void => {
  if (!unknown) {
    step(host, session, { type: 'lost' });
    return;
  }
  const inDoubt = session.end?.phase === 'switching' || session.end?.phase === 'asking';
  session.targetDead ||= inDoubt;
  step(host, session, { type: 'targetDead' });
};

/** Time to let the target know that this end is there, to ask it again, or to take it for gone. */
export const sourceKeepsAlive = (host: MigrationHost, session: SourceSession): void => {
  const { end } = session;
  if (end === null || end.phase === 'failingBack' || end.phase === 'cleaning') return;
  if (end.phase === 'asking') {
    reconnect(session);
    step(host, session, { type: 'connected' });
  } else if (host.state.nowUs - session.heardUs >= SILENCE_US) step(host, session, { type: 'lost' });
  else say(host, session, { type: 'ping' });
  planKeepalive(host, session);
};
