import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { closeSession, lockKey, openSession, READ_LIMIT_MS } from './connection.js';
import { alterPassword, createRole, grantsTo, joinRole, revokeFromAll, revokeTemporary } from './sql/roles.sql.js';

/** A login of a service's own. */
export interface ServiceRole {
  readonly role: string;
  readonly password: string;
}

/** As PostgreSQL makes it itself. */
const ITERATIONS = 4096;
const SALT_BYTES = 16;
const KEY_BYTES = 32;

/** What PostgreSQL keeps of a password (RFC 5803). Sent in its place, so that no statement that is logged holds the password. */
export const scramVerifier = (password: string, salt: Buffer = randomBytes(SALT_BYTES)): string => {
  const salted = pbkdf2Sync(password, salt, ITERATIONS, KEY_BYTES, 'sha256');
  const keyOf = (name: string): Buffer => createHmac('sha256', salted).update(name).digest();
  const stored = createHash('sha256').update(keyOf('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${stored}:${keyOf('Server Key').toString('base64')}`;
};

const ROLES_LOCK = lockKey('xenolith/roles');

/**
 * Makes the logins of services, or gives those that are there this password, and grants them what they need: no more, also where an older version granted
 * more. `ownerUrl` is the login that owns the schema `es`, which must be there; it needs the right to make roles.
 */
export const ensureServiceRoles = async (ownerUrl: string, roles: readonly ServiceRole[]): Promise<void> => {
  const session = await openSession(ownerUrl, {
    applicationName: 'xenolith-roles',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    // One at a time: two would trip over each other's catalog rows.
    await session.query('select pg_advisory_lock($1)', [ROLES_LOCK]);
    const { rows } = await session.query<{ database: string; known: string[] }>(
      `select current_database() as database,
        array(select rolname::text from pg_roles where rolname = any ($1)) as known`,
      [roles.map(({ role }) => role)],
    );
    const { database = '', known = [] } = rows[0] ?? {};
    await session.query('begin');
    for (const statement of [...revokeFromAll, revokeTemporary(database)]) await session.query(statement);
    for (const { role, password } of roles) {
      if (!known.includes(role)) await session.query(createRole(role));
      await session.query(alterPassword(role, scramVerifier(password)));
      await session.query(joinRole(role));
      for (const statement of grantsTo(role, database)) await session.query(statement);
    }
    await session.query('commit');
  } finally {
    await closeSession(session);
  }
};
