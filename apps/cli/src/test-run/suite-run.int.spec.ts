import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SuiteRun, type Failure } from './suite-run.js';

const says = (script: string): readonly string[] => [process.execPath, '-e', script];

describe('a check that fails', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'xenolith-suite-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const failuresOf = async (...steps: readonly (readonly string[])[]): Promise<readonly Failure[]> => {
    const failures: Failure[] = [];
    const events = { onFailure: (_: unknown, failure: Failure) => failures.push(failure), onProgress: () => undefined };
    const suite = { name: 'lint', description: '', kind: 'check', steps, stage: 1 } as const;
    await new SuiteRun(suite, join(folder, 'lint.log'), events).run();
    return failures;
  };

  it('tells what the step that failed said, not the steps before it', async () => {
    const long = says("for (let line = 0; line < 60; line += 1) console.log('@project/' + line)");
    const broken = says("console.log('a.ts: 15:11 error'); process.exitCode = 1");
    expect(await failuresOf(long, broken, says("console.log('never')"))).toEqual([
      { where: 'lint', why: 'a.ts: 15:11 error' },
    ]);
  });

  it('tells the end of what it said', async () => {
    const long = says("for (let line = 0; line < 60; line += 1) console.log('line ' + line); process.exitCode = 1");
    const [failure] = await failuresOf(long);
    expect(failure?.why.split('\n').at(-1)).toBe('line 59');
    expect(failure?.why.split('\n')).toHaveLength(10);
  });
});
