import type { AppendOutcome, AppendRequest, EventLog, LogPast, Snapshot, StoredDocument, Uuid } from '@xenolith/kernel';
import type { NatsConnection } from '@nats-io/transport-node';
import type pg from 'pg';
import { LogArchive } from './archive/log-archive.js';
import { AppendBatcher } from './append-batcher.js';
import type { DocumentShapes } from './append-batch.js';
import { openPool, READ_LIMIT_MS, WRITE_LIMIT_MS } from './connection.js';
import { announcer } from './announcer.js';
import { PostgresPast } from './log-past.js';
import { readDocumentChanges, type DocumentChange, type DocumentChangesQuery } from './document-history.js';
import * as reads from './reads.js';
import { scanDocuments } from './scan-documents.js';

/**
 * Calls of the group commit at once: one works in the server while the next is made ready, and a call that waits for a lock does not hold up all others.
 * Measured on two cores, with 64 and 256 callers: with four the groups are half as large, each append costs both sides half as much CPU again, and a
 * third fewer get through.
 */
const DEFAULT_WRITERS = 2;
const READERS = 4;

export interface EventStoreOptions {
  readonly databaseUrl: string;
  /** Of this process, as `pg_stat_activity` shows it. */
  readonly name: string;
  /** Group commits in flight at once; 2 unless told. */
  readonly poolSize?: number;
  /** Wakes the sequencer after each commit. Without it positions come by the sequencer's poll. */
  readonly nats?: NatsConnection;
  readonly documentShapes?: DocumentShapes;
}

/** The log in PostgreSQL. Its schema must be there: `migrateEventStore`. */
export interface EventStore extends EventLog {
  readonly databaseUrl: string;
  readonly name: string;
  /** For reads that the port does not have; writes go through `append`. */
  readonly pool: pg.Pool;
  /** What happened to the documents of a category, for watches that resume where no memory reaches. */
  documentChanges(query: DocumentChangesQuery): Promise<readonly DocumentChange[]>;
  /** What was. */
  readonly past: LogPast;
  /** Answers appends in hand, then closes all connections. */
  close(): Promise<void>;
}

export const openEventStore = async (options: EventStoreOptions): Promise<EventStore> => {
  const { databaseUrl, name } = options;
  const writers = options.poolSize ?? DEFAULT_WRITERS;
  const writePool = openPool(databaseUrl, writers, {
    applicationName: `${name} append`,
    statementTimeoutMs: WRITE_LIMIT_MS,
  });
  const pool = openPool(databaseUrl, READERS, { applicationName: `${name} read`, statementTimeoutMs: READ_LIMIT_MS });
  const announce = announcer(options.nats);
  const batcher = new AppendBatcher({
    pool: writePool,
    concurrency: writers,
    shapes: options.documentShapes ?? {},
    onCommit: announce,
  });
  // A wrong URL or a missing schema shows here and not at the first append.
  await pool.query('select position from es.seq_head where id = 1').catch(async (fault: unknown) => {
    await Promise.all([writePool.end(), pool.end()]);
    throw fault;
  });
  const archive = new LogArchive(pool);
  const readStream = reads.streamReader(pool, archive);
  let asked: Promise<number> | undefined;
  let closing: Promise<void> | undefined;
  const head = async (): Promise<number> => {
    // Calls that arrive before the question is sent share its answer; later ones ask their own.
    asked ??= Promise.resolve().then(() => {
      asked = undefined;
      return reads.settledHead(pool, announce);
    });
    return asked;
  };
  const store: EventStore = {
    databaseUrl,
    name,
    pool,
    append: async (request: AppendRequest): Promise<AppendOutcome> => batcher.append(request),
    readStream: (streamId: Uuid, afterVersion = 0) => readStream(streamId, afterVersion),
    commandResult: (commandId) => reads.commandResult(pool, commandId),
    claimHolder: (scope, value) => reads.claimHolder(pool, scope, value),
    snapshot: (streamId, stateVersion) => reads.readSnapshot(pool, streamId, stateVersion),
    saveSnapshot: (snapshot: Snapshot) => reads.saveSnapshot(pool, snapshot),
    readLog: (after, limit) => reads.readWholeLog(pool, archive, { after, limit }),
    readEvents: (after, limit) => reads.readEvents(pool, archive, { after, limit }),
    readCategory: (category, range) => reads.readCategory(pool, category, range),
    head,
    past: new PostgresPast(pool, { head }, archive),
    documents: async (categories) => {
      const documents: StoredDocument[] = [];
      const position = await scanDocuments(pool, categories, (page) => {
        for (const document of page) documents.push(document);
      });
      return { position, documents };
    },
    scanDocuments: (categories, onPage) => scanDocuments(pool, categories, onPage),
    documentChanges: (query) => readDocumentChanges(pool, archive, query),
    close: () => {
      closing ??= batcher.close().then(async () => {
        await Promise.all([writePool.end(), pool.end()]);
      });
      return closing;
    },
  };
  return store;
};
