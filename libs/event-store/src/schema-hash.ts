import { createHash } from 'node:crypto';
import { createAppend } from './sql/append.sql.js';
import { createTables, forbidChanges } from './sql/schema.sql.js';
import { createBeginEpoch, createSequence, createSettled } from './sql/sequence.sql.js';

export const FUNCTIONS = [createAppend, createBeginEpoch, createSequence, createSettled];

/** Tells one schema from another: recorded when a migration is complete, so that a start with nothing to migrate is one question. */
export const schemaHash = (): string =>
  createHash('sha256')
    .update([...createTables, ...forbidChanges, ...FUNCTIONS].join(';'))
    .digest('hex');
