import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { ESLint } from 'eslint';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from './tracked-files.js';

// Lint is asked about sentences that somebody might write one day; nothing is written to a file.
const lint = new ESLint({ cwd: root });

const rulesBrokenBy = async (file: string, text: string): Promise<readonly string[]> => {
  const [result] = await lint.lintText(text, { filePath: path.join(root, file) });
  return (result?.messages ?? []).map(({ ruleId, message }) => ruleId ?? message);
};

const BOUNDARY = '@nx/enforce-module-boundaries';

beforeAll(() => {
  // Without the project graph the rule would let everything pass.
  const nx = path.join(root, 'node_modules', 'nx', 'dist', 'bin', 'nx.js');
  execFileSync(process.execPath, [nx, 'show', 'projects'], {
    cwd: root,
    env: { ...process.env, NX_DAEMON: 'false' },
    stdio: 'ignore',
  });
});

describe('lint', () => {
  it.each([
    ['a domain that reaches into another', 'libs/compute/src/index.ts', '@xenolith/storage'],
    ['a domain that does I/O', 'libs/compute/src/index.ts', '@xenolith/event-store'],
    ['contracts that know a domain', 'libs/contracts/src/index.ts', '@xenolith/compute'],
    ['an emulator that knows the platform', 'libs/xen/src/index.ts', '@xenolith/contracts'],
    ['a kernel that knows anything', 'libs/kernel/src/index.ts', '@xenolith/contracts'],
    ['infrastructure that knows a domain', 'libs/event-store/src/index.ts', '@xenolith/compute'],
  ])('refuses %s', async (_what, file, imported) => {
    expect(await rulesBrokenBy(file, `export * from '${imported}';\n`)).toContain(BOUNDARY);
  });

  it('refuses a path into another workspace', async () => {
    expect(await rulesBrokenBy('libs/compute/src/index.ts', "export * from '../../storage/src/index.js';\n")).toContain(
      BOUNDARY,
    );
  });

  it('lets a domain use the kernel and the contracts', async () => {
    const text = "export * from '@xenolith/kernel';\nexport * from '@xenolith/contracts';\n";
    expect(await rulesBrokenBy('libs/compute/src/index.ts', text)).not.toContain(BOUNDARY);
  });

  it.each([
    ['the clock', 'export const now = (): number => Date.now();\n', 'no-restricted-globals'],
    ['dice', 'export const roll = (): number => Math.random();\n', 'no-restricted-properties'],
    [
      'the file system',
      "import { readFileSync } from 'node:fs';\nexport const read = readFileSync;\n",
      'no-restricted-imports',
    ],
  ])('keeps %s out of a pure lib', async (_what, text, rule) => {
    expect(await rulesBrokenBy('libs/compute/src/index.ts', text)).toContain(rule);
  });
});
