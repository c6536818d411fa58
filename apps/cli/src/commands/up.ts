import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import type { HostProfile } from '@xenolith/contracts';
import { commandFor, compileCache, dataFolder, repositoryRoot, type DataFolder } from '../folders.js';
import { readHostProfiles } from '../host-profiles.js';
import { programFile } from '../programs.js';
import { readRunState, supervisorRuns, type RunState } from '../run-state.js';
import { createDataFolder, type WishedSettings } from '../settings.js';
import {
  fromSupervisor,
  type FromSupervisor,
  type SupervisorOrder,
  type ToSupervisor,
} from '../supervisor/messages.js';
import { isDataFolderLocked } from '../supervisor/data-folder-lock.js';
import { say, seconds, UserError } from '../terminal.js';
import { waitUntil } from '../waiting.js';
import { lastLinesOf } from './logs.js';

export interface UpOptions extends Omit<WishedSettings, 'hostProfiles'> {
  /** File of host profiles. */
  readonly hostProfile?: string | undefined;
  readonly data?: string | undefined;
  readonly detach?: boolean | undefined;
  readonly otlp?: string | undefined;
}

/** Scripts wait for a line that starts like this. */
export const READY_LINE = 'xenolith is ready';

/** As long as the slowest start is allowed to take. */
const OTHER_START_TIMEOUT_MS = 300_000;
const POLL_MS = 200;
const SHOWN_LOG_LINES = 8;
const LOG_ADVICE = 'logs:';

const shellWord = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const hostsOf = (state: RunState | null): string => {
  const { hosts = 0, kvmHosts = 0, profiledHosts = 0 } = state ?? {};
  const profiled = profiledHosts > 0 ? ` and ${profiledHosts} of profiles` : '';
  return kvmHosts > 0 ? `${hosts} Xen and ${kvmHosts} KVM hosts${profiled}` : `${hosts} hosts${profiled}`;
};

const printReady = (folder: DataFolder, state: RunState | null): void => {
  const kubeconfig = shellWord(folder.kubeconfigFile);
  const plugin = shellWord(path.join(repositoryRoot, 'apps', 'cli', 'bin'));
  say('');
  say('  Try next:');
  say(`    export KUBECONFIG=${kubeconfig}`);
  say('    kubectl get hosts');
  say('    kubectl apply -f examples/web-tier.yaml');
  say('    kubectl get vms -o wide');
  say(`    export PATH="$PATH:"${plugin}       # brings the plugin: kubectl xen reboot web-1`);
  say('');
  say(`  No kubectl at hand?  ${commandFor(folder, 'kubectl').replace(' --data', ' --data')} get hosts`);
  say(`  How is it?           ${commandFor(folder, 'status')}`);
  say(`  Stop it:             ${commandFor(folder, 'down')}`);
  say('');
  process.stdout.write(
    `${READY_LINE}: https://127.0.0.1:${String(state?.port ?? '')} (${hostsOf(state)}, data in ${folder.root})\n`,
  );
};

/** Somebody started it before us: says so, and waits until it is ready if it is only starting. */
const joinRunning = async (folder: DataFolder, options: UpOptions): Promise<number> => {
  const state = await readRunState(folder);
  say(
    supervisorRuns(state)
      ? `xenolith runs already on ${folder.root}.`
      : `xenolith is being started on ${folder.root} by somebody else; waiting for it.`,
  );
  const differs =
    supervisorRuns(state) &&
    ((options.hosts !== undefined && options.hosts !== state.hosts) ||
      options.hostProfile !== undefined ||
      (options.kvmHosts !== undefined && options.kvmHosts !== (state.kvmHosts ?? 0)) ||
      (options.port !== undefined && options.port !== state.port));
  if (differs)
    say(`It keeps its hosts and port; to change them: ${commandFor(folder, 'down')}, then up with the new ones.`);
  let latest: RunState | null = state;
  const settled = async (): Promise<boolean> => {
    latest = await readRunState(folder);
    if (supervisorRuns(latest)) return latest.ready;
    // Before its first process a supervisor has nothing to write into the run file.
    return !(await isDataFolderLocked(folder.root));
  };
  await waitUntil(settled, { timeoutMs: OTHER_START_TIMEOUT_MS, everyMs: POLL_MS });
  if (!supervisorRuns(latest) || !latest.ready)
    throw new UserError('the platform that runs there did not become ready.', [`See: ${commandFor(folder, 'status')}`]);
  printReady(folder, latest);
  return 0;
};

