import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { down } from '../commands/down.js';
import { shownOf } from '../commands/status.js';
import { dataFolder, type DataFolder } from '../folders.js';
import { identityOf, isAlive, type ProcessIdentity } from '../process-identity.js';
import { endLeftovers, readRunState, writeRunState, type RunState } from '../run-state.js';
import { createDataFolder } from '../settings.js';
import { waitUntil } from '../waiting.js';
import { isDataFolderLocked, lockDataFolder } from './data-folder-lock.js';
import { assignPorts, isPortFree } from './ports.js';
import type { ProcessPlan } from './process-plan.js';
import { probe } from './services.js';
import { FIRST_RESTART_DELAY_MS, MAX_RESTART_DELAY_MS, restartDelay } from './supervised-process.js';
import { Supervisor } from './supervisor.js';

const WAIT = { timeoutMs: 20_000, everyMs: 20 };
const FIXTURE = path.join(import.meta.dirname, '..', 'fixture', 'service.ts');
const NEVER = (): boolean => false;

let folder: DataFolder;
let ports: Readonly<Record<string, number>>;
let supervisor: Supervisor | null;
let bystander: ChildProcess | null;

// A name with a blank: paths of users have them.
beforeEach(async () => {
  folder = dataFolder(await mkdtemp(path.join(tmpdir(), 'xenolith supervisor ')));
  await createDataFolder(folder);
  ports = await assignPorts(['one', 'two'], {}, []);
  supervisor = null;
  bystander = null;
});

afterEach(async () => {
  await supervisor?.stop();
  bystander?.kill('SIGKILL');
  await rm(folder.root, { recursive: true, force: true });
});

const plan = (
  name: string,
  tier: number,
  more: { readonly mode?: string; readonly stopTimeoutMs?: number } = {},
): ProcessPlan => ({
  name,
  command: process.execPath,
  args: [FIXTURE],
  cwd: folder.root,
  env: {
    HTTP_PORT: String(ports[name]),
    FIXTURE_JOURNAL: path.join(folder.root, 'journal'),
    FIXTURE_MODE: more.mode ?? '',
  },
  stopSignal: 'SIGTERM',
  stopTimeoutMs: more.stopTimeoutMs ?? 10_000,
  tier,
  checkReady: () => probe(`http://127.0.0.1:${String(ports[name])}/readyz`),
});

const startReady = async (plans: readonly ProcessPlan[]): Promise<Supervisor> => {
  const started = new Supervisor(folder, { port: 7443, hosts: 4 });
  supervisor = started;
  await started.start(plans);
  expect(
    await started.waitForReady(
      plans.map(({ name }) => name),
      { patienceMs: 20_000, giveUp: NEVER },
    ),
  ).toBe(true);
  await started.watch();
  return started;
};

const runState = async (): Promise<RunState> => {
  const state = await readRunState(folder);
  if (state === null) throw new Error('there is no run file');
  return state;
};

const identityFrom = async (name: string): Promise<ProcessIdentity> => {
  const found = (await runState()).processes.find((each) => each.name === name);
  if (found?.pid == null) throw new Error(`${name} does not run`);
  return { pid: found.pid, startTime: found.startTime };
};

const journal = async (): Promise<string> => readFile(path.join(folder.root, 'journal'), 'utf8');

