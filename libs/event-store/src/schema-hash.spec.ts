import { expect, it } from 'vitest';
import { SCHEMA_REVISION, schemaHash } from './schema-hash.js';

it('has a revision of its own for each shape of the schema: when this fails, count SCHEMA_REVISION up', () => {
  expect({ revision: SCHEMA_REVISION, hash: schemaHash().slice(0, 16) }).toEqual({
    revision: 6,
    hash: '6561263a631ab424',
  });
});
