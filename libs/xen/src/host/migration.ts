import { reject } from '@xenolith/kernel';
import type { HostInput } from '../host-model.js';
import { answer, refuse } from './answers.js';
import type { MigrationHost } from './migration-host.js';
import { sessionKey, sessionsOf, sourcesOf, type MigrationSession } from './migration-session.js';
import { cancelMigration, migrate } from './migration-orders.js';
import { followSource, sourceEffectEnds, sourceHears, sourceIsRefused, sourceKeepsAlive } from './migration-source.js';
import {
  followTarget,
  receive,
  settleMigration,
  targetAfterCrash,
  targetEffectEnds,
  targetHears,
  targetIsRefused,
  targetKeepsAlive,
} from './migration-target.js';

export type MigrationInput = Extract<
  HostInput,
  { do: 'receive' | 'migrate' | 'cancelMigration' | 'settleMigration' | 'peer' | 'peerRefused' }
>;

/** A message from the other host. It is taken once, however often it comes, and never after a later one. */
const hear = (host: MigrationHost, input: MigrationInput & { do: 'peer' }): void => {
  const { uid, incarnation, from, seq, message, ticket } = input;
  const session = host.state.migrations[sessionKey(uid, incarnation)];
  if (session?.peer !== from) {
    const sentence = `${host.state.name} knows nothing of a migration of ${uid} from or to ${from}`;
    refuse(host, ticket, reject('host_unknown_domain', sentence));
    return;
  }
  answer(host, ticket, {});
  if (seq <= session.heard) return;
  session.heard = seq;
  session.heardUs = host.state.nowUs;
  if (session.role === 'source') sourceHears(host, session, message);
  else targetHears(host, session, message);
};

const isRefused = (host: MigrationHost, input: MigrationInput & { do: 'peerRefused' }): void => {
  const session = host.state.migrations[sessionKey(input.uid, input.incarnation)];
  if (session?.connection !== input.connection) return;
  if (session.role === 'source') sourceIsRefused(host, session, input.unknown);
  else targetIsRefused(host, session);
};

export const applyMigration = (host: MigrationHost, input: MigrationInput): void => {
  switch (input.do) {
    case 'receive':
      receive(host, input);
      return;
    case 'migrate':
      migrate(host, input);
      return;
    case 'cancelMigration':
      cancelMigration(host, input);
      return;
    case 'settleMigration':
      settleMigration(host, input);
      return;
    case 'peer':
      hear(host, input);
      return;
    case 'peerRefused':
      isRefused(host, input);
      return;
  }
};

/** After anything happened on the host: each migration looks whether what it waits for is there. */
export const followMigrations = (host: MigrationHost): void => {
  for (const session of sessionsOf(host.state))
    if (session.role === 'source') followSource(host, session);
    else followTarget(host, session);
};

const sessionAt = (host: MigrationHost, key: string): MigrationSession | null => host.state.migrations[key] ?? null;

interface Timed {
  readonly key: string;
  readonly dueUs: number;
}

/** What was re-timed or is over already is passed over. */
export const effectEnds = (host: MigrationHost, { key, dueUs }: Timed): void => {
  const session = sessionAt(host, key);
  if (session?.effectDueUs !== dueUs) return;
  if (session.role === 'source') sourceEffectEnds(host, session);
  else targetEffectEnds(host, session);
};

export const keepAlive = (host: MigrationHost, { key, dueUs }: Timed): void => {
  const session = sessionAt(host, key);
  if (session?.keepaliveUs !== dueUs) return;
  if (session.role === 'source') sourceKeepsAlive(host, session);
  else targetKeepsAlive(host, session);
};

/** What a crash of the host leaves of its migrations; the answer is who waits for one. */
export const crashMigrations = (host: MigrationHost): readonly string[] => {
  const { state } = host;
  const waiting = sessionsOf(state).flatMap((session) => session.tickets.splice(0));
  for (const session of sourcesOf(state))
    Reflect.deleteProperty(state.migrations, sessionKey(session.uid, session.toIncarnation));
  for (const session of sessionsOf(state)) if (session.role === 'target') targetAfterCrash(session);
  return waiting;
};
