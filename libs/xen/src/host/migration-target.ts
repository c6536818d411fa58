import { reject, type Rejection } from '@xenolith/kernel';
import type { HostInput, PeerMessage } from '../host-model.js';
import type { EndInput, EndStep, MigrationEffect, MigrationMessage } from '../migration/protocol.js';
import { beginTarget, stepTarget, type TargetState } from '../migration/target-end.js';
import { answer, refuse, rememberEnded } from './answers.js';
import type { MigrationHost, MovingDomain } from './migration-host.js';
import {
  carryEffects,
  finishEffect,
  handOut,
  isHere,
  isOverAtTarget,
  MIGRATIONS_AT_ONCE,
  newSession,
  reconnect,
  sessionKey,
  SILENCE_US,
  targetsOf,
  type Carried,
  type TargetSession,
} from './migration-session.js';
import { boundSessions, forgetSession, planKeepalive, say } from './session-work.js';

const domainOf = (host: MigrationHost, { uid, toIncarnation }: TargetSession): MovingDomain | null =>
  host.domain(uid, toIncarnation);

// Effects.

const carryOut = (host: MigrationHost, session: TargetSession, effect: MigrationEffect): Carried => {
  const domain = domainOf(host, session);
  if (domain === null) return effect.do === 'buildShell' || effect.do === 'restoreDomain' ? 'failed' : 'done';
  switch (effect.do) {
    case 'restoreDevices':
    case 'unpauseDomain':
      return domain.phase === 'arriving' ? host.receiving.carryOut(session, effect) : 'done';
    case 'buildShell':
    case 'restoreDomain':
    case 'renameDomain':
    case 'destroyDomain':
      return host.receiving.carryOut(session, effect);
    case 'importMetadata':
      return session.content === null || host.receiving.understands(session.content) ? 'done' : 'failed';
    case 'removeMetadata':
      return 'done';
    case 'squashMemory':
    case 'restoreMemoryRange':
    case 'enableLogDirty':
    case 'disableLogDirty':
    case 'sendRound':
    case 'suspendDomain':
    case 'sendFinal':
    case 'resumeDomain':
      // The source's.
      return 'failed';
  }
};

const work = (host: MigrationHost, session: TargetSession): void =>
  carryEffects(session, {
    carryOut: (effect) => carryOut(host, session, effect),
    tell: (input) => step(host, session, input),
  });

const goOn = (host: MigrationHost, session: TargetSession): void => {
  finishEffect(session);
  work(host, session);
};

const failEffect = (host: MigrationHost, session: TargetSession): void => {
  session.effects = [];
  session.doing = null;
  session.effectDueUs = null;
  step(host, session, { type: 'failed', errno: 'EIO' });
};

// Steps.

/** The source's answer to who asks, and its downtime, need to know when the guest ran here. */
const dressed = (session: TargetSession, message: MigrationMessage): PeerMessage => {
  const tells = (message.type === 'handshake' && message.point === '4') || message.type === 'holds';
  return tells && session.runsUs !== null ? { ...message, runsUs: session.runsUs } : message;
};

const isInterruptible = (end: TargetState): boolean =>
  end.failing !== null && end.working && end.phase !== 'aborting' && end.phase !== 'resuming';

/** Moves the target's end on and does what it says. */
export const step = (host: MigrationHost, session: TargetSession, input: EndInput): void => {
  const wasHere = isHere(session);
  const next: EndStep<TargetState> = stepTarget(session.end, input);
  session.end = next.state;
  const domain = domainOf(host, session);
  if (isHere(session) && !wasHere && domain) session.here = { domid: domain.domid, bootId: host.state.bootId };
  for (const message of next.messages) say(host, session, dressed(session, message));
  handOut(session, next);
  // It had its memory from the beginning, even if nothing was built of it.
  if (session.end.phase === 'aborted' && domain?.phase === 'arriving') host.receiving.tearDown(session);
  if (session.doing !== null && isInterruptible(next.state)) failEffect(host, session);
  else work(host, session);
};

// What happens to it.

/** The time of what is under way has come. */
export const targetEffectEnds = (host: MigrationHost, session: TargetSession): void => {
  session.effectDueUs = null;
  host.receiving.due(session);
};

/** Looks at the domain: whether what is done to it is done, or whether it is gone. */
export const followTarget = (host: MigrationHost, session: TargetSession): void => {
  const domain = domainOf(host, session);
  const stands = domain !== null && domain.phase !== 'ending';
  if (session.doing === 'destroyDomain' && domain === null) goOn(host, session);
  else if (!stands && session.doing !== null && session.doing !== 'destroyDomain') failEffect(host, session);
  else if (!stands && !isHere(session) && !isOverAtTarget(session) && session.end.phase !== 'aborting')
    step(host, session, { type: 'lost' });
  else if (domain && session.doing !== null) followEffect(host, session);
  answerSettlers(host, session);
  admitHeld(host);
};

const followEffect = (host: MigrationHost, session: TargetSession): void => {
  const progress = host.receiving.progress(session);
  if (progress === 'done') goOn(host, session);
  else if (progress === 'failed') failEffect(host, session);
};

const notHere = (
  host: MigrationHost,
  session: Pick<TargetSession, 'uid' | 'peer'>,
): { readonly rejection: Rejection } =>
  reject('migration_failed', `${session.uid} did not come from ${session.peer} to ${host.state.name}, and will not`);