const explainFailure = async (folder: DataFolder, message: string, advice: readonly string[]): Promise<UserError> => {
  const lines: string[] = [];
  for (const line of advice) {
    if (!line.startsWith(LOG_ADVICE)) lines.push(line);
    else {
      const name = line.slice(LOG_ADVICE.length);
      lines.push(`The last lines of ${path.join(folder.logs, `${name}.log`)}:`);
      lines.push(...(await lastLinesOf(folder, name, SHOWN_LOG_LINES)).map((logged) => `  | ${logged}`));
    }
  }
  return new UserError(message, lines);
};

/** Set by the test run: what its tests start must not outlive it, however it ends. */
export const OWNER_VARIABLE = 'XENOLITH_OWNER_PID';

const ownerPid = (): number | undefined => {
  const pid = Number(process.env[OWNER_VARIABLE]);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
};

const startSupervisor = (
  folder: DataFolder,
  options: UpOptions,
  profiles: readonly HostProfile[] | undefined,
): ChildProcess => {
  const order: SupervisorOrder = {
    data: folder.root,
    hosts: options.hosts,
    kvmHosts: options.kvmHosts,
    hostProfiles: profiles && [...profiles],
    port: options.port,
    bootTimeSeconds: options.bootTimeSeconds,
    seed: options.seed,
    otlpUrl: options.otlp,
    ownerPid: ownerPid(),
  };
  const log = openSync(path.join(folder.logs, 'supervisor.log'), 'a', 0o644);
  const child = spawn(process.execPath, [programFile('supervisor'), JSON.stringify(order)], {
    cwd: folder.root,
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache('supervisor') },
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  return child;
};

/** Shows what the supervisor tells; settles with its last word. */
class Progress {
  failure: { readonly message: string; readonly advice: readonly string[] } | null = null;
  /** Somebody else was quicker. */
  taken = false;
  private readonly startedAt = performance.now();

  show(message: FromSupervisor): void {
    switch (message.type) {
      case 'waiting':
        say(`  ${message.text} ...`);
        return;
      case 'step':
        say(`  ${message.text}: done in ${seconds(message.durationMs)}`);
        return;
      case 'warning':
        say(`  warning: ${message.text}`);
        return;
      case 'stopping':
        say(`  stopping ${message.text}`);
        return;
      case 'failed':
        this.failure = message;
        return;
      case 'taken':
        this.taken = true;
        return;
      case 'ready':
        say(`  ready after ${seconds(performance.now() - this.startedAt)}`);
    }
  }
}

const tell = (child: ChildProcess, message: ToSupervisor): void => {
  // It may have ended on its own meanwhile; then there is nobody to tell.
  if (child.connected) child.send(message, () => undefined);
};

/** Ctrl-C stops what was started; the answer tells whether it was pressed. */
const stopOnInterrupt = (child: ChildProcess): (() => boolean) => {
  let interrupted = false;
  const interrupt = (): void => {
    if (!interrupted) say('  stopping; once more to stop at once');
    interrupted = true;
    tell(child, { type: 'stop' });
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return () => interrupted;
};

/** Starts the platform. Without `--detach` it runs until Ctrl-C. */
export const up = async (options: UpOptions): Promise<number> => {
  const folder = dataFolder(options.data);
  const profiles = options.hostProfile === undefined ? undefined : await readHostProfiles(options.hostProfile);
  await createDataFolder(folder);
  if (supervisorRuns(await readRunState(folder))) return joinRunning(folder, options);
  say(`xenolith starts on ${folder.root}`);
  const child = startSupervisor(folder, options, profiles);
  const progress = new Progress();
  const interrupted = stopOnInterrupt(child);
  const ended = once(child, 'exit');
  const ready = new Promise<'ready'>((resolve) => {
    child.on('message', (raw) => {
      const message = fromSupervisor.parse(raw);
      progress.show(message);
      if (message.type === 'ready') resolve('ready');
    });
  });
  const first = await Promise.race([ready, ended]);
  if (first === 'ready' && !interrupted()) {
    printReady(folder, await readRunState(folder));
    if (options.detach === true) {
      tell(child, { type: 'detach' });
      await once(child, 'disconnect');
      child.unref();
      return 0;
    }
    say('Ctrl-C stops it.');
  }
  const [code] = (await ended) as [number | null];
  if (interrupted()) {
    say('xenolith has stopped.');
    return 130;
  }
  if (progress.taken) return joinRunning(folder, options);
  if (progress.failure !== null) throw await explainFailure(folder, progress.failure.message, progress.failure.advice);
  if (code === 0) return 0;
  throw await explainFailure(folder, 'the supervisor ended unexpectedly.', [`${LOG_ADVICE}supervisor`]);
};
