import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HISTORIES } from './host-history.spec-fixture.js';

const SEEDS = ['1', '2', 'another'];
/** The oldest whose language the library's compiled code is. */
const OLDEST_MAJOR = 20;

const versionOf = (node: string): string => execFileSync(node, ['--version']).toString().trim();

/** Other versions of Node on PATH, by version. */
const otherNodes = (): ReadonlyMap<string, string> => {
  const programs = (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .flatMap((folder) => ['node', 'nodejs'].map((name) => path.join(folder, name)))
    .filter((program) => existsSync(program));
  const others = programs.map((program) => [versionOf(program), program] as const);
  return new Map(
    others.filter(([version]) => version !== process.version && Number(version.slice(1).split('.')[0]) >= OLDEST_MAJOR),
  );
};

let folder: string;
let script: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'xenolith-history-'));
  script = path.join(folder, 'history.mjs');
  const bundle = await rolldown({
    input: fileURLToPath(new URL('host-history.spec-fixture.ts', import.meta.url)),
    platform: 'node',
    resolve: { conditionNames: ['@xenolith/source', 'import'] },
  });
  await bundle.write({ file: script, format: 'esm' });
  await bundle.close();
});
afterAll(() => rm(folder, { recursive: true }));

/** A line for each kind of host: its hash for the seed. */
const PRINT = `const [, file, seed] = process.argv;
const { HISTORIES, hostHistory } = await import(file);
for (const [name, host] of Object.entries(HISTORIES)) console.log(name, hostHistory(seed, host));`;

const printedBy = async (node: string, seed: string): Promise<string> =>
  (await promisify(execFile)(node, ['--input-type=module', '--eval', PRINT, pathToFileURL(script).href, seed])).stdout;

describe('the history of a host', () => {
  it('is the same in every process of this Node, and another for another seed', async () => {
    const [first, second] = await Promise.all([printedBy(process.execPath, '1'), printedBy(process.execPath, '1')]);
    const told = first.trimEnd().split('\n');
    expect(told.map((line) => line.split(' ')[0])).toEqual(Object.keys(HISTORIES));
    expect(new Set(told.map((line) => line.split(' ')[1])).size).toBe(told.length);
    expect(second).toBe(first);
    expect(await printedBy(process.execPath, '2')).not.toBe(first);
  });

  const others = otherNodes();
  it.skipIf(others.size === 0)(
    `is the same under other versions of Node (${[...others.keys()].join(', ') || 'none is on PATH'})`,
    async () => {
      for (const seed of SEEDS) {
        const ours = await printedBy(process.execPath, seed);
        for (const node of others.values()) expect(await printedBy(node, seed)).toBe(ours);
      }
    },
  );
});