describe('the supervisor', () => {
  it('starts its processes, says when they are ready, and leaves none behind', async () => {
    const started = await startReady([plan('one', 1), plan('two', 2)]);
    expect(await runState()).toMatchObject({ ready: true, phase: 'running' });
    const [one, two] = [await identityFrom('one'), await identityFrom('two')];
    await started.stop();
    expect([isAlive(one), isAlive(two)]).toEqual([false, false]);
    expect(await readRunState(folder)).toBeNull();
    const ends = (await journal()).split('\n').filter((line) => line.startsWith('term'));
    expect(ends).toEqual([`term ${two.pid}`, `term ${one.pid}`]);
  });

  it('restarts a process that was killed, on the same port, and is ready again', async () => {
    const started = await startReady([plan('one', 1)]);
    const before = await identityFrom('one');
    process.kill(before.pid, 'SIGKILL');
    const isBack = async (): Promise<boolean> => {
      const state = await runState();
      return state.ready && state.processes[0]?.restarts === 1;
    };
    expect(await waitUntil(isBack, WAIT)).toBe(true);
    expect((await identityFrom('one')).pid).not.toBe(before.pid);
    expect(started.restartsOf('one')).toBe(1);
  });

  it('is not ready while a process crashes at each start, and says how it ended', async () => {
    const started = new Supervisor(folder, { port: 7443, hosts: 4 });
    supervisor = started;
    await started.start([plan('one', 1, { mode: 'crash' })]);
    const ready = await started.waitForReady(['one'], {
      patienceMs: 20_000,
      giveUp: () => started.restartsOf('one') >= 2,
    });
    expect(ready).toBe(false);
    expect(started.notReady().get('one')).toBe('exited with code 7');
  });

  it('waits for a process while what it lacks changes, and no longer than its patience when it does not', async () => {
    let looks = 0;
    const started = new Supervisor(folder, { port: 7443, hosts: 4 });
    supervisor = started;
    const slow = {
      ...plan('one', 1),
      checkReady: () => Promise.resolve((looks += 1) > 20 ? null : `${looks} of 20 hosts`),
    };
    const stuck = { ...plan('two', 1), checkReady: () => Promise.resolve('0 of 20 hosts') };
    await started.start([slow, stuck]);
    // Twenty looks take longer than its patience.
    const limits = { patienceMs: 1_000, giveUp: NEVER };
    expect(await started.waitForReady(['one'], limits)).toBe(true);
    expect(await started.waitForReady(['two'], limits)).toBe(false);
    expect(started.notReady().get('two')).toBe('0 of 20 hosts');
  });

  it('kills a process that ignores its stop signal', async () => {
    const started = await startReady([plan('one', 1, { mode: 'stubborn', stopTimeoutMs: 100 })]);
    const one = await identityFrom('one');
    await started.stop();
    expect(isAlive(one)).toBe(false);
    expect(await readFile(path.join(folder.logs, 'one.log'), 'utf8')).toContain(
      'did not end 100 ms after SIGTERM: SIGKILL',
    );
  });
});

