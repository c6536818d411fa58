import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

const machine = (name: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: {
      cpu: { vcpus: 1 },
      memory: '512Mi',
      disks: [{ name: 'root', source: { image: 'alpine-3' } }],
      nics: [{ name: 'eth0', network: 'default' }],
    },
  });

const POWER = '{.status.powerState}';

describe('the past of a platform that runs', () => {
  let platform: Platform;
  const becomes = (name: string, state: string): Promise<string> =>
    platform.kubectl('wait', `vm/${name}`, `--for=jsonpath=${POWER}=${state}`, '--timeout=60s');
  const positionOf = async (name: string): Promise<string> =>
    platform.kubectl('get', 'vm', name, '-o', 'jsonpath={.metadata.resourceVersion}');

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 2, args: ['--boot-time', '0'] });
    await platform.apply(machine('web'));
    await becomes('web', 'Running');
  });
  afterAll(() => platform.down());

  it('shows what was, to the byte, to any kubectl', async () => {
    const position = await positionOf('web');
    const before = await platform.kubectl('get', 'vm', 'web', '-o', 'json');
    await platform.kubectl('patch', 'vm', 'web', '--type=merge', '-p', '{"spec":{"powerState":"Halted"}}');
    await becomes('web', 'Halted');
    const server = `https://127.0.0.1:${platform.port}/asof/${position}`;
    expect(await platform.kubectl('--server', server, 'get', 'vm', 'web', '-o', 'json')).toBe(before);
    const refused = await platform.tryKubectl('--server', server, 'delete', 'vm', 'web');
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('what was can') as unknown]);
  });

  it('says that a person had a machine halted, and leaves the steps of the operation out', async () => {
    const why = await platform.kubectl('xen', 'why', 'web');
    expect(why).toContain('status.powerState of virtualmachine web is Halted');
    expect(why).toContain('was shut down');
    expect(why).toMatch(/operation web-shutdown-\w+: .*\(by admin\)/);
    expect(why).not.toContain('port ');
  });

  it('says that a machine is halted because its host crashed, by whose rule', async () => {
    await platform.kubectl('xen', 'start', 'web', '--wait');
    const host = await platform.kubectl('get', 'vm', 'web', '-o', 'jsonpath={.status.host}');
    await platform.apply(
      JSON.stringify({
        apiVersion: 'chaos.xenolith.dev/v1alpha1',
        kind: 'FaultRule',
        metadata: { name: 'crash-web' },
        spec: { match: { hosts: [host], commands: ['PauseDomain'] }, effect: { crashHost: true }, count: 1 },
      }),
    );
    await eventually('the rule is in force, and the host has crashed', async () => {
      await platform.tryKubectl('xen', 'pause', 'web', '--wait');
      const fired = await platform.kubectl('get', 'faultrule', 'crash-web', '-o', 'jsonpath={.status.fired}');
      if (fired !== '1') await platform.tryKubectl('xen', 'unpause', 'web', '--wait');
      return fired === '1';
    });
    await becomes('web', 'Halted');
    const why = await platform.kubectl('xen', 'why', 'web');
    expect(why).toContain(host);
    expect(why).toContain('crash-web');
    expect(why).toContain('(by admin)');
  });

  it('is told event by event, and is as it was recorded', async () => {
    const timeline = await platform.xenolith('timeline', '--object', 'vm/web', '--output', 'cloudevents');
    const events = timeline.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { specversion: string; type: string });
    expect(new Set(events.map(({ specversion }) => specversion))).toEqual(new Set(['1.0']));
    expect(events.map(({ type }) => type.split('.').at(-2))).toEqual(
      expect.arrayContaining(['VirtualMachineCreated', 'VirtualMachineStarted', 'VirtualMachineHalted']),
    );
    const verified = await platform.xenolith('verify');
    expect([verified.code, verified.stdout + verified.stderr]).toEqual([
      0,
      expect.stringMatching(/All \d+ events are as they were recorded/) as unknown,
    ]);
  });
});
