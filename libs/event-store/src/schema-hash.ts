import { createHash } from 'node:crypto';
import { createAppend } from './sql/append.sql.js';
import { createChronicle, createChronicleStep } from './sql/chronicle.sql.js';
import { createTables, forbidChanges } from './sql/schema.sql.js';
import { createBeginEpoch, createSequence, createSettled } from './sql/sequence.sql.js';

export const FUNCTIONS = [createAppend, createBeginEpoch, createSequence, createSettled, createChronicleStep];

/** Tells one schema from another: recorded when a migration is complete, so that a start with nothing to migrate is one question. */
export const schemaHash = (): string =>
  createHash('sha256')
    .update([...createTables, ...forbidChanges, ...createChronicle, ...FUNCTIONS].join(';'))
    .digest('hex');