/** Who wants to know hears it as soon as it is certain. */
const answerSettlers = (host: MigrationHost, session: TargetSession): void => {
  const { end, here } = session;
  if (end.phase !== 'holding' && end.phase !== 'done' && end.phase !== 'aborted') return;
  const domain = domainOf(host, session);
  for (const ticket of session.tickets.splice(0))
    if (end.phase === 'aborted' || here === null) refuse(host, ticket, notHere(host, session));
    else answer(host, ticket, domain ? host.receiving.answerOf(session.uid) : { ...here, state: 'running' });
  if (end.phase === 'done') forgetSession(host, session);
};

const receiving = (host: MigrationHost): number =>
  targetsOf(host.state).filter((session) => session.end.phase !== 'idle' && !isOverAtTarget(session)).length;

/** Others wait in the order in which they came. */
const admitHeld = (host: MigrationHost): void => {
  for (const session of targetsOf(host.state)) {
    if (session.held === null || receiving(host) >= MIGRATIONS_AT_ONCE) continue;
    const message = session.held;
    session.held = null;
    step(host, session, { type: 'message', message });
  }
};

/** A message of the source's. */
export const targetHears = (host: MigrationHost, session: TargetSession, message: PeerMessage): void => {
  // Whoever speaks to an end that has given up learns so at once.
  if (session.end.phase === 'aborted' && message.type !== 'disconnected' && message.type !== 'inquire')
    say(host, session, { type: 'handshakeError', errno: session.end.failing ?? 'EIO' });
  else if (message.type === 'ping') say(host, session, { type: 'pong' });
  else if (message.type === 'disconnected') hearClosed(host, session);
  else if (message.type !== 'pong') hearMessage(host, session, message);
};

const hearClosed = (host: MigrationHost, session: TargetSession): void => {
  reconnect(session);
  session.held = null;
  step(host, session, { type: 'lost' });
  if (session.end.phase === 'aborted' && session.tickets.length === 0) forgetSession(host, session);
};

const hearMessage = (
  host: MigrationHost,
  session: TargetSession,
  message: MigrationMessage & { content?: string },
): void => {
  // What was said before over the old connection does not matter any more.
  if (message.type === 'inquire') reconnect(session);
  if (message.type === 'importMetadata') planKeepalive(host, session);
  session.content = message.content ?? session.content;
  if (message.type === 'importMetadata' && receiving(host) >= MIGRATIONS_AT_ONCE) session.held = message;
  else step(host, session, { type: 'message', message });
};

/** The source's host takes no message any more. */
export const targetIsRefused = (host: MigrationHost, session: TargetSession): void =>
  step(host, session, { type: 'lost' });

/** A source that has been silent for long is gone; from the switch on that does not matter. */
export const targetKeepsAlive = (host: MigrationHost, session: TargetSession): void => {
  if (isHere(session) || isOverAtTarget(session) || session.end.phase === 'aborting') return;
  if (host.state.nowUs - session.heardUs >= SILENCE_US) {
    session.held = null;
    step(host, session, { type: 'lost' });
  } else planKeepalive(host, session);
};

/** What the toolstack finds on its disk when the host has booted again: which machines had become this host's, and that it has none of the others. */
export const targetAfterCrash = (session: TargetSession): void => {
  const end: TargetState = { ...session.end, working: false, disconnected: true, asked: false };
  session.end = { ...end, phase: isHere(session) ? 'holding' : 'aborted' };
  Object.assign(session, { effects: [], doing: null, effectDueUs: null, keepaliveUs: null, held: null });
};

// Commands.

export const receive = (host: MigrationHost, input: HostInput & { do: 'receive' }): void => {
  const { uid, incarnation, from, fromIncarnation, ticket } = input;
  const key = sessionKey(uid, incarnation);
  const known = host.state.migrations[key];
  if (known?.role === 'target' && known.end.phase !== 'aborted') {
    answer(host, ticket, {});
    return;
  }
  if (known) {
    host.refuseStale(input);
    return;
  }
  if (!host.receiving.admit(input)) return;
  const session: TargetSession = {
    ...newSession(uid, incarnation, from),
    role: 'target',
    fromIncarnation,
    end: beginTarget(uid),
    held: null,
    content: null,
    tickets: [],
    runsUs: null,
    here: null,
  };
  host.state.migrations[key] = session;
  boundSessions(host);
  answer(host, ticket, {});
};

/** Whether the machine is here for good; if it is not, it never will be. */
export const settleMigration = (host: MigrationHost, input: HostInput & { do: 'settleMigration' }): void => {
  const { uid, incarnation, ticket } = input;
  const session = host.state.migrations[sessionKey(uid, incarnation)];
  if (session?.role === 'target') {
    session.tickets.push(ticket);
    if (!isHere(session) && !isOverAtTarget(session)) {
      session.held = null;
      step(host, session, { type: 'lost' });
    }
    return;
  }
  const domain = host.domain(uid, incarnation);
  if (domain && domain.phase !== 'ending' && domain.phase !== 'arriving') {
    answer(host, ticket, host.receiving.answerOf(uid));
    return;
  }
  rememberEnded(host, uid, incarnation);
  refuse(host, ticket, notHere(host, { uid, peer: 'another host' }));
};
