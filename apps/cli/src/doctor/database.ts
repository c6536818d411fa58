import { ArchiveUnavailable, lookAtArchive, readSchemaState, SCHEMA_REVISION, verifyLog } from '@xenolith/event-store';
import pg from 'pg';
import { fine, warning, wrong, type Finding } from './finding.js';

const CONNECT_LIMIT_MS = 5_000;
const OLDEST_MAJOR = 15;
const VERSION_UNIT = 10_000;
/** An open transaction holds every reader of the log back; the sequencer ends those of a second. */
const LONG_TRANSACTION_S = 2;
const CHAINED_EVENTS = 5_000;
/** A busy platform is behind by some hundreds for a moment. */
const LAG_EVENTS = 5_000;
const CLOCK_TOLERANCE_S = 5;

type Ask = <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<readonly Row[]>;

const server = async (ask: Ask): Promise<readonly Finding[]> => {
  const [row] = await ask<{ version: number; ssl: boolean; off: string[]; prepared: number; drift: number }>(
    `select current_setting('server_version_num')::int as version,
      (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl,
      array(select name from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off') as off,
      (select count(*)::int from pg_prepared_xacts) as prepared,
      extract(epoch from clock_timestamp())::float8 as drift`,
  );
  if (!row) return [];
  const major = Math.floor(row.version / VERSION_UNIT);
  const drift = Math.abs(row.drift - Date.now() / 1000);
  return [
    major >= OLDEST_MAJOR
      ? fine('postgres', `PostgreSQL ${major}`)
      : wrong('postgres', `PostgreSQL ${major}`, `The log needs ${OLDEST_MAJOR} or newer.`),
    row.ssl
      ? fine('postgres', 'connections are encrypted')
      : warning(
          'postgres',
          'connections are not encrypted',
          'Say sslmode=verify-full and sslrootcert in DATABASE_URL.',
        ),
    row.off.length === 0
      ? fine('postgres', 'what is committed survives a crash')
      : wrong(
          'postgres',
          `off: ${row.off.join(', ')}`,
          'Set it on: a crash would take events away that were acknowledged.',
        ),
    row.prepared === 0
      ? fine('postgres', 'no prepared transaction is open')
      : wrong(
          'postgres',
          `${row.prepared} prepared transactions are open`,
          'End them: they hold every reader of the log back.',
        ),
    drift <= CLOCK_TOLERANCE_S
      ? fine('clock', 'the database has the same time')
      : wrong('clock', `the database's clock is ${Math.round(drift)} s off`, 'Keep both machines by NTP.'),
  ];
};

const neighbours = async (ask: Ask): Promise<readonly Finding[]> => {
  const others = await ask<{ datname: string }>(
    `select datname from pg_database where datallowconn and not datistemplate and datname not in (current_database(), 'postgres')`,
  );
  const long = await ask<{ pid: number; datname: string; seconds: number }>(
    `select pid, datname, extract(epoch from clock_timestamp() - xact_start)::int as seconds from pg_stat_activity
      where backend_xid is not null and pid <> pg_backend_pid() and xact_start < clock_timestamp() - make_interval(secs => $1)`,
    [LONG_TRANSACTION_S],
  );
  return [
    others.length === 0
      ? fine('postgres', "the cluster is the log's alone")
      : warning(
          'postgres',
          `the cluster has other databases: ${others.map(({ datname }) => datname).join(', ')}`,
          'Move them to another cluster: a transaction there holds every reader of the log back, and is ended after a second.',
        ),
    ...long.map(({ pid, datname, seconds }) =>
      wrong(
        'postgres',
        `process ${pid} on ${datname} has had a write transaction open for ${seconds} s`,
        `It holds every reader of the log back. End it: select pg_terminate_backend(${pid}).`,
      ),
    ),
  ];
};

const roles = async (ask: Ask, prefix: string, advice: string): Promise<readonly Finding[]> => {
  const found = await ask<{ rolname: string; mighty: boolean; changes: boolean }>(
    `select rolname, rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as mighty,
        has_table_privilege(oid, 'es.events', 'insert, update, delete, truncate, trigger') as changes
      from pg_roles where rolname like $1`,
    [`${prefix.replaceAll('_', '\\_')}%`],
  );
  if (found.length === 0) return [warning('roles', 'services have no roles of their own', advice)];
  const strong = found.filter(({ mighty, changes }) => mighty || changes);
  return strong.length === 0
    ? [fine('roles', `${found.length} roles, none of which may change an event`)]
    : strong.map(({ rolname }) =>
        wrong('roles', `${rolname} may do more than its service needs, such as change events`, advice),
      );
};

