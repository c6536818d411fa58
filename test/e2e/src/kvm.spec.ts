import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPlatform, type Platform } from './platform.js';

interface Machine {
  readonly status: { readonly powerState: string; readonly host?: string; readonly domid?: number };
}
interface Operation {
  readonly status: {
    readonly message?: string;
    readonly migration?: { readonly pagesSent: number; readonly downtimeMs?: number };
  };
}

const API = '/apis/compute.xenolith.dev/v1alpha1';
const KVM_HOSTS = ['kvm-0001', 'kvm-0002'];

const machine = (spec: object = {}): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name: 'web' },
    spec: {
      guestType: 'hvm',
      hypervisor: 'kvm',
      cpu: { vcpus: 2 },
      memory: '1Gi',
      disks: [{ name: 'root', size: '1Gi', storageDomain: 'san' }],
      nics: [{ name: 'eth0', network: 'default' }],
      ...spec,
    },
  });

describe('a machine on emulated KVM hosts', () => {
  let platform: Platform;

  const hostOf = async (): Promise<string> => (await platform.json<Machine>('get', 'vm', 'web')).status.host ?? '';
  const virsh = (host: string, ...args: readonly string[]): Promise<string> =>
    platform.kubectl('get', '--raw', `${API}/hosts/${host}/virsh?${args.map((arg) => `arg=${arg}`).join('&')}`);
  const powerState = (state: string): Promise<string> =>
    platform.kubectl('wait', 'vm/web', `--for=jsonpath={.status.powerState}=${state}`, '--timeout=60s');
  /** The operation of an action on the machine, once it has ended so. */
  const ended = async (
    phase: 'Succeeded' | 'Failed',
    { name, action, parameters = {} }: { name: string; action: string; parameters?: object },
  ): Promise<Operation['status']> => {
    const manifest = {
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'Operation',
      metadata: { name },
      spec: { target: { kind: 'VirtualMachine', name: 'web' }, action, parameters },
    };
    await platform.apply(JSON.stringify(manifest));
    await platform.kubectl('wait', `op/${name}`, `--for=jsonpath={.status.phase}=${phase}`, '--timeout=120s');
    return (await platform.json<Operation>('get', 'op', name)).status;
  };

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--kvm-hosts', '2', '--boot-time', '1'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    await platform.apply(machine());
    await powerState('Running');
  });
  afterAll(() => platform.down());

  it('runs as a process, of which virsh tells', async () => {
    const host = await hostOf();
    expect(KVM_HOSTS).toContain(host);
    expect(await virsh(host, 'list')).toMatch(/^ 1 +web +running$/m);
    expect(await virsh(host, 'domblklist', 'web')).toMatch(/^ vda +\/dev\/xenolith\//m);
  });

  it('migrates to the other KVM host while it runs', async () => {
    const before = await hostOf();
    const { migration } = await ended('Succeeded', { name: 'go', action: 'migrate' });
    expect(migration?.pagesSent).toBeGreaterThanOrEqual(2 ** 30 / 4096);
    expect(migration?.downtimeMs).toBeGreaterThan(0);
    const after = await hostOf();
    expect([before, after].toSorted()).toEqual(KVM_HOSTS);
    expect(await virsh(after, 'list')).toMatch(/^ 1 +web +running$/m);
    expect(await virsh(before, 'list')).not.toContain('web');
  });

  it('does not go to a Xen host, nor by a policy of Xen’s', async () => {
    const host = await hostOf();
    await ended('Failed', { name: 'to-xen', action: 'migrate', parameters: { to: 'host-0001' } });
    const { message } = await ended('Failed', { name: 'by-xen', action: 'migrate', parameters: { policy: 'xen-v2' } });
    expect(message).toContain('its hypervisor knows no policy xen-v2');
    expect(await hostOf()).toBe(host);
  });

  it('is suspended, and goes on', async () => {
    await ended('Succeeded', { name: 'sleep', action: 'suspend' });
    await powerState('Suspended');
    await ended('Succeeded', { name: 'wake', action: 'resume' });
    await powerState('Running');
    expect(KVM_HOSTS).toContain(await hostOf());
  });
});
