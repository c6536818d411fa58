import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { repositoryRoot } from '../folders.js';
import { namingSources } from './stack-sources.js';

const lineOf = async (file: string, text: string): Promise<number> =>
  (await readFile(file, 'utf8')).split('\n').findIndex((line) => line.includes(text)) + 1;

it('a stack of a compiled program names the sources', async () => {
  const compiled = path.join(repositoryRoot, 'libs/kernel/dist/assert.js');
  const source = path.join(repositoryRoot, 'libs/kernel/src/assert.ts');
  const [at, from] = await Promise.all(
    [compiled, source].map((file) => lineOf(file, 'throw new AssertionError(message)')),
  );
  expect(namingSources(`Error: no\n    at assert (file://${compiled}:${String(at)}:9)`)).toContain(
    `at assert (${source}:${String(from)}:`,
  );
});

it('a place elsewhere, or one without a map, stays as it is', () => {
  const text = `at run (file:///elsewhere/main.js:1:2) at (${repositoryRoot}/node_modules/none.js:3:4) node:events:505:3`;
  expect(namingSources(text)).toBe(text);
});
