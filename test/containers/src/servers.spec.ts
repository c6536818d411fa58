import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { needsEngine } from './engine.js';

const ROOT = resolve(import.meta.dirname, '../../..');
const VITEST = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** Runs the integration tests of a lib in a process of their own, their servers in containers. */
const integrationTests = async (lib: string): Promise<Report> => {
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-report-'));
  const file = join(folder, 'report.json');
  const args = [VITEST, 'run', '--project', 'integration', lib, '--reporter=json', `--outputFile=${file}`];
  const env = { ...process.env, XENOLITH_TEST_SERVERS: 'containers' };
  // What the tests of another project left in the environment is not for these.
  const { VITEST: _vitest, VITEST_POOL_ID: _pool, VITEST_WORKER_ID: _worker, ...clean } = env as Record<string, string>;
  try {
    const output = await new Promise<string>((done) => {
      execFile(process.execPath, args, { cwd: ROOT, env: clean, maxBuffer: 64 * 2 ** 20 }, (_error, stdout, stderr) => {
        done(stdout + stderr);
      });
    });
    return JSON.parse(await readFile(file, 'utf8').catch(() => Promise.reject(new Error(output)))) as Report;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

describe('with Postgres and NATS in containers', () => {
  needsEngine();

  it.each(['libs/event-store', 'libs/messaging'])('the integration tests of %s pass, every one', async (lib) => {
    const { numPassedTests, numFailedTests, numPendingTests, testResults } = await integrationTests(lib);
    const failures = testResults.flatMap(({ name, message, assertionResults }) => [
      ...(message === '' ? [] : [`${name}: ${message}`]),
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map(({ fullName, failureMessages }) => `${fullName}\n${failureMessages.join('\n')}`),
    ]);
    expect(failures).toEqual([]);
    expect({ numFailedTests, numPendingTests }).toEqual({ numFailedTests: 0, numPendingTests: 0 });
    expect(numPassedTests).toBeGreaterThan(0);
  });
});
