import type { PeerMessage } from '../host-model.js';
import { nowMs } from './answers.js';
import type { MigrationHost, Planner } from './migration-host.js';
import { isOverAtTarget, KEEPALIVE_US, keyOf, targetsOf, type MigrationSession } from './migration-session.js';

/** Ended migrations that a target remembers, to tell a source that asks who has the machine. */
const REMEMBERED = 1_000;

export const forgetSession = (host: MigrationHost, session: MigrationSession): void => {
  Reflect.deleteProperty(host.state.migrations, keyOf(session));
};

/** Keeps no more of what is over than a target may be asked about. */
export const boundSessions = (host: MigrationHost): void => {
  const over = targetsOf(host.state).filter(isOverAtTarget);
  for (const oldest of over.slice(0, Math.max(0, over.length - REMEMBERED))) forgetSession(host, oldest);
};

/** Sends a message to the other host, in order with those of the same connection. */
export const say = (host: MigrationHost, session: MigrationSession, message: PeerMessage): void => {
  session.sent += 1;
  host.events.push({
    type: 'peer',
    at: nowMs(host),
    to: session.peer,
    uid: session.uid,
    incarnation: session.toIncarnation,
    seq: session.sent,
    connection: session.connection,
    message,
  });
};

export const planKeepalive = (host: MigrationHost, session: MigrationSession): void => {
  const dueUs = host.state.nowUs + KEEPALIVE_US;
  session.keepaliveUs = dueUs;
  host.plan(dueUs, { do: 'keepalive', key: keyOf(session), dueUs });
};

/** The effect under way ends, or is given up, at that time unless it is told otherwise. */
export const planEffect = (host: Planner, session: MigrationSession, dueUs: number): void => {
  session.effectDueUs = dueUs;
  host.plan(dueUs, { do: 'migrationEffect', key: keyOf(session), dueUs });
};
