import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { repositoryRoot } from '../folders.js';
import { say, seconds, table, UserError } from '../terminal.js';
import { SuiteRun, type Failure, type SuiteResult } from '../test-run/suite-run.js';
import { SUITES, type Suite } from '../test-run/suites.js';

/** After Ctrl-C the suites have this long to stop the servers that they started. */
const STOP_GRACE_MS = 15_000;
const TERMINAL_REFRESH_MS = 500;
/** Where nobody watches, one line now and then shows that it is alive. */
const PLAIN_REFRESH_MS = 15_000;
const SHOWN_FAILURE_LINES = 12;

export const chooseSuites = (only: string | undefined): readonly Suite[] => {
  if (only === undefined) return SUITES;
  const wanted = only.split(',').map((name) => name.trim());
  const unknown = wanted.filter((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown.length > 0)
    throw new UserError(`there is no suite "${unknown.join('", "')}".`, [
      `There are: ${SUITES.map(({ name }) => name).join(', ')}.`,
    ]);
  return SUITES.filter(({ name }) => wanted.includes(name));
};

const indent = (text: string, lines: number): string =>
  text
    .split('\n')
    .slice(0, lines)
    .map((line) => `      ${line}`)
    .join('\n');

const outcomeOf = (result: SuiteResult): string => {
  if (result.failed > 0) return 'FAILED';
  return result.finished ? 'ok    ' : 'ended ';
};

const counts = ({ suite, passed, failed, skipped }: SuiteResult): string =>
  `${suite.name} ${passed} passed${failed > 0 ? `, ${failed} failed` : ''}${skipped > 0 ? `, ${skipped} skipped` : ''}`;

/** One line on a terminal that is rewritten; else a line now and then. */
class Progress {
  private readonly running = new Set<SuiteRun>();
  private readonly startedAt = performance.now();
  private readonly timer: NodeJS.Timeout;
  private readonly onTerminal = process.stderr.isTTY;

  constructor() {
    this.timer = setInterval(() => this.show(), this.onTerminal ? TERMINAL_REFRESH_MS : PLAIN_REFRESH_MS);
    this.timer.unref();
  }

  started(run: SuiteRun): void {
    this.running.add(run);
  }

  ended(run: SuiteRun): void {
    this.running.delete(run);
    const { result } = run;
    this.line(`  ${outcomeOf(result)} ${counts(result)} in ${seconds(result.durationMs)}`);
  }

  failure(result: SuiteResult, failure: Failure): void {
    this.line(`  FAILED ${result.suite.name}: ${failure.where}\n${indent(failure.why, SHOWN_FAILURE_LINES)}`);
  }

  close(): void {
    clearInterval(this.timer);
    if (this.onTerminal) process.stderr.write('\r\u001b[K');
  }

  private line(text: string): void {
    if (this.onTerminal) process.stderr.write('\r\u001b[K');
    say(text);
  }

  private show(): void {
    const now = [...this.running].map(({ result }) => counts(result)).join(' · ');
    const text = `  ${seconds(performance.now() - this.startedAt)}  ${now}`;
    if (this.onTerminal) process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns || 80) - 1)}`);
    else say(text);
  }
}

const printSummary = (results: readonly SuiteResult[], logFolder: string): void => {
  say('');
  const rows = results.map(({ suite, passed, failed, skipped, durationMs }) => [
    suite.name,
    String(passed),
    String(failed),
    String(skipped),
    seconds(durationMs),
    suite.description,
  ]);
  say(table([['SUITE', 'PASSED', 'FAILED', 'SKIPPED', 'TIME', 'WHAT'], ...rows]));
  const failures = results.flatMap(({ suite, failures: of }) => of.map(({ where }) => `  ${suite.name}: ${where}`));
  if (failures.length > 0) say(`\nFailed:\n${failures.join('\n')}`);
  const skips = results.flatMap(({ suite, skips: of }) => [...of].map(([why, n]) => `  ${suite.name}: ${n} × ${why}`));
  if (skips.length > 0) say(`\nNOT TESTED HERE, as this machine lacks what they need:\n${skips.join('\n')}`);
  say(`\nOutput of each suite: ${logFolder}`);
};

/** Runs the suites; the last line on standard output counts over all of them. The exit code is 1 when anything failed. */
export const test = async (options: { readonly only?: string | undefined }): Promise<number> => {
  const suites = chooseSuites(options.only);
  const logFolder = path.join(repositoryRoot, '.runtime', 'test-logs');
  mkdirSync(logFolder, { recursive: true });
  const progress = new Progress();
  const events = {
    onFailure: (result: SuiteResult, failure: Failure) => progress.failure(result, failure),
    onProgress: () => undefined,
  };
  const runs = suites.map((suite) => new SuiteRun(suite, path.join(logFolder, `${suite.name}.log`), events));
  const interruption = stopOnInterrupt(runs);
  for (const stage of new Set(suites.map((suite) => suite.stage))) {
    const here = runs.filter(({ result }) => result.suite.stage === stage);
    await Promise.all(
      here.map(async (run) => {
        if (interruption.happened()) return;
        progress.started(run);
        await run.run();
        progress.ended(run);
      }),
    );
  }
  progress.close();
  interruption.forget();
  const results = runs.map(({ result }) => result);
  printSummary(results, logFolder);
  if (interruption.happened()) {
    say('Interrupted: what did not run is not counted.');
    return 130;
  }
  const sum = (count: (result: SuiteResult) => number): number =>
    results.reduce((total, each) => total + count(each), 0);
  const failed = sum((result) => result.failed);
  process.stdout.write(
    `${sum((result) => result.passed)} passed, ${failed} failed, ${sum((result) => result.skipped)} skipped\n`,
  );
  return failed > 0 ? 1 : 0;
};

const stopOnInterrupt = (
  runs: readonly SuiteRun[],
): { readonly happened: () => boolean; readonly forget: () => void } => {
  let happened = false;
  let insist: NodeJS.Timeout | undefined;
  const killAll = (): void => {
    for (const run of runs) run.kill();
  };
  const interrupt = (): void => {
    if (happened) {
      killAll();
      return;
    }
    happened = true;
    say('\nstopping the tests; once more to stop at once');
    for (const run of runs) run.stop();
    insist = setTimeout(killAll, STOP_GRACE_MS);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return { happened: () => happened, forget: () => clearTimeout(insist) };
};