const guards = async (ask: Ask): Promise<Finding> => {
  const [row] = await ask<{ on: number }>(
    `select count(*)::int as on from pg_trigger where tgname = 'refuse_change' and tgenabled = 'O'
      and tgrelid in ('es.events'::regclass, 'es.event_log'::regclass)`,
  );
  return row?.on === 2
    ? fine('log', 'stored events are guarded against changes')
    : wrong(
        'log',
        'the guard of stored events is off',
        'alter table es.events enable trigger refuse_change, and the same for es.event_log; then find out who did it.',
      );
};

const progress = async (ask: Ask): Promise<readonly Finding[]> => {
  const [row] = await ask<{ position: string; waiting: string; chronicle: string }>(
    `select h.position, c.position as chronicle, (select count(*) from es.events e where e.txid >= h.next_txid
        and not exists (select from es.event_log l where l.seq = e.seq)) as waiting
      from es.seq_head h, es.chronicle c where h.id = 1 and c.id = 1`,
  );
  const behind = await ask<{ consumer: string; lag: string }>(
    `select consumer, h.position - c.position as lag from es.checkpoints c, es.seq_head h
      where h.id = 1 and h.position - c.position > $1 order by 2 desc limit 10`,
    [LAG_EVENTS],
  );
  const waiting = Number(row?.waiting ?? 0);
  const past = Number(row?.position ?? 0) - Number(row?.chronicle ?? 0);
  const advice =
    'While the platform runs it catches up by itself; if this number does not fall, see the logs of the services.';
  return [
    waiting < LAG_EVENTS
      ? fine('log', `position ${row?.position ?? 0}, ${waiting} events wait for theirs`)
      : warning('log', `${waiting} events wait for their positions`, advice),
    past < LAG_EVENTS
      ? fine('log', 'the past can be read up to now')
      : warning('log', `the past lags by ${past} events`, advice),
    ...behind.map(({ consumer, lag }) => warning('log', `${consumer} is ${lag} events behind`, advice)),
  ];
};

const chain = async (url: string): Promise<Finding> => {
  const verdict = await verifyLog({ databaseUrl: url, newest: CHAINED_EVENTS });
  return verdict.sound
    ? fine('log', `the newest events up to ${verdict.head.position} are those that were written, by their hashes`)
    : wrong(
        'log',
        `event ${verdict.position} is not the one that was written: ${verdict.message}`,
        'Stop the platform and keep a copy of its data. Somebody with the rights of the owner, or a broken disk, changed the log: restore the last good backup.',
      );
};

const archive = async (url: string): Promise<readonly Finding[]> => {
  try {
    const found = await lookAtArchive(url);
    if (found === null) return [];
    const { location, position, segments, trouble } = found;
    return [
      trouble === undefined
        ? fine(
            'archive',
            `${segments} segments up to position ${position} in ${location}, the newest as they were put there`,
          )
        : wrong(
            'archive',
            `${location}: ${trouble}`,
            'What is in that file can not be read now. Bring it back from a copy of the archive; ./xenolith verify says whether it is the right one.',
          ),
    ];
  } catch (fault) {
    if (!(fault instanceof ArchiveUnavailable)) throw fault;
    return [wrong('archive', fault.message, 'The past that was archived can not be read until it is reached again.')];
  }
};

const schema = async (url: string): Promise<{ readonly finding: Finding; readonly readable: boolean }> => {
  const { revision, oldest } = await readSchemaState(url);
  if (oldest > SCHEMA_REVISION)
    return {
      finding: wrong(
        'schema',
        `revision ${revision} is that of a newer release, this one knows ${SCHEMA_REVISION}`,
        'Run the newer release on it.',
      ),
      readable: false,
    };
  if (revision < SCHEMA_REVISION)
    return {
      finding: wrong('schema', revision < 0 ? 'there is none' : `revision ${revision}`, 'The next up migrates it.'),
      readable: false,
    };
  return { finding: fine('schema', `revision ${revision}`), readable: true };
};

/** The database of the log, as its owner sees it. */
export const lookAtDatabase = async (
  url: string,
  place: { readonly prefix: string; readonly again: string },
): Promise<readonly Finding[]> => {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_LIMIT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const ask: Ask = async (text, values) => (await client.query(text, values)).rows as never;
    const { finding, readable } = await schema(url);
    const general = [...(await server(ask)), ...(await neighbours(ask)), finding];
    if (!readable) return general;
    return [
      ...general,
      ...(await roles(ask, place.prefix, place.again)),
      await guards(ask),
      ...(await progress(ask)),
      await chain(url),
      ...(await archive(url)),
    ];
  } catch (fault) {
    const why = fault instanceof Error ? fault.message : String(fault);
    return [wrong('postgres', `the database does not answer: ${why}`, 'Check that it runs, and what its log says.')];
  } finally {
    await client.end().catch(() => undefined);
  }
};
