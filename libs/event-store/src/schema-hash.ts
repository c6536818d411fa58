import { createHash } from 'node:crypto';
import { createAppend } from './sql/append.sql.js';
import { createArchive, createRefuseChange, createRegisterSegment, createRemoveArchived } from './sql/archive.sql.js';
import { createChronicle, createChronicleStep, createShapeTurns } from './sql/chronicle.sql.js';
import { createTables, forbidChanges } from './sql/schema.sql.js';
import { createBeginEpoch, createEndOffenders, createSequence, createSettled } from './sql/sequence.sql.js';

export const FUNCTIONS = [
  createAppend,
  createBeginEpoch,
  createSequence,
  createSettled,
  createEndOffenders,
  createChronicleStep,
  createRefuseChange,
  createRegisterSegment,
  createRemoveArchived,
];

/** Counts the versions of the schema: grows whenever a table or a function changes. */
export const SCHEMA_REVISION = 6;
/** The oldest revision whose code works with this schema, so that services of two releases can run side by side while one replaces the other. */
export const OLDEST_REVISION = 0;

/** Tells one schema from another: recorded when a migration is complete, so that a start with nothing to migrate is one question. */
export const schemaHash = (): string =>
  createHash('sha256')
    .update(
      [...createTables, ...forbidChanges, ...createChronicle, ...createArchive, ...createShapeTurns, ...FUNCTIONS].join(
        ';',
      ),
    )
    .digest('hex');
