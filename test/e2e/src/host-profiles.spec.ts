import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, finish, ROOT, startPlatform, type Platform } from './platform.js';

interface Machine {
  readonly status: {
    readonly nics: readonly { readonly ips: readonly string[] }[];
    readonly devices?: readonly { readonly name: string; readonly address?: string; readonly attached: boolean }[];
  };
}

const API = '/apis/compute.xenolith.dev/v1alpha1';

/** A machine that stays on one host. */
const machine = (name: string, host: string, spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: {
      cpu: { vcpus: 1 },
      memory: '512Mi',
      nics: [{ name: 'eth0', network: 'default' }],
      placement: { host },
      ...spec,
    },
  });

describe('hosts of other kinds', () => {
  let platform: Platform;

  const tool = (host: string, name: string, ...args: readonly string[]): Promise<string> =>
    platform.kubectl('get', '--raw', `${API}/hosts/${host}/${name}?${args.map((arg) => `arg=${arg}`).join('&')}`);
  const running = (name: string): Promise<string> =>
    platform.kubectl('wait', `vm/${name}`, '--for=jsonpath={.status.powerState}=Running', '--timeout=120s');
  const vm = (name: string): Promise<Machine> => platform.json<Machine>('get', 'vm', name);
  const addressOf = async (name: string): Promise<string> => (await vm(name)).status.nics[0]?.ips[0] ?? '';

  beforeAll(async () => {
    const profiles = `${ROOT}/examples/host-profiles.json`;
    platform = await startPlatform({ hosts: 1, args: ['--host-profile', profiles, '--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=120s');
    const hvm = { guestType: 'hvm', passthrough: 'enabled' };
    await Promise.all([
      platform.apply(machine('routed', 'routed-0001')),
      platform.apply(machine('natted', 'natted-0001')),
      platform.apply(machine('virbr', 'libvirt-0001')),
      platform.apply(machine('old', 'legacy-0001', { guestType: 'pv' })),
      platform.apply(machine('gpu', 'gpu-0001', hvm)),
    ]);
    for (const name of ['routed', 'natted', 'virbr', 'old', 'gpu']) await running(name);
  });
  afterAll(() => platform.down());

  it('route their guests: no bridge, and a route to each', async () => {
    expect(await tool('routed-0001', 'xl', 'network-list', 'routed')).toContain('/local/domain/0/backend/vif/1/0');
    expect(await tool('routed-0001', 'brctl', 'show')).not.toContain('vif');
    expect(await tool('routed-0001', 'ip', 'route')).toMatch(
      new RegExp(`^${await addressOf('routed')} dev vif1\\.0 scope link src [0-9.]+ metric 2 $`, 'm'),
    );
    expect(await tool('routed-0001', 'xenstore', 'read', '/local/domain/0/backend/vif/1/0/script')).toContain(
      'vif-route',
    );
  });

  it('hide their guests behind Dom0, each at an address that follows from its domain', async () => {
    expect(await tool('natted-0001', 'brctl', 'show')).not.toContain('vif');
    expect(await tool('natted-0001', 'ip', 'route')).toMatch(
      /^10\.0\.1\.1 dev vif1\.0 scope link src 10\.0\.1\.128 $/m,
    );
    expect(await tool('natted-0001', 'xl', 'network-list', 'natted')).toContain('/local/domain/0/backend/vif/1/0');
  });

  it('have libvirt’s bridge, or xend’s with its names', async () => {
    expect(await tool('libvirt-0001', 'brctl', 'show')).toMatch(/^virbr0\t.*\tvif1\.0$/m);
    expect(await tool('libvirt-0001', 'ip', 'addr')).toContain('inet 192.168.122.1/24 scope global virbr0');
    const bridges = await tool('legacy-0001', 'brctl', 'show');
    expect(bridges.match(/peth0|vif\d\.\d/g)).toEqual(expect.arrayContaining(['peth0', 'vif0.0']));
    expect(await tool('legacy-0001', 'ip', 'link')).toMatch(
      / peth0: <BROADCAST,NOARP,.*\n {4}link\/ether fe:ff:ff:ff:ff:ff/,
    );
    expect(await tool('legacy-0001', 'xm', 'network-list', 'old')).toMatch(/^Idx BE {5}Mac Addr\./i);
  });

  it('give a running machine devices by model and take them back', async () => {
    const patch = (devices: readonly object[]): Promise<string> =>
      platform.kubectl('patch', 'vm', 'gpu', '--type=merge', '-p', JSON.stringify({ spec: { devices } }));
    const attached = async (): Promise<readonly string[]> =>
      ((await vm('gpu')).status.devices ?? []).flatMap(({ attached: is, address }) => (is && address ? [address] : []));
    await patch([
      { name: 'gpu', kind: 'pci', model: '10de:25b6' },
      { name: 'port', kind: 'sriov', class: 'nic' },
    ]);
    await eventually('two devices are there', async () => (await attached()).length === 2);
    const [gpu = '', port = ''] = await attached();
    expect(await tool('gpu-0001', 'xl', 'pci-list', 'gpu')).toBe(`Vdev Device\n05.0 ${gpu}\n06.0 ${port}\n`);
    await platform.apply(
      machine('both', 'gpu-0001', { guestType: 'hvm', devices: [{ name: 'g', kind: 'pci', class: 'gpu', count: 2 }] }),
    );
    await eventually('another waits for both', async () => {
      const { status } = await platform.json<{ status: { phase: string } }>('get', 'vm', 'both');
      return status.phase === 'Pending';
    });
    await patch([{ name: 'port', kind: 'sriov', class: 'nic' }]);
    await running('both');
    expect(await tool('gpu-0001', 'xl', 'pci-list', 'gpu')).toBe(`Vdev Device\n06.0 ${port}\n`);
    expect(await tool('gpu-0001', 'xl', 'pci-list', 'both')).toContain(gpu);
  });

  it('say what the death of a daemon means, and refuse a rule that can strike none of them', async () => {
    const rule = (name: string, effect: object, hosts: readonly string[]): string =>
      JSON.stringify({
        apiVersion: 'chaos.xenolith.dev/v1alpha1',
        kind: 'FaultRule',
        metadata: { name },
        spec: { match: { hosts }, effect },
      });
    await platform.apply(rule('no-store', { killDaemon: 'xenstored' }, ['natted-0001']));
    await platform.kubectl('wait', 'host/natted-0001', '--for=condition=ControlPlane=False', '--timeout=60s');
    const { code, stderr } = await finish(`${ROOT}/xenolith`, ['xl', '--data', platform.data, 'natted-0001', 'list']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('xenstored of natted-0001 has died')]);
    const patched = await platform.tryKubectl(
      'patch',
      'vm',
      'natted',
      '--type=merge',
      '-p',
      '{"spec":{"powerState":"Paused"}}',
    );
    expect(patched.code).toBe(0);
    await eventually('the pause is refused', async () =>
      (await platform.kubectl('get', 'ops', '-o', 'jsonpath={.items[*].status.message}')).includes('guests run on'),
    );
    await platform.kubectl('wait', 'vm/natted', '--for=condition=Ready', '--timeout=60s');
    const refused = await platform
      .apply(rule('no-such', { devices: { crashDriverDomain: true } }, ['routed-*']))
      .catch((error: unknown) => String(error));
    expect(refused).toContain('does not have driver domains');
  });

  it('merge equal pages of machines of one image, and tell what that saves', async () => {
    const small = {
      memory: '64Mi',
      guest: { workload: 'idle' },
      disks: [{ name: 'root', source: { image: 'debian-13' } }],
    };
    await Promise.all(['one', 'other'].map((name) => platform.apply(machine(name, 'merging-0001', small))));
    for (const name of ['one', 'other']) await running(name);
    const figures = (path: string): Promise<string> => platform.kubectl('get', '--raw', `${API}/${path}/metrics`);
    await eventually('two scans have found them alike', async () =>
      /"sharing":\{"shared":"19\d{3}Ki","saved":"19\d{3}Ki"\}/.test(await figures('hosts/merging-0001')),
    );
    await eventually('their figures tell it, too', async () =>
      /"sharedMemory":"19\d{3}Ki"/.test(await figures('namespaces/default/virtualmachines/one')),
    );
    expect(await tool('merging-0001', 'xl', 'info')).toMatch(
      /^sharing_freed_memory {3}: 19\nsharing_used_memory {4}: 19$/m,
    );
  });
});
