import { reject } from '@xenolith/kernel';
import type { HostInput } from '../host-model.js';
import { answer, refuse } from './answers.js';
import type { MigrationHost } from './migration-host.js';
import { leavingSession, newSession, sessionKey, type SourceSession } from './migration-session.js';
import { endSession, step } from './migration-source.js';

const obstacleTo = (host: MigrationHost, { uid, to }: HostInput & { do: 'migrate' }): string | null => {
  if (to === host.state.name) return 'it is on that host';
  if (leavingSession(host.state, uid)) return 'it is being migrated already';
  return host.sending.obstacleTo(uid);
};

export const migrate = (host: MigrationHost, input: HostInput & { do: 'migrate' }): void => {
  const { uid, incarnation, toIncarnation, to, operation, ticket } = input;
  const known = host.state.migrations[sessionKey(uid, toIncarnation)];
  if (known?.role === 'source' && known.incarnation === incarnation && known.peer === to) {
    known.tickets.push(ticket);
    return;
  }
  const domain = host.living(input);
  if (!domain) return;
  const obstacle = obstacleTo(host, input);
  if (obstacle !== null) {
    const message = `${domain.name} can't be migrated from ${host.state.name} to ${to}: ${obstacle}`;
    refuse(host, ticket, reject('migration_failed', message));
    return;
  }
  const policy = host.sending.policy(input.policy);
  if (policy === null) {
    const message = `${domain.name} can't be migrated from ${host.state.name} to ${to}: its hypervisor knows no policy ${input.policy}`;
    refuse(host, ticket, reject('migration_failed', message));
    return;
  }
  const session: SourceSession = {
    ...newSession(uid, toIncarnation, to),
    role: 'source',
    incarnation,
    operation,
    policy,
    tickets: [ticket],
    end: null,
    transfer: null,
    beganUs: host.state.nowUs,
    roundBeganUs: host.state.nowUs,
    rounds: 0,
    pagesSent: 0,
    dirtyPages: 0,
    suspendedUs: null,
    runsThereUs: null,
    targetDead: false,
  };
  host.state.migrations[sessionKey(uid, toIncarnation)] = session;
};

export const cancelMigration = (host: MigrationHost, input: HostInput & { do: 'cancelMigration' }): void => {
  const { ticket, uid } = input;
  const session = leavingSession(host.state, uid);
  if (session?.incarnation !== input.incarnation || session.end?.phase === 'failingBack') {
    answer(host, ticket, {});
    return;
  }
  if (session.end === null) {
    const message = `the migration of ${uid} to ${session.peer} was cancelled before it began`;
    endSession(host, session, (waiting) => refuse(host, waiting, reject('migration_cancelled', message)));
    answer(host, ticket, {});
    return;
  }
  if (step(host, session, { type: 'cancel' })) {
    const message = `the migration of ${uid} to ${session.peer} can't be cancelled any more: that host may have it already`;
    refuse(host, ticket, reject('migration_switched', message));
  } else answer(host, ticket, {});
};
