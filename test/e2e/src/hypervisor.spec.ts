import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

interface Machine {
  readonly status: {
    readonly powerState: string;
    readonly host?: string;
    readonly domid?: number;
    readonly vcpus?: number;
    readonly memoryTarget?: string;
    readonly allowedOperations: readonly string[];
    readonly disks: readonly { readonly name: string; readonly attached: boolean }[];
  };
}
interface Operation {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly phase: string;
    readonly message?: string;
    readonly migration?: { readonly round: number; readonly pagesSent: number; readonly downtimeMs?: number };
  };
}
interface Metrics {
  readonly timestamp: string;
  readonly disks: readonly { readonly reads: number; readonly writes: number }[];
}

const API = '/apis/compute.xenolith.dev/v1alpha1';
const machine = (name: string, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: {
      cpu: { vcpus: 2, max: 4 },
      memory: { staticMax: '1Gi', dynamicMin: '512Mi', dynamicMax: '1Gi' },
      disks: [{ name: 'root', size: '1Gi', storageDomain: 'san' }],
      nics: [{ name: 'eth0', network: 'default' }],
      ...spec,
    },
  });

describe('a machine on emulated hosts', () => {
  let platform: Platform;

  const vm = (name: string): Promise<Machine> => platform.json<Machine>('get', 'vm', name);
  const placeOf = async (name: string): Promise<{ host: string; domid: number }> => {
    const { host = '', domid = -1 } = (await vm(name)).status;
    return { host, domid };
  };
  const xl = (host: string, ...args: readonly string[]): Promise<string> =>
    platform.kubectl('get', '--raw', `${API}/hosts/${host}/xl?${args.map((arg) => `arg=${arg}`).join('&')}`);
  const metrics = async (name: string): Promise<Metrics> =>
    JSON.parse(
      await platform.kubectl('get', '--raw', `${API}/namespaces/default/virtualmachines/${name}/metrics`),
    ) as Metrics;
  const powerState = (name: string, state: string): Promise<string> =>
    platform.kubectl('wait', `vm/${name}`, `--for=jsonpath={.status.powerState}=${state}`, '--timeout=60s');
  const operate = async (name: string, action: string, parameters: object = {}): Promise<string> => {
    const target = { kind: 'VirtualMachine', name };
    const manifest = JSON.stringify({
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'Operation',
      metadata: { name: `${name}-${action}` },
      spec: { target, action, parameters },
    });
    await platform.apply(manifest);
    return `${name}-${action}`;
  };
  const ended = async (operation: string): Promise<Operation> => {
    await platform.kubectl('wait', `op/${operation}`, '--for=jsonpath={.status.progress}=100', '--timeout=120s');
    return platform.json<Operation>('get', 'op', operation);
  };
  const patch = (name: string, spec: object): Promise<string> =>
    platform.kubectl('patch', 'vm', name, '--type=merge', '-p', JSON.stringify({ spec }));

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 2, args: ['--boot-time', '1'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    await platform.apply(machine('web'));
    await powerState('web', 'Running');
  });
  afterAll(async () => {
    await platform.down();
  });

  it('may do what XAPI allows a running machine', async () => {
    expect((await vm('web')).status.allowedOperations).toEqual(
      expect.arrayContaining(['changing_VCPUs_live', 'pool_migrate', 'suspend', 'clean_shutdown']),
    );
  });

  it('gets and loses virtual CPUs and memory while it runs', async () => {
    await patch('web', { cpu: { vcpus: 4 }, memory: { dynamicMax: '768Mi' } });
    await eventually('the change is recorded', async () => {
      const { vcpus, memoryTarget } = (await vm('web')).status;
      return vcpus === 4 && memoryTarget === '768Mi';
    });
    const { host, domid } = await placeOf('web');
    await eventually('the balloon is there', async () =>
      new RegExp(`^web +${domid} +768 +4 `, 'm').test(await xl(host, 'list', 'web')),
    );
  });

  it('gets another disk while it runs, and loses it', async () => {
    const root = { name: 'root', size: '1Gi', storageDomain: 'san' };
    const { host } = await placeOf('web');
    const disks = async (): Promise<number> => (await xl(host, 'block-list', 'web')).trim().split('\n').length - 1;
    await patch('web', { disks: [root, { name: 'scratch', size: '1Gi', storageDomain: 'san' }] });
    await eventually(
      'the disk is attached',
      async () => (await vm('web')).status.disks.find(({ name }) => name === 'scratch')?.attached === true,
    );
    expect(await disks()).toBe(2);
    await patch('web', { disks: [root] });
    await eventually('the disk is gone', async () => (await disks()) === 1);
    await platform.kubectl('wait', 'volume/web-scratch', '--for=delete', '--timeout=60s');
  });

  it('is suspended without a host, and goes on where another has room', async () => {
    await operate('web', 'suspend');
    await powerState('web', 'Suspended');
    expect((await vm('web')).status.host).toBeUndefined();
    const refused = await platform.tryKubectl(
      'create',
      '--raw',
      `${API}/namespaces/default/virtualmachines/web/start`,
      '-f',
      '/dev/null',
    );
    expect(refused.stderr).toContain('it is suspended, start needs halted');
    await operate('web', 'resume');
    await powerState('web', 'Running');
    const { host, domid } = await placeOf('web');
    expect(await xl(host, 'list', 'web')).toMatch(new RegExp(`^web +${domid} `, 'm'));
  });

  it('migrates to another host while it runs', async () => {
    const before = await placeOf('web');
    const to = before.host === 'host-0001' ? 'host-0002' : 'host-0001';
    const migrated = await ended(await operate('web', 'migrate', { to }));
    expect(migrated.status.phase).toBe('Succeeded');
    expect(migrated.status.migration?.pagesSent).toBeGreaterThanOrEqual(2 ** 30 / 4096 / 2);
    expect(migrated.status.migration?.downtimeMs).toBeGreaterThan(0);
    const after = await placeOf('web');
    expect(after.host).toBe(to);
    expect(await xl(to, 'list')).toMatch(/^web +/m);
    expect(await xl(before.host, 'list')).not.toMatch(/^web +/m);
  });

  it('is put back to a checkpoint, and goes on from there', async () => {
    const { vcpus } = (await vm('web')).status;
    expect(await ended(await operate('web', 'checkpoint', { name: 'before' }))).toMatchObject({
      status: { phase: 'Succeeded' },
    });
    expect(await platform.kubectl('get', 'vmsnap', 'before')).toMatch(/^before +web +Ready +Suspended /m);
    await patch('web', { cpu: { vcpus: 1 } });
    await eventually('it has one', async () => (await vm('web')).status.vcpus === 1);
    expect(await ended(await operate('web', 'revert', { to: 'before' }))).toMatchObject({
      status: { phase: 'Succeeded' },
    });
    expect((await vm('web')).status.powerState).toBe('Suspended');
    await patch('web', { powerState: 'Running' });
    await powerState('web', 'Running');
    expect((await vm('web')).status.vcpus).toBe(vcpus);
    await platform.kubectl('delete', 'vmsnap', 'before', '--timeout=60s');
    await eventually('nothing is kept of it', async () => {
      const volumes = await platform.kubectl('get', 'volumes', '-o', 'name');
      return volumes.trim() === 'volume.storage.xenolith.dev/web-root';
    });
  });

  it('stays where it is when its migration is cancelled', async () => {
    await platform.apply(
      machine('big', { memory: '64Gi', guest: { workload: 'database' }, disks: [], cpu: { vcpus: 8 } }),
    );
    await powerState('big', 'Running');
    const before = await placeOf('big');
    const operation = await operate('big', 'migrate', { policy: 'xen-v2' });
    await eventually('it is sending', async () => {
      const { host, domid } = await placeOf('big');
      expect({ host, domid }).toEqual(before);
      const { status } = await platform.json<Operation>('get', 'op', operation);
      return JSON.stringify(status).includes('migrate-domain');
    });
    await platform.kubectl('delete', 'op', operation, '--wait=false');
    await eventually('nothing is under way', async () => {
      const { items } = await platform.json<{ items: Operation[] }>('get', 'ops');
      return items.every(({ status }) => ['Succeeded', 'Failed', 'Cancelled'].includes(status.phase));
    });
    expect(await placeOf('big')).toEqual(before);
    expect((await vm('big')).status.powerState).toBe('Running');
    await platform.kubectl('delete', 'vm', 'big', '--timeout=60s');
  });

  it('shows in its figures that a fault rule fills its rings', async () => {
    await eventually('it reads and writes', async () => {
      const answer = await platform.tryKubectl('get', '--raw', `${API}/namespaces/default/virtualmachines/web/metrics`);
      return answer.code === 0 && ((JSON.parse(answer.stdout) as Metrics).disks[0]?.writes ?? 0) > 0;
    });
    await platform.apply(
      JSON.stringify({
        apiVersion: 'chaos.xenolith.dev/v1alpha1',
        kind: 'FaultRule',
        metadata: { name: 'full' },
        spec: { effect: { devices: { fillRings: true } } },
      }),
    );
    const requests = async (): Promise<{ timestamp: string; total: number }> => {
      const { timestamp, disks } = await metrics('web');
      return { timestamp, total: disks.reduce((sum, { reads, writes }) => sum + reads + writes, 0) };
    };
    let last = await requests();
    await eventually('nothing goes through any more', async () => {
      const { fired } = (await platform.json<{ status: { fired: number } }>('get', 'faultrule', 'full')).status;
      const now = await requests();
      // Hosts tell figures every few seconds: only another telling says whether anything went through.
      const stands = fired > 0 && now.timestamp !== last.timestamp && now.total === last.total;
      if (now.timestamp !== last.timestamp) last = now;
      return stands;
    });
    await platform.kubectl('delete', 'faultrule', 'full');
    await eventually('it goes on', async () => (await requests()).total > last.total);
  });
});
