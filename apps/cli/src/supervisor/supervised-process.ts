import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { identityOf, type ProcessIdentity } from '../process-identity.js';
import type { ProcessPlan } from './process-plan.js';
import type { RotatingLog } from './rotating-log.js';

/** A first crash is mended at once; one that repeats must not burn the machine. */
export const FIRST_RESTART_DELAY_MS = 200;
export const MAX_RESTART_DELAY_MS = 10_000;
/** A process that lived this long is thought healthy: its next restart is quick again. */
const HEALTHY_AFTER_MS = 30_000;

export interface ProcessEvents {
  /** A new process runs under this identity. */
  readonly onStart: (plan: ProcessPlan, identity: ProcessIdentity) => void;
  /** It ended; `note` says how. */
  readonly onEnd: (plan: ProcessPlan, identity: ProcessIdentity | null, note: string) => void;
}

/** The pause before restart number `failures` (from 1) in a row. */
export const restartDelay = (failures: number): number =>
  Math.min(MAX_RESTART_DELAY_MS, FIRST_RESTART_DELAY_MS * 2 ** Math.max(0, failures - 1));

/** Keeps one process running until it is told to stop. */
export class SupervisedProcess {
  identity: ProcessIdentity | null = null;
  startedAt: number | null = null;
  restarts = 0;
  /** How it ended last. */
  lastEnd = '';
  private child: ChildProcess | null = null;
  private ended: Promise<unknown> = Promise.resolve();
  private failuresInARow = 0;
  private stopping = false;
  private restartTimer: NodeJS.Timeout | undefined;

  constructor(
    readonly plan: ProcessPlan,
    private readonly log: RotatingLog,
    private readonly events: ProcessEvents,
  ) {}

  start(): void {
    if (this.stopping) return;
    const { plan } = this;
    // A session of its own: no Ctrl-C of a terminal reaches it, only its supervisor does.
    const child = spawn(plan.command, plan.args, {
      cwd: plan.cwd,
      env: plan.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...plan.runAs,
    });
    this.child = child;
    child.stdout.on('data', (chunk: Buffer) => this.log.write(chunk));
    child.stderr.on('data', (chunk: Buffer) => this.log.write(chunk));
    this.ended = new Promise((resolve) => {
      child.once('error', (fault) => {
        this.noteEnd(`could not start: ${fault.message}`);
        resolve(null);
      });
      child.once('exit', (code, signal) => {
        const how = signal === null ? `exited with code ${String(code)}` : `was ended by ${signal}`;
        this.noteEnd(how);
        resolve(null);
      });
    });
    if (child.pid === undefined) return;
    this.identity = identityOf(child.pid);
    this.startedAt = Date.now();
    this.events.onStart(plan, this.identity);
  }

  /** Asks it to end, then insists. Settles when it is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    clearTimeout(this.restartTimer);
    const { child, plan } = this;
    if (child === null) return;
    child.kill(plan.stopSignal);
    const insist = setTimeout(() => {
      this.log.line(`xenolith: ${plan.name} did not end ${plan.stopTimeoutMs} ms after ${plan.stopSignal}: SIGKILL`);
      child.kill('SIGKILL');
    }, plan.stopTimeoutMs);
    await this.ended;
    clearTimeout(insist);
  }

  /** Ends it at once; nothing is asked. */
  kill(): void {
    this.stopping = true;
    clearTimeout(this.restartTimer);
    this.child?.kill('SIGKILL');
  }

  /** What it wrote last is in the log once this settles. */
  async drained(): Promise<void> {
    const { child } = this;
    if (child?.stdout?.readableEnded === false) await once(child.stdout, 'close');
  }

  private noteEnd(how: string): void {
    const { identity, plan } = this;
    const livedMs = this.startedAt === null ? 0 : Date.now() - this.startedAt;
    this.child = null;
    this.identity = null;
    this.startedAt = null;
    this.lastEnd = how;
    this.log.line(`xenolith: ${plan.name} ${how}`);
    this.events.onEnd(plan, identity, how);
    if (this.stopping) return;
    this.failuresInARow = livedMs >= HEALTHY_AFTER_MS ? 1 : this.failuresInARow + 1;
    this.restarts += 1;
    this.restartTimer = setTimeout(() => this.start(), restartDelay(this.failuresInARow));
  }
}
