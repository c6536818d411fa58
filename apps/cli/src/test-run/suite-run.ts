import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { OWNER_VARIABLE } from '../commands/up.js';
import { repositoryRoot } from '../folders.js';
import { fromVitest, type FromVitest } from './messages.js';
import type { Suite } from './suites.js';

export interface Failure {
  readonly where: string;
  readonly why: string;
}

export interface SuiteResult {
  readonly suite: Suite;
  passed: number;
  failed: number;
  skipped: number;
  durationMs: number;
  finished: boolean;
  readonly failures: Failure[];
  /** Reasons of skipped tests, each with how many it kept from running. */
  readonly skips: Map<string, number>;
}

export interface SuiteEvents {
  readonly onFailure: (result: SuiteResult, failure: Failure) => void;
  readonly onProgress: (result: SuiteResult) => void;
}

/** How much of a failed step's output is told, from its end; the rest is in its log. */
const SHOWN_OUTPUT_LINES = 10;
/** Begins the line that each step's output stands under in the log. */
const STEP_MARK = '\n$ ';

export const emptyResult = (suite: Suite): SuiteResult => ({
  suite,
  passed: 0,
  failed: 0,
  skipped: 0,
  durationMs: 0,
  finished: false,
  failures: [],
  skips: new Map(),
});

/** Runs one suite. */
export class SuiteRun {
  readonly result: SuiteResult;
  private child: ChildProcess | null = null;
  private stopped = false;

  constructor(
    private readonly suite: Suite,
    private readonly logFile: string,
    private readonly events: SuiteEvents,
  ) {
    this.result = emptyResult(suite);
  }

  async run(): Promise<void> {
    const started = performance.now();
    const lack = (await this.suite.lack?.()) ?? null;
    if (lack !== null) {
      this.leaveOut(lack);
      return;
    }
    const log = createWriteStream(this.logFile);
    let code: number | null = 0;
    for (const step of this.suite.steps) {
      if (code === 0 && !this.stopped) code = await this.runStep(step, log);
    }
    log.end();
    await once(log, 'close');
    this.result.durationMs = performance.now() - started;
    await this.conclude(code);
    this.events.onProgress(this.result);
  }

  /**
   * Asks the suite to end in good order. Of tests that is the first process alone, so that they can stop the servers that they started; a check's
   * programs are all asked, as a shell hears it only when the program that it runs has ended.
   */
  stop(): void {
    this.stopped = true;
    if (this.suite.kind === 'check') this.signalGroup('SIGTERM');
    else this.child?.kill('SIGTERM');
  }

  /** Ends the suite's whole process group at once: test runners have workers, and those have servers. */
  kill(): void {
    this.stopped = true;
    this.signalGroup('SIGKILL');
  }

  private signalGroup(signal: NodeJS.Signals): void {
    const pid = this.child?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ESRCH') throw cause;
    }
  }

  private async runStep(step: readonly string[], log: WriteStream): Promise<number | null> {
    const [program = '', ...args] = step;
    log.write(`${STEP_MARK}${step.join(' ')}\n`);
    const child = spawn(program, args, {
      cwd: repositoryRoot,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...(this.suite.kind === 'vitest' ? (['ipc'] as const) : [])],
      env: { ...process.env, NX_DAEMON: 'false', NO_COLOR: '1', CI: 'true', [OWNER_VARIABLE]: String(process.pid) },
    });
    this.child = child;
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
    child.on('message', (raw) => this.take(fromVitest.parse(raw)));
    const [code] = (await once(child, 'close')) as [number | null];
    this.child = null;
    return code;
  }

  private leaveOut(lack: string): void {
    this.result.skipped = 1;
    this.result.skips.set(lack, 1);
    this.result.finished = true;
    this.events.onProgress(this.result);
  }

  private take(message: FromVitest): void {
    const { result } = this;
    switch (message.type) {
      case 'finished':
        result.finished = true;
        return;
      case 'broken':
        this.fail({ where: message.where, why: message.why });
        return;
      case 'result':
        if (message.outcome === 'failed') this.fail({ where: `${message.file} > ${message.test}`, why: message.why });
        else if (message.outcome === 'passed') result.passed += 1;
        else {
          result.skipped += 1;
          const why = message.why || `no reason given (${message.file})`;
          result.skips.set(why, (result.skips.get(why) ?? 0) + 1);
        }
        this.events.onProgress(result);
    }
  }

  private fail(failure: Failure): void {
    this.result.failed += 1;
    this.result.failures.push(failure);
    this.events.onFailure(this.result, failure);
  }

  /** What the exit code says, where the results did not say it already. */
  private async conclude(code: number | null): Promise<void> {
    const { result, suite } = this;
    if (this.stopped) return;
    if (suite.kind === 'check' && code === 0) result.passed = 1;
    else if (suite.kind === 'check') this.fail({ where: suite.name, why: await this.outputEnd() });
    else if (!result.finished)
      this.fail({
        where: suite.name,
        why: `the suite ended before its tests did (exit code ${String(code)})\n${await this.outputEnd()}`,
      });
    else if (code !== 0 && result.failed === 0)
      this.fail({
        where: suite.name,
        why: `the suite ended with exit code ${String(code)}\n${await this.outputEnd()}`,
      });
    result.finished = true;
  }

  private async outputEnd(): Promise<string> {
    const text = await readFile(this.logFile, 'utf8');
    const [_step, ...lines] = text
      .slice(text.lastIndexOf(STEP_MARK) + STEP_MARK.length)
      .trimEnd()
      .split('\n');
    return lines.slice(-SHOWN_OUTPUT_LINES).join('\n');
  }
}