describe('the sentinel', () => {
  it('ends the processes of a supervisor that was killed, but no other that has one of their numbers', async () => {
    const [ours, other] = [spawn('sleep', ['600'], { stdio: 'ignore' }), spawn('sleep', ['600'], { stdio: 'ignore' })];
    bystander = other;
    const [one, two] = [identityOf(ours.pid ?? 0), identityOf(other.pid ?? 0)];
    const shell = spawn('/bin/sh', [path.join(import.meta.dirname, 'sentinel.sh')], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    shell.stdin.write(`add ${one.pid} ${one.startTime} TERM 1\nadd ${two.pid} 1 TERM 2\n`);
    // Its end of file is all that a killed supervisor leaves.
    shell.stdin.end();
    await once(shell, 'exit');
    expect([isAlive(one), isAlive(two)]).toEqual([false, true]);
  });

  it('leaves alone what ended in good order', async () => {
    bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
    const one = identityOf(bystander.pid ?? 0);
    const shell = spawn('/bin/sh', [path.join(import.meta.dirname, 'sentinel.sh')], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    shell.stdin.end(`add ${one.pid} ${one.startTime} TERM 1\ndel ${one.pid}\n`);
    await once(shell, 'exit');
    expect(isAlive(one)).toBe(true);
  });
});

describe('what a killed supervisor leaves', () => {
  it('is ended by the next start, and nothing else is', async () => {
    await startReady([plan('one', 1)]);
    const state = await runState();
    bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
    const other = identityOf(bystander.pid ?? 0);
    // A file that names our process, and another one whose number was given away since.
    const stale = {
      ...state.processes[0],
      name: 'two',
      pid: other.pid,
      startTime: '1',
      note: '',
      ready: true,
      restarts: 0,
      startedAt: null,
    };
    const one = await identityFrom('one');
    expect(await endLeftovers({ ...state, processes: [...state.processes, stale] })).toBe(1);
    expect(isAlive(other)).toBe(true);
    expect(isAlive(one)).toBe(false);
  });
});

describe('status', () => {
  it('shows what lives of a platform whose supervisor was killed, and not that nothing runs', async () => {
    const started = await startReady([plan('one', 1), plan('two', 2)]);
    const [state, one, two] = [await runState(), await identityFrom('one'), await identityFrom('two')];
    // The supervisor's number with another start time: the process that had it is gone.
    const killed = { ...state, supervisor: { pid: state.supervisor.pid, startTime: '1' } };
    const shown = shownOf(folder, killed, false);
    expect(shown.exitCode).toBe(1);
    expect(shown.document).toMatchObject({
      ready: false,
      phase: 'orphaned',
      processes: [
        { name: 'one', pid: one.pid, note: 'not supervised' },
        { name: 'two', pid: two.pid, note: 'not supervised' },
      ],
    });
    await started.stop();
    expect(shownOf(folder, killed, false)).toMatchObject({ exitCode: 3, rows: [], document: { phase: 'stopped' } });
  });

  it('says that a platform is being started before its first process runs', () => {
    expect(shownOf(folder, null, true)).toMatchObject({ exitCode: 1, document: { ready: false, phase: 'starting' } });
  });

  it('is followed by a down that ends what is left and forgets the run', async () => {
    const started = await startReady([plan('one', 1)]);
    const state = await runState();
    await started.stop();
    bystander = spawn('sleep', ['600'], { stdio: 'ignore' });
    const left = identityOf(bystander.pid ?? 0);
    await writeRunState(folder, {
      ...state,
      supervisor: { pid: state.supervisor.pid, startTime: '1' },
      processes: state.processes.map((each) => ({ ...each, ...left })),
    });
    expect(await down({ data: folder.root })).toBe(0);
    expect(isAlive(left)).toBe(false);
    expect(await readRunState(folder)).toBeNull();
  });
});

describe('the lock of a data folder', () => {
  it('has one holder at a time', async () => {
    expect(await isDataFolderLocked(folder.root)).toBe(false);
    const held = await lockDataFolder(folder.root);
    expect(await lockDataFolder(folder.root)).toBeNull();
    expect(await isDataFolderLocked(folder.root)).toBe(true);
    if (held !== null && held !== 'unlocked') await new Promise((resolve) => held.close(resolve));
    const again = await lockDataFolder(folder.root);
    expect(again).not.toBeNull();
    if (again !== null && again !== 'unlocked') again.close();
  });
});

describe('ports', () => {
  it('stay the same from start to start while they are free, and never collide', async () => {
    const first = await assignPorts(['a', 'b', 'c'], {}, []);
    const second = await assignPorts(['a', 'b', 'c'], first, [first['b'] ?? 0]);
    expect(second['a']).toBe(first['a']);
    expect(second['b']).not.toBe(first['b']);
    expect(new Set(Object.values(second)).size).toBe(3);
    expect(await isPortFree(second['c'] ?? 0)).toBe(true);
  });
});

describe('the pause before a restart', () => {
  it('doubles from the first to the longest', () => {
    expect([1, 2, 3].map(restartDelay)).toEqual([
      FIRST_RESTART_DELAY_MS,
      2 * FIRST_RESTART_DELAY_MS,
      4 * FIRST_RESTART_DELAY_MS,
    ]);
    expect(restartDelay(50)).toBe(MAX_RESTART_DELAY_MS);
  });
});
