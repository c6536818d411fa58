import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import { repositoryRoot } from '../folders.js';
import type { ProcessIdentity } from '../process-identity.js';
import type { ProcessPlan } from './process-plan.js';

// The script is not compiled; it is read from the sources, also by the compiled supervisor.
const SCRIPT = path.join(repositoryRoot, 'apps', 'cli', 'src', 'supervisor', 'sentinel.sh');

interface Watched {
  readonly identity: ProcessIdentity;
  readonly plan: ProcessPlan;
}

/**
 * A shell of a megabyte that outlives the supervisor by a moment: it ends the children of a supervisor that was killed, so that
 * none of them runs on unwatched. It is started again if it dies itself.
 */
export class Sentinel {
  private readonly watched = new Map<number, Watched>();
  private shell: ChildProcess | null = null;
  private closing = false;

  start(): void {
    const shell = spawn('/bin/sh', [SCRIPT], { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    this.shell = shell;
    // A write to a shell that just died fails; its successor gets the whole list anyway.
    shell.stdin.on('error', () => undefined);
    shell.on('error', () => undefined);
    shell.on('exit', () => {
      if (!this.closing) this.start();
    });
    for (const each of this.watched.values()) this.tell(each);
  }

  watch(identity: ProcessIdentity, plan: ProcessPlan): void {
    this.watched.set(identity.pid, { identity, plan });
    this.tell({ identity, plan });
  }

  forget(identity: ProcessIdentity): void {
    this.watched.delete(identity.pid);
    this.shell?.stdin?.write(`del ${identity.pid}\n`);
  }

  /** The children have ended in good order; nothing is left to do for the shell. */
  close(): void {
    this.closing = true;
    this.shell?.stdin?.end();
  }

  private tell({ identity, plan }: Watched): void {
    // A signal's name has no "SIG" in POSIX kill.
    const signal = plan.stopSignal.replace(/^SIG/, '');
    this.shell?.stdin?.write(`add ${identity.pid} ${identity.startTime || '-'} ${signal} ${plan.tier}\n`);
  }
}
