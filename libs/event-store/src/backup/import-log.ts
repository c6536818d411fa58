import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { EventStoreFault } from '../append-batcher.js';
import { closeSession, openSession } from '../connection.js';
import type { LogChunk, LogState } from './export-log.js';
import { ARCHIVE_REVISION } from '../sql/archive.sql.js';
import { BACKUP_TABLES, POSITIONS_STAGE, targetOf } from './tables.js';

const requireEmpty = async (session: pg.Client): Promise<void> => {
  const { rows } = await session.query<{ filled: boolean }>(
    'select exists (select from es.events) or exists (select from es.streams) as filled',
  );
  if (rows[0]?.filled === true)
    throw new EventStoreFault('the database holds a log already: a backup is restored into an empty one only');
};

const load = async (session: pg.Client, { table, content }: Omit<LogChunk, 'rows'>): Promise<void> => {
  const described = BACKUP_TABLES.find(({ name }) => name === table);
  if (!described) throw new EventStoreFault(`the backup has a part that this release does not know: ${table}`);
  const into = session.query(copyFrom(`copy ${targetOf(described)} (${described.columns.join(', ')}) from stdin`));
  await pipeline(Readable.from([content]), into);
};

/** Positions go to their events; both are of the transaction that restores. */
const placeEvents = async (session: pg.Client, state: Pick<LogState, 'position' | 'events'>): Promise<void> => {
  await session.query(`analyze es.events; analyze ${POSITIONS_STAGE}`);
  const placed = await session.query(
    `insert into es.event_log (position, txid, seq)
      select p.position, e.txid, e.seq from ${POSITIONS_STAGE} p join es.events e on e.seq = p.seq`,
  );
  const { rows } = await session.query<{ events: string; positions: string; last: string; seq: string }>(
    `select (select count(*) from es.events) as events, (select count(*) from ${POSITIONS_STAGE}) as positions,
      (select coalesce(max(position), 0) from es.event_log) as last, (select coalesce(max(seq), 1) from es.events) as seq`,
  );
  const [found] = rows;
  if (
    Number(found?.events) !== state.events ||
    Number(found?.positions) !== placed.rowCount ||
    Number(found?.last) !== state.position
  )
    throw new EventStoreFault(
      `the backup does not hold together: ${found?.events ?? 0} events of ${state.events}, ${placed.rowCount ?? 0} of ` +
        `${found?.positions ?? 0} positions, the last ${found?.last ?? 0} of ${state.position}`,
    );
  await session.query(`select setval('es.event_seq', $1)`, [found?.seq]);
  // Whoever takes the head over finds it written in another cluster, and begins a new era of transaction ids.
  await session.query(
    `update es.seq_head set position = $1, next_txid = '0', cluster = 'restored', log_id = gen_random_uuid() where id = 1`,
    [state.position],
  );
};

/** The chronicle begins behind what was archived: that part of it was loaded. */
const resumeChronicle = async (session: pg.Client): Promise<void> => {
  await session.query(
    `update es.chronicle c set position = b.position, recorded_until = b.recorded_until, link = substr(b.links, length(b.links) - 31)
      from (select * from es.chain order by position desc limit 1) b where c.id = 1`,
  );
  await session.query(
    `update es.applied set hash = '${ARCHIVE_REVISION}'
      where name = 'oldest_revision' and hash::int < ${ARCHIVE_REVISION} and exists (select from es.archive)`,
  );
};

/** Events that the chronicle takes in at a time; nobody waits for it here. */
const CHRONICLE_EVENTS = 5_000;

/** Writes the chronicle of what was loaded, and compares its chain of hashes with that of the original: then not a byte of an event differs. */
const compareChain = async (session: pg.Client, chain: LogState['chain']): Promise<void> => {
  for (;;) {
    const { rows } = await session.query<{ reached: string; head: string }>(
      'select reached, head from es.chronicle_step($1)',
      [CHRONICLE_EVENTS],
    );
    if (rows[0]?.reached === rows[0]?.head) break;
  }
  if (chain.position === 0) return;
  const { rows } = await session.query<{ link: string }>(
    `select encode(substr(links, ($1::bigint - first_position)::int * 32 + 1, 32), 'hex') as link from es.chain
      where first_position <= $1::bigint and position >= $1::bigint`,
    [chain.position],
  );
  if (rows[0]?.link !== chain.link)
    throw new EventStoreFault(
      `the events up to position ${chain.position} are not those of the original: their hash is ${rows[0]?.link ?? 'none'} in place of ${chain.link}`,
    );
};

/** Loads a log into a database whose schema is migrated and whose log is empty, in one transaction: whole, or not at all. Nothing else may use the database. */
export const importLog = async (
  ownerUrl: string,
  state: Pick<LogState, 'position' | 'events' | 'chain'>,
  chunks: AsyncIterable<Omit<LogChunk, 'rows'>>,
): Promise<void> => {
  const session = await openSession(ownerUrl, { applicationName: 'xenolith-restore', statementTimeoutMs: 0 });
  try {
    await session.query('begin');
    await session.query('set local idle_in_transaction_session_timeout = 0');
    // Joins of whole tables: what helps the platform's own questions does not help here.
    await session.query(`set local enable_seqscan = on; set local enable_hashjoin = on; set local timezone = 'UTC'`);
    await requireEmpty(session);
    await session.query(`create temporary table ${POSITIONS_STAGE} (position bigint, seq bigint) on commit drop`);
    for await (const chunk of chunks) await load(session, chunk);
    await placeEvents(session, state);
    await resumeChronicle(session);
    await compareChain(session, state.chain);
    await session.query('commit');
    await session.query('analyze');
  } finally {
    await closeSession(session);
  }
};
