import { closeSession, openSession, READ_LIMIT_MS, sqlState } from './connection.js';
import { SCHEMA_REVISION, schemaHash } from './schema-hash.js';

/** The schema in the database is not one that this code can work with. */
export class SchemaMismatch extends Error {
  override readonly name = 'SchemaMismatch';
  constructor(
    /** `behind`: it must be migrated first. `ahead`: a newer release has migrated it, and this one is too old for it. */
    readonly kind: 'behind' | 'ahead',
    message: string,
  ) {
    super(message);
  }
}

/** What is known of the schema in a database. Revision 0 is that of the time before revisions were written down, -1 none at all. */
export interface SchemaState {
  readonly revision: number;
  /** Code of an older revision than this can't work with it. */
  readonly oldest: number;
  readonly hash: string;
}

const NONE: SchemaState = { revision: -1, oldest: -1, hash: '' };
const UNDEFINED_TABLE = '42P01';
const NO_SCHEMA = '3F000';

export const readSchemaState = async (databaseUrl: string): Promise<SchemaState> => {
  const session = await openSession(databaseUrl, {
    applicationName: 'xenolith-schema',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    const { rows } = await session.query<{ name: string; hash: string }>('select name, hash from es.applied');
    const found = new Map(rows.map(({ name, hash }) => [name, hash]));
    return {
      revision: Number(found.get('revision') ?? 0),
      oldest: Number(found.get('oldest_revision') ?? 0),
      hash: found.get('functions') ?? '',
    };
  } catch (fault) {
    if (sqlState(fault) === UNDEFINED_TABLE || sqlState(fault) === NO_SCHEMA) return NONE;
    throw fault;
  } finally {
    await closeSession(session);
  }
};

/** Throws when only a newer release can work with the schema: what it wrote, this one might misread. */
export const refuseNewer = ({ revision, oldest }: SchemaState): void => {
  if (oldest > SCHEMA_REVISION)
    throw new SchemaMismatch(
      'ahead',
      `the database has schema revision ${revision}, which needs a release that knows revision ${oldest} or newer; this one knows ` +
        `${SCHEMA_REVISION}: a newer release was here. Run that one, or restore a backup from before it`,
    );
};

/** Whether there is nothing to migrate. Throws a `SchemaMismatch` when a newer release was here. */
export const isMigrated = async (databaseUrl: string): Promise<boolean> => {
  const state = await readSchemaState(databaseUrl);
  refuseNewer(state);
  return state.revision > SCHEMA_REVISION || (state.revision === SCHEMA_REVISION && state.hash === schemaHash());
};

/** Throws a `SchemaMismatch` unless this code can work with the schema; services ask before they begin. */
export const requireSchema = async (databaseUrl: string): Promise<void> => {
  const state = await readSchemaState(databaseUrl);
  refuseNewer(state);
  if (state.revision < SCHEMA_REVISION)
    throw new SchemaMismatch(
      'behind',
      `the database has ${state.revision < 0 ? 'no schema yet' : `schema revision ${state.revision}`}, and this release needs ` +
        `revision ${SCHEMA_REVISION}: run the migrate step of this release on it`,
    );
};
