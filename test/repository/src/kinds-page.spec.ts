import { readFileSync } from 'node:fs';
import path from 'node:path';
import { KINDS, type KindDefinition } from '@xenolith/contracts';
import { describe, expect, it } from 'vitest';
import { root } from './tracked-files.js';

type Row = readonly string[];

const pageRows = (): readonly Row[] =>
  readFileSync(path.join(root, 'docs', 'kinds.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    // The first two lines are the header and its rule.
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );

const rowOf = (kind: KindDefinition): Row => [
  kind.kind,
  kind.group === '' ? `(core, ${kind.version})` : kind.group,
  kind.plural,
  kind.shortNames.join(', '),
  kind.namespaced ? 'namespace' : 'cluster',
  kind.service,
];

describe('docs/kinds.md', () => {
  it('has a row for every kind, as contracts define it', () => {
    // Events are a view of the log: the gateway serves them, and no contract defines them.
    const rows = pageRows().filter(([kind]) => kind !== 'Event');
    const byKind = (a: Row, b: Row): number => (a[0] ?? '').localeCompare(b[0] ?? '');
    expect([...rows].toSorted(byKind)).toEqual(KINDS.map(rowOf).toSorted(byKind));
  });
});
