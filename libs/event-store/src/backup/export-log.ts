import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { EventStoreFault } from '../append-batcher.js';
import { closeSession, openSession } from '../connection.js';
import { SCHEMA_REVISION } from '../schema-hash.js';
import { BACKUP_TABLES, type BackupTable } from './tables.js';

/** Rows are handed over in pieces of about this size, each whole by itself. */
const CHUNK_BYTES = 4 * 2 ** 20;
const NEWLINE = 0x0a;

/** Where the log stood when it was read. */
export interface LogState {
  /** The newest position; events that were committed but had none yet get theirs after the restore. */
  readonly position: number;
  readonly events: number;
  readonly logId: string;
  readonly schemaRevision: number;
  /** The link of the chain of hashes over all events at the place that it had reached: what is restored must have the same there. */
  readonly chain: { readonly position: number; readonly link: string };
}

/** Rows of a part, as PostgreSQL's COPY writes them in text. */
export interface LogChunk {
  readonly table: string;
  readonly rows: number;
  readonly content: Buffer;
}

const countRows = (content: Buffer): number => {
  let rows = 0;
  // In this format a line is a row: newlines within values are written otherwise.
  for (let at = content.indexOf(NEWLINE); at >= 0; at = content.indexOf(NEWLINE, at + 1)) rows += 1;
  return rows;
};

async function* chunksOf(session: pg.Client, { name, source, columns, read }: BackupTable): AsyncGenerator<LogChunk> {
  const [from = '', ...condition] = source.split(' where ');
  const where = condition.length > 0 ? ` where ${condition.join(' where ')}` : '';
  const stream = session.query(copyTo(`copy (select ${(read ?? columns).join(', ')} from ${from}${where}) to stdout`));
  let parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size < CHUNK_BYTES) continue;
    const all = Buffer.concat(parts);
    const end = all.lastIndexOf(NEWLINE) + 1;
    // One row that is longer than a chunk goes on.
    if (end === 0) continue;
    const content = all.subarray(0, end);
    yield { table: name, rows: countRows(content), content };
    parts = [all.subarray(end)];
    size = all.length - end;
  }
  if (size === 0) return;
  const content = Buffer.concat(parts);
  yield { table: name, rows: countRows(content), content };
}

const stateOf = async (session: pg.Client): Promise<LogState> => {
  const { rows } = await session.query<{
    position: string;
    log_id: string;
    events: string;
    chained: string;
    link: string;
  }>(
    `select h.position, h.log_id, (select count(*) from es.events) as events, c.position as chained, encode(c.link, 'hex') as link
      from es.seq_head h, es.chronicle c where h.id = 1 and c.id = 1`,
  );
  const [row] = rows;
  if (!row) throw new EventStoreFault('the log has no head');
  return {
    position: Number(row.position),
    events: Number(row.events),
    logId: row.log_id,
    schemaRevision: SCHEMA_REVISION,
    chain: { position: Number(row.chained), link: row.link },
  };
};

/**
 * Reads the whole log as of one moment, while the platform goes on. It takes no transaction id, so it holds no reader of the log back. `ownerUrl` may read
 * everything; `onState` comes first.
 */
export async function* exportLog(
  ownerUrl: string,
  onState: (state: LogState) => Promise<void>,
): AsyncGenerator<LogChunk> {
  const session = await openSession(ownerUrl, { applicationName: 'xenolith-backup', statementTimeoutMs: 0 });
  try {
    await session.query('begin isolation level repeatable read, read only');
    await session.query('set local idle_in_transaction_session_timeout = 0');
    // Whole tables are read: what helps the platform's own questions does not help here. Times must read the same anywhere.
    await session.query(`set local enable_seqscan = on; set local timezone = 'UTC'; set local datestyle = 'ISO'`);
    await onState(await stateOf(session));
    for (const table of BACKUP_TABLES) yield* chunksOf(session, table);
    await session.query('commit');
  } finally {
    await closeSession(session);
  }
}
