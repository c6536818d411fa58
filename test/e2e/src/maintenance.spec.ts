import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

interface Plan {
  readonly status: {
    readonly phase: string;
    readonly message: string;
    readonly moves: readonly { readonly from: string; readonly to: string; readonly phase: string }[];
  };
}

const machines = (names: readonly string[]): string =>
  names
    .map(
      (name) =>
        `apiVersion: compute.xenolith.dev/v1alpha1\nkind: VirtualMachine\nmetadata: { name: ${name} }\nspec: { memory: 4Gi }\n`,
    )
    .join('---\n');

interface FailoverPlan {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly state: string;
    readonly machines: number;
    readonly restarts?: readonly { readonly virtualMachine: { readonly name: string }; readonly to: string }[];
  };
}

/** More than half a host: two never share one. */
const large = (name: string): string =>
  `apiVersion: compute.xenolith.dev/v1alpha1\nkind: VirtualMachine\nmetadata: { name: ${name} }\nspec: { memory: 70Gi, ha: { restart: always } }\n`;

const plan = (name: string, spec: string): string =>
  `apiVersion: scheduling.xenolith.dev/v1alpha1\nkind: RebalancePlan\nmetadata: { name: ${name} }\nspec: ${spec}\n`;

describe('hosts that are emptied', () => {
  let platform: Platform;
  const names = ['one', 'two', 'three', 'four', 'five', 'six'];

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 3, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    await platform.apply(machines(names));
    await platform.kubectl('wait', 'vm', '--all', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
  });
  afterAll(async () => {
    await platform.down();
  });

  const maintain = (host: string, maintenance: boolean): Promise<string> =>
    platform.kubectl('patch', 'host', host, '--type=merge', '-p', JSON.stringify({ spec: { maintenance } }));
  const on = async (host: string): Promise<readonly string[]> => {
    const found = await platform.kubectl('get', 'vm', `--field-selector=status.host=${host}`, '-o', 'name');
    return found.split('\n').filter((line) => line !== '');
  };

  it('empties a host under maintenance while its machines run, and uses it again afterwards', async () => {
    expect((await on('host-0001')).length).toBeGreaterThan(0);
    const drained = await platform.kubectl('xen', 'drain', 'host-0001', '--wait');
    expect(drained).toContain('patched');
    expect(await on('host-0001')).toEqual([]);
    expect(await platform.kubectl('get', 'host', 'host-0001')).toMatch(/host-0001\s+Ready,Maintenance/);
    expect(await platform.kubectl('get', 'rbp')).toMatch(/evacuate-host-0001-\S+\s+evacuate\s+default\s+Completed/);
    const { items } = await platform.json<{ items: { status: { powerState: string } }[] }>('get', 'vm');
    expect(items.every(({ status }) => status.powerState === 'Running')).toBe(true);
    await maintain('host-0001', false);
    expect(await platform.kubectl('get', 'host', 'host-0001')).toMatch(/host-0001\s+Ready\s/);
  });

  it('shows a plan, and carries it out once it is approved', async () => {
    // Those that the maintenance moved went to the other hosts.
    await platform.apply(plan('spread', '{ mode: balance }'));
    const proposed = await platform.json<Plan>('get', 'rbp', 'spread');
    expect(proposed.status.phase).toBe('Proposed');
    expect(proposed.status.moves.some(({ to }) => to === 'host-0001')).toBe(true);
    expect(await on('host-0001')).toEqual([]);
    await platform.kubectl('patch', 'rbp', 'spread', '--type=merge', '-p', '{"spec":{"approved":true}}');
    await platform.kubectl('wait', 'rbp/spread', '--for=condition=Complete', '--timeout=120s');
    const done = await platform.json<Plan>('get', 'rbp', 'spread');
    expect(done.status.moves.every(({ phase }) => phase === 'Succeeded')).toBe(true);
    expect((await on('host-0001')).length).toBeGreaterThan(0);
  });

  it('says field by field what is wrong with a plan', async () => {
    await expect(platform.apply(plan('wrong', '{ mode: evacuate }'))).rejects.toThrow(/spec.hosts/);
    await expect(platform.apply(plan('wrong', '{ mode: evacuate, hosts: [host-9] }'))).rejects.toThrow(
      /has no host "host-9"/,
    );
  });

  it('keeps room for the loss of a host where that is promised, and shows the plans for it', async () => {
    const promise = (hostFailures: number): Promise<string> =>
      platform.kubectl(
        ...['patch', 'cluster', 'default', '--type=merge'],
        ...['-p', JSON.stringify({ spec: { highAvailability: { hostFailures } } })],
      );
    await promise(1);
    await platform.kubectl(
      ...['wait', 'cluster/default', '--for=jsonpath={.status.highAvailability.state}=Protected', '--timeout=60s'],
    );
    for (const name of ['big-1', 'big-2']) {
      await platform.apply(large(name));
      await platform.kubectl('wait', `vm/${name}`, '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    }
    await platform.apply(large('big-3'));
    await eventually('the third waits for a failover that could not be', async () =>
      (await platform.kubectl('describe', 'vm', 'big-3')).includes('kept free for failovers'),
    );
    const host = await platform.kubectl('get', 'vm', 'big-1', '-o', 'jsonpath={.status.host}');
    const { items } = await platform.json<{ items: FailoverPlan[] }>('get', 'failoverplans');
    expect(items.map(({ status }) => status.state)).toEqual(['Guaranteed', 'Guaranteed', 'Guaranteed']);
    const own = items.find(({ metadata }) => metadata.name === host);
    expect(own?.status.restarts).toMatchObject([{ virtualMachine: { name: 'big-1' } }]);
    expect(await platform.kubectl('get', 'fop', host)).toMatch(/NAME\s+CLUSTER\s+STATE\s+MACHINES\s+EVICTED/);
    // What a machine says of its restart counts while it runs.
    await platform.kubectl('patch', 'vm', 'big-1', '--type=merge', '-p', '{"spec":{"ha":{"restart":"never"}}}');
    const after = await platform.json<FailoverPlan>('get', 'failoverplan', host);
    expect(after.status.machines).toBe(0);
    await promise(0);
    await platform.kubectl('wait', 'vm/big-3', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
  });
});
