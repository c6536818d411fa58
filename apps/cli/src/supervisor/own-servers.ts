import { connect, type NodeConnectionOptions } from '@nats-io/transport-node';
import pg from 'pg';
import { messageOf, UserError } from '../terminal.js';

/** A server of one's own that does not answer by then is down, or not there. */
const CONNECT_LIMIT_MS = 5_000;
/** Oldest PostgreSQL that the log's SQL runs on. */
const OLDEST_POSTGRES = 15;
const VERSION_UNIT = 10_000;

/** SQLSTATEs of a refused log-in. */
const REFUSED_LOGIN: ReadonlySet<string> = new Set(['28P01', '28000']);
const NO_DATABASE = '3D000';

/** Names a server without its password. */
const addressOf = (url: string): string => {
  const { protocol, username, host, pathname } = new URL(url);
  return `${protocol}//${username === '' ? '' : `${username}@`}${host}${pathname}`;
};

const parsedUrl = (variable: string, url: string, example: string): string => {
  if (!URL.canParse(url)) throw new UserError(`${variable} is no URL.`, [`It looks like ${example}`]);
  return addressOf(url);
};

const codeOf = (cause: unknown): string => (cause as { code?: unknown } | null)?.code?.toString() ?? '';

const databaseTrouble = (address: string, cause: unknown): UserError => {
  const code = codeOf(cause);
  if (REFUSED_LOGIN.has(code))
    return new UserError(`the database ${address} refuses the log-in: ${messageOf(cause)}.`, [
      'Check user and password in DATABASE_URL.',
    ]);
  if (code === NO_DATABASE)
    return new UserError(`the server has no database ${address}.`, [
      'Create it first, with CREATE DATABASE, or name another one in DATABASE_URL.',
    ]);
  return new UserError(`the database ${address} can't be reached: ${messageOf(cause)}.`, [
    'Check that the server runs and that DATABASE_URL names its host and port.',
    'Without DATABASE_URL the platform starts a Postgres of its own.',
  ]);
};

export interface OwnDatabase {
  readonly url: string;
  /** Whether its user may give each service a role of its own. */
  readonly mayMakeRoles: boolean;
}

/** Looks whether the database of DATABASE_URL can be used, before anything is started on it. Throws a UserError that says what to do. */
export const checkDatabase = async (url: string): Promise<OwnDatabase> => {
  const address = parsedUrl('DATABASE_URL', url, 'postgres://user:password@host:5432/database');
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_LIMIT_MS });
  // A connection that breaks later is the query's affair.
  client.on('error', () => undefined);
  let found: { version: number; mayMakeRoles: boolean };
  try {
    await client.connect();
    const { rows } = await client.query<typeof found>(
      `select current_setting('server_version_num')::int as version, rolsuper or rolcreaterole as "mayMakeRoles"
        from pg_roles where rolname = current_user`,
    );
    found = rows[0] ?? { version: 0, mayMakeRoles: false };
  } catch (cause) {
    throw databaseTrouble(address, cause);
  } finally {
    await client.end().catch(() => undefined);
  }
  if (found.version < OLDEST_POSTGRES * VERSION_UNIT)
    throw new UserError(`the database ${address} is PostgreSQL ${Math.floor(found.version / VERSION_UNIT)}.`, [
      `Name a server of version ${OLDEST_POSTGRES} or newer in DATABASE_URL.`,
    ]);
  return { url, mayMakeRoles: found.mayMakeRoles };
};

type Variables = Readonly<Record<string, string>>;

/** What the user's environment says of the log-in to a NATS server of their own; every process is told the same. */
const natsSecurity = async (url: string, variables: Variables): Promise<Partial<NodeConnectionOptions>> => {
  // Loaded only where there is such a server: it costs a start a third of a second.
  const { connectionSecurity } = await import('@xenolith/messaging');
  return connectionSecurity(url, {
    caFile: variables['NATS_CA_FILE'] || undefined,
    certFile: variables['NATS_CERT_FILE'] || undefined,
    keyFile: variables['NATS_KEY_FILE'] || undefined,
    nkeyFile: variables['NATS_NKEY_FILE'] || undefined,
    credsFile: variables['NATS_CREDS_FILE'] || undefined,
    user: variables['NATS_USER'] || undefined,
    passwordFile: variables['NATS_PASSWORD_FILE'] || undefined,
  });
};

/** As `checkDatabase`, for NATS_URL and the variables that say how to log in there. */
export const checkNats = async (url: string, variables: Variables = {}): Promise<void> => {
  const address = parsedUrl('NATS_URL', url, 'nats://host:4222');
  const security = await natsSecurity(url, variables);
  const connection = await connect({ servers: url, timeout: CONNECT_LIMIT_MS, reconnect: false, ...security }).catch(
    (cause: unknown) => {
      throw new UserError(`the NATS server ${address} can't be reached: ${messageOf(cause)}.`, [
        'Check that it runs and that NATS_URL names its host and port.',
        'How to log in and whom to trust say NATS_CREDS_FILE, NATS_NKEY_FILE or NATS_USER with NATS_PASSWORD_FILE, and NATS_CA_FILE.',
        'Without NATS_URL the platform starts a NATS server of its own.',
      ]);
    },
  );
  const hasJetStream = connection.info?.jetstream === true;
  await connection.close();
  if (!hasJetStream)
    throw new UserError(`the NATS server ${address} runs without JetStream.`, [
      'Start it with -js, or jetstream in its configuration.',
    ]);
};

/** The agents hold what the log of the other database says: with an empty one the platform would take their machines for strays. Throws a UserError. */
export const requireSameDatabase = (
  folder: string,
  began: 'embedded' | 'own' | undefined,
  now: 'embedded' | 'own',
): void => {
  if (began === undefined || began === now) return;
  const [origin, but, advice] =
    now === 'embedded'
      ? ['a database of your own', 'is not set', 'Set DATABASE_URL as you did then,']
      : ['a Postgres of its own', 'is set', 'Unset DATABASE_URL,'];
  throw new UserError(`the platform on ${folder} began with ${origin}, but DATABASE_URL ${but}.`, [
    advice,
    'or start another platform with --data DIR.',
  ]);
};
