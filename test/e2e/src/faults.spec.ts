import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

interface Thing {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly powerState?: string;
    readonly host?: string;
    readonly fired?: number;
    readonly phase?: string;
    readonly bootId?: string;
    readonly conditions: readonly { readonly message: string }[];
  };
}

const rule = (name: string, spec: object): string =>
  JSON.stringify({ apiVersion: 'chaos.xenolith.dev/v1alpha1', kind: 'FaultRule', metadata: { name }, spec });
const machine = (name: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: { cpu: { vcpus: 1 }, memory: '512Mi', nics: [{ name: 'eth0', network: 'default' }] },
  });

describe('faults on demand', () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
  });
  afterAll(async () => {
    await platform.down();
  });

  it('refuse a start as often as the rule says, and give everything back', async () => {
    await platform.apply(
      rule('no-starts', {
        match: { commands: ['StartDomain'] },
        effect: { fail: { message: 'the power supply smokes' } },
        count: 1,
      }),
    );
    await platform.apply(machine('unlucky'));
    await eventually('the failure shows', async () => {
      const unlucky = await platform.json<Thing>('get', 'vm', 'unlucky');
      return (
        unlucky.status.powerState === 'Halted' &&
        unlucky.status.conditions.some((condition) => condition.message.includes('the power supply smokes'))
      );
    });
    await eventually(
      'the rule says that it fired',
      async () => (await platform.json<Thing>('get', 'faultrule', 'no-starts')).status.fired === 1,
    );
    const placements = await platform.json<{ items: Thing[] }>('get', 'placements');
    expect(placements.items.filter((placement) => placement.status.phase === 'Placed')).toEqual([]);
    await platform.kubectl('delete', 'faultrule', 'no-starts');
    await platform.kubectl('delete', 'vm', 'unlucky', '--timeout=60s');
  });

  it('break a device inside a host: the start is refused in the script’s words', async () => {
    await platform.apply(
      rule('no-bridge', {
        match: { virtualMachines: ['default/broken'], devices: ['eth0'] },
        effect: { devices: { failHotplug: 'the bridge is out' } },
        count: 1,
      }),
    );
    await platform.apply(machine('broken'));
    await eventually('the failure shows', async () => {
      const broken = await platform.json<Thing>('get', 'vm', 'broken');
      return (
        broken.status.powerState === 'Halted' &&
        broken.status.conditions.some(({ message }) => message.includes('nic eth0: the bridge is out'))
      );
    });
    await eventually(
      'the rule says that it fired',
      async () => (await platform.json<Thing>('get', 'faultrule', 'no-bridge')).status.fired === 1,
    );
    await platform.kubectl('delete', 'faultrule', 'no-bridge');
    await platform.kubectl('delete', 'vm', 'broken', '--timeout=60s');
  });

  it('crash a host: its machines are halted, and it comes back with another boot id', async () => {
    await platform.apply(machine('passenger'));
    await platform.kubectl('wait', 'vm/passenger', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    const before = await platform.json<Thing>('get', 'host', 'host-0001');
    await platform.apply(
      rule('crash', { match: { commands: ['PauseDomain'] }, effect: { crashHost: true }, count: 1 }),
    );
    await eventually('the rule is in force', async () => {
      await platform.tryKubectl(
        'create',
        '--raw',
        '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines/passenger/pause',
        '-f',
        '/dev/null',
      );
      return (await platform.json<Thing>('get', 'faultrule', 'crash')).status.fired === 1;
    });
    await eventually(
      'the machine is known to be down',
      async () => (await platform.json<Thing>('get', 'vm', 'passenger')).status.powerState === 'Halted',
    );
    await eventually('the host is back', async () => {
      const host = await platform.json<Thing>('get', 'host', 'host-0001');
      return host.status.bootId !== before.status.bootId;
    });
    await platform.kubectl('delete', 'faultrule', 'crash');
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    await platform.kubectl('delete', 'vm', 'passenger', '--timeout=60s');
  });
});
