import path from 'node:path';
import type { DataFolder } from '../folders.js';
import { identityOf } from '../process-identity.js';
import { removeRunState, writeRunState, type RunState } from '../run-state.js';
import { waitUntil } from '../waiting.js';
import type { ProcessPlan } from './process-plan.js';
import { RotatingLog } from './rotating-log.js';
import { Sentinel } from './sentinel.js';
import { SupervisedProcess } from './supervised-process.js';

const READY_POLL_MS = 100;
/** Once everything is ready, readiness is looked at less often: it is for `status` only. */
const WATCH_POLL_MS = 2_000;
const HIGHEST_TIER = 3;

/** Runs the processes of one platform and keeps its run file true. */
export class Supervisor {
  private readonly processes: SupervisedProcess[] = [];
  private readonly logs: RotatingLog[] = [];
  private readonly missing = new Map<string, string>();
  private readonly sentinel = new Sentinel();
  private readonly self = identityOf(process.pid);
  private phase: RunState['phase'] = 'starting';
  private ready = false;
  private writing: Promise<void> = Promise.resolve();
  private lastWritten = '';
  private stopped: Promise<void> | null = null;
  private watchTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly folder: DataFolder,
    private readonly described: Pick<RunState, 'port' | 'hosts' | 'kvmHosts' | 'profiledHosts'>,
  ) {
    this.sentinel.start();
  }

  /** Starts the processes in the order of the plans; settles at once. */
  async start(plans: readonly ProcessPlan[]): Promise<void> {
    for (const plan of plans) {
      const log = new RotatingLog(path.join(this.folder.logs, `${plan.name}.log`));
      const supervised = new SupervisedProcess(plan, log, {
        onStart: (_plan, identity) => {
          this.sentinel.watch(identity, plan);
          void this.publish();
        },
        onEnd: (_plan, identity, note) => {
          if (identity !== null) this.sentinel.forget(identity);
          this.missing.set(plan.name, note);
          this.ready = false;
          void this.publish();
        },
      });
      this.logs.push(log);
      this.processes.push(supervised);
      this.missing.set(plan.name, 'is starting');
      supervised.start();
    }
    await this.publish();
  }

  /**
   * Waits until each named process is ready. False when what they lack has not changed for `patienceMs`, or `giveUp` said so: a large fleet on a busy machine takes
   * its time.
   */
  async waitForReady(
    names: readonly string[],
    limits: { readonly patienceMs: number; readonly giveUp: () => boolean },
  ): Promise<boolean> {
    const named = this.processes.filter(({ plan }) => names.includes(plan.name));
    const lacking = (): string[] => named.flatMap(({ plan }) => this.missing.get(plan.name) ?? []);
    let last = '';
    let changedAt = performance.now();
    const isOver = async (): Promise<boolean> => {
      await this.look(named);
      const now = JSON.stringify(lacking());
      if (now !== last) changedAt = performance.now();
      last = now;
      return lacking().length === 0 || limits.giveUp() || performance.now() - changedAt >= limits.patienceMs;
    };
    await waitUntil(isOver, { timeoutMs: Infinity, everyMs: READY_POLL_MS });
    return lacking().length === 0;
  }

  /** From here on the run file says whether everything is ready, for as long as it runs. */
  async watch(): Promise<void> {
    if (this.phase === 'stopping') return;
    this.phase = 'running';
    await this.look(this.processes);
    if (this.hasStopped()) return;
    this.ready = this.missing.size === 0;
    await this.publish();
    this.watchTimer = setTimeout(() => void this.watch(), this.ready ? WATCH_POLL_MS : READY_POLL_MS);
  }

  /** Names of those that are not ready, each with the reason. */
  notReady(): ReadonlyMap<string, string> {
    return this.missing;
  }

  /** How often a process ended by itself since it was started. */
  restartsOf(name: string): number {
    return this.processes.find(({ plan }) => plan.name === name)?.restarts ?? 0;
  }

  /** Ends everything, what takes in work first and the servers last. Settles when nothing is left; asked again, it is the same end. */
  stop(onProgress: (names: readonly string[]) => void = () => undefined): Promise<void> {
    this.stopped ??= this.endAll(onProgress);
    return this.stopped;
  }

  private async endAll(onProgress: (names: readonly string[]) => void): Promise<void> {
    clearTimeout(this.watchTimer);
    this.phase = 'stopping';
    this.ready = false;
    await this.publish();
    for (let tier = HIGHEST_TIER; tier >= 1; tier -= 1) {
      const here = this.processes.filter(({ plan }) => plan.tier === tier);
      if (here.length === 0) continue;
      onProgress(here.map(({ plan }) => plan.name));
      await Promise.all(here.map((each) => each.stop()));
    }
    clearTimeout(this.watchTimer);
    await Promise.all(this.processes.map((each) => each.drained()));
    for (const log of this.logs) log.close();
    await this.writing;
    await removeRunState(this.folder);
    this.sentinel.close();
  }

  /** Ends everything at once, with no regard for what is in hand: Postgres and NATS recover when they start again. */
  kill(): void {
    for (const each of this.processes) each.kill();
  }

  private async look(some: readonly SupervisedProcess[]): Promise<void> {
    await Promise.all(
      some.map(async (each) => {
        const { plan, identity, lastEnd } = each;
        const missing = identity === null ? lastEnd || 'is starting' : await plan.checkReady();
        // It may have ended while it was asked; that was noted already.
        if (each.identity !== identity) return;
        if (missing === null) this.missing.delete(plan.name);
        else this.missing.set(plan.name, missing);
      }),
    );
  }

  private hasStopped(): boolean {
    return this.phase === 'stopping';
  }

  private state(): RunState {
    return {
      supervisor: this.self,
      phase: this.phase,
      ready: this.ready,
      ...this.described,
      processes: this.processes.map(({ plan, identity, restarts, startedAt }) => ({
        name: plan.name,
        pid: identity?.pid ?? null,
        startTime: identity?.startTime ?? '',
        ready: !this.missing.has(plan.name),
        restarts,
        note: this.missing.get(plan.name) ?? '',
        startedAt: startedAt === null ? null : new Date(startedAt).toISOString(),
      })),
    };
  }

  /** One write at a time, each with the newest state. A full disk must not end the platform. */
  private publish(): Promise<void> {
    this.writing = this.writing.then(async () => {
      const state = this.state();
      const text = JSON.stringify(state);
      if (text === this.lastWritten) return;
      await writeRunState(this.folder, state).catch(() => undefined);
      this.lastWritten = text;
    });
    return this.writing;
  }
}
