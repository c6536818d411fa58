import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, finish, startPlatform, XENOLITH, type Finished, type Platform } from './platform.js';

const CONTROL_PLANE = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'nats', 'postgres'];
const MACHINES = ['paused', 'shut-down', 'destroyed'] as const;

const manifest = MACHINES.map((name) =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name, namespace: 'default' },
    spec: { cpu: { vcpus: 1 }, memory: '512Mi', disks: [{ name: 'root', source: { image: 'alpine-3' } }] },
  }),
).join('\n---\n');

interface Machine {
  readonly metadata: { readonly name: string };
  readonly status: { readonly powerState?: string; readonly host?: string };
}

describe('hosts whose control plane stands still', () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0.05'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
  });
  afterAll(() => platform.down());

  const powerStates = async (): Promise<Record<string, string | undefined>> => {
    const { items } = await platform.json<{ items: Machine[] }>('get', 'vms');
    return Object.fromEntries(items.map(({ metadata, status }) => [metadata.name, status.powerState]));
  };
  const become = (wanted: Record<string, string>): Promise<void> =>
    eventually(`machines are ${JSON.stringify(wanted)}`, async () => {
      const now = await powerStates();
      return Object.entries(wanted).every(([name, state]) => now[name] === state);
    });
  const direct = (...args: readonly string[]): Promise<Finished> =>
    finish(XENOLITH, ['xl', '--data', platform.data, '--direct', ...args]);
  const signal = async (name: 'SIGSTOP' | 'SIGCONT', pids: readonly number[]): Promise<void> => {
    for (const pid of pids) process.kill(pid, name);
    return Promise.resolve();
  };

  it('are operated through their agent, and what happened there is in the log once', async () => {
    await platform.apply(manifest);
    await become({ paused: 'Running', 'shut-down': 'Running', destroyed: 'Running' });
    const [host = ''] = (await platform.json<{ items: Machine[] }>('get', 'hosts')).items.map(
      ({ metadata }) => metadata.name,
    );
    const pids = (await platform.processes()).filter(({ name }) => CONTROL_PLANE.includes(name)).map(({ pid }) => pid);
    expect(pids).toHaveLength(CONTROL_PLANE.length);
    await signal('SIGSTOP', pids);
    try {
      expect((await direct('host-9', 'list')).stderr).toContain(`There is: ${host}`);
      expect(await direct(host, 'pause', 'paused')).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(await direct(host, 'shutdown', '-w', 'shut-down')).toMatchObject({ code: 0 });
      expect(await direct(host, 'destroy', 'destroyed')).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(await direct(host, 'create', 'web.cfg')).toMatchObject({ code: 1 });
      const listed = await direct(host, 'list');
      expect(listed.stdout).toMatch(/^paused .* -[-b]p--- /m);
      expect(listed.stdout).not.toMatch(/^(shut-down|destroyed) /m);
    } finally {
      await signal('SIGCONT', pids);
    }
    await become({ paused: 'Paused', 'shut-down': 'Halted', destroyed: 'Halted' });
    const history = async (name: string): Promise<string> => platform.kubectl('xen', 'history', `vm/${name}`);
    expect((await history('shut-down')).match(/was shut down on \S+ with xl shutdown/g)).toHaveLength(1);
    expect((await history('destroyed')).match(/was destroyed on \S+ with xl destroy/g)).toHaveLength(1);
    expect((await history('paused')).match(/somebody acted on the host itself/g)).toHaveLength(1);
  });

  it('says what to do when no agent runs', async () => {
    const nowhere = await finish(XENOLITH, [
      'xl',
      '--data',
      `${platform.data}/nothing`,
      '--direct',
      'host-0001',
      'list',
    ]);
    expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringContaining('no agent runs') as string });
  });
});
