import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

/** More than half a host: two never share one. */
const large = (name: string): string =>
  `apiVersion: compute.xenolith.dev/v1alpha1\nkind: VirtualMachine\nmetadata: { name: ${name} }\nspec: { memory: 70Gi }\n`;

const BROKEN =
  'apiVersion: chaos.xenolith.dev/v1alpha1\nkind: FaultRule\nmetadata: { name: no-power }\n' +
  'spec: { match: { commands: [PowerOnHost], hosts: [host-0001] }, effect: { fail: { message: its power supply is broken } } }\n';

describe('power of hosts', () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 3, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
  });
  afterAll(async () => {
    await platform.down();
  });

  const patch = (kind: string, name: string, spec: object): Promise<string> =>
    platform.kubectl('patch', kind, name, '--type=merge', '-p', JSON.stringify({ spec }));
  const status = async (host: string): Promise<string> =>
    platform.kubectl('get', 'host', host, '-o', 'jsonpath={.status.summary}');
  const running = (name: string): Promise<string> =>
    platform.kubectl('wait', `vm/${name}`, '--for=jsonpath={.status.powerState}=Running', '--timeout=90s');

  it('parks a host whose machines move away first, and wakes it again', async () => {
    await platform.apply(large('one'));
    await running('one');
    const host = await platform.kubectl('get', 'vm', 'one', '-o', 'jsonpath={.status.host}');
    expect(await platform.kubectl('xen', 'park', host)).toContain('patched');
    expect(await status(host)).toBe('Parked');
    expect(await platform.kubectl('get', 'vm', 'one', '-o', 'jsonpath={.status.host}')).not.toBe(host);
    expect(await platform.kubectl('describe', 'host', host)).toMatch(/Parking\s.*parked by/);
    expect(await platform.kubectl('get', 'host', host, '-o', 'wide')).toMatch(/Parked\s.*\sOff\s/);
    await platform.kubectl('xen', 'wake', host);
    await eventually('the host is used again', async () => (await status(host)) === 'Ready');
  });

  it('parks hosts as the load falls, wakes one as it rises, and runs the machine there', async () => {
    await patch('cluster', 'default', { powerManagement: { mode: 'Automatic', idleSeconds: 30 } });
    await eventually(
      'one host is left',
      async () => (await platform.kubectl('get', 'hosts')).split('Parked').length === 3,
      120_000,
    );
    const parkedFor = await platform.kubectl('get', 'hosts', '-o', 'jsonpath={.items[*].status.power.reason}');
    expect(parkedFor).toContain('of the virtual CPUs are free without it');
    await platform.apply(large('two'));
    await running('two');
    const host = await platform.kubectl('get', 'vm', 'two', '-o', 'jsonpath={.status.host}');
    expect(await platform.kubectl('describe', 'host', host)).toContain('default/two fits on no host that is on');
    expect((await platform.kubectl('get', 'hosts')).split('Parked')).toHaveLength(2);
  });

  it('says that a host does not wake, and why', async () => {
    await patch('cluster', 'default', { powerManagement: { mode: 'Off' } });
    await platform.apply(BROKEN);
    await platform.kubectl('delete', 'vm', '--all', '--wait=true');
    await platform.kubectl('xen', 'park', 'host-0001');
    await platform.kubectl('xen', 'wake', 'host-0001', '--no-wait');
    await eventually('it is said', async () => (await status('host-0001')) === 'NotReady,Off');
    expect(await platform.kubectl('describe', 'host', 'host-0001')).toContain('its power supply is broken');
  });

  it('refuses to spread machines over hosts that it is to empty', async () => {
    const both = { rebalancing: { mode: 'balance' }, powerManagement: { mode: 'Automatic' } };
    await expect(patch('cluster', 'default', both)).rejects.toThrow(/spec.rebalancing.mode/);
  });
});
