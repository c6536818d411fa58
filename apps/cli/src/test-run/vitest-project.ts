import path from 'node:path';
import { createVitest, type Reporter, type TestCase } from 'vitest/node';
import { repositoryRoot } from '../folders.js';
import type { FromVitest } from './messages.js';

// Runs one Vitest project and tells the parent of each result as it comes. A process of its own: a crash here costs one suite.
const project = process.argv[2] ?? '';

/** Settles when the message is on its way, or nobody is there to read it. */
const tell = (message: FromVitest): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send?.(message, () => resolve());
    else resolve();
  });

const errorsOf = (
  errors: readonly { readonly message: string; readonly stack?: string | undefined }[] | undefined,
): string => (errors ?? []).map(({ message, stack }) => stack ?? message).join('\n');

const fileOf = (moduleId: string): string => path.relative(repositoryRoot, moduleId);

const tellResult = (testCase: TestCase): void => {
  const result = testCase.result();
  // A test that is still pending when its file ends counts as skipped, as Vitest itself counts it.
  const outcome = result.state === 'pending' ? 'skipped' : result.state;
  const note = result.state === 'skipped' ? (result.note ?? '') : '';
  const why = outcome === 'failed' ? errorsOf(result.errors) : note;
  void tell({ type: 'result', file: fileOf(testCase.module.moduleId), test: testCase.fullName, outcome, why });
};

const reporter: Reporter = {
  onTestCaseResult: tellResult,
  onTestModuleEnd: (module) => {
    const errors = module.errors();
    if (errors.length > 0) void tell({ type: 'broken', where: fileOf(module.moduleId), why: errorsOf(errors) });
    // Suites' own errors come from hooks; the tests below them may not have run at all.
    for (const suite of module.children.allSuites()) {
      const failures = suite.errors();
      if (failures.length > 0)
        void tell({ type: 'broken', where: `${fileOf(module.moduleId)} > ${suite.fullName}`, why: errorsOf(failures) });
    }
  },
  onTestRunEnd: (_modules, unhandled) => {
    for (const error of unhandled)
      void tell({ type: 'broken', where: 'outside of any test', why: error.stack ?? error.message });
  },
};

const vitest = await createVitest({
  root: repositoryRoot,
  project: [project],
  run: true,
  watch: false,
  passWithNoTests: true,
  reporters: ['default', reporter],
});
// Ends after the tests in hand, with their clean-up; what was not begun is left out.
process.on('SIGTERM', () => void vitest.cancelCurrentRun('keyboard-input'));
await vitest.start();
await vitest.close();
await tell({ type: 'finished' });
// Nothing may keep this process: not the channel, not a handle that a test left open.
if (process.connected) process.disconnect();
process.exit();
