import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, finish, ROOT, startPlatform, type Platform } from './platform.js';

interface Machine {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
  readonly spec: { readonly powerState: string };
  readonly status: {
    readonly powerState: string;
    readonly host?: string;
    readonly domid?: number;
    readonly allowedOperations: readonly string[];
    readonly nics: readonly { readonly mac: string; readonly ips: readonly string[] }[];
    readonly conditions: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}
interface List<Item> {
  readonly items: readonly Item[];
}

const vm = (name: string, spec: string): string =>
  `apiVersion: compute.xenolith.dev/v1alpha1\nkind: VirtualMachine\nmetadata: { name: ${name} }\nspec: ${spec}\n`;

describe('a platform as its first user meets it', () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 4, args: ['--boot-time', '0'] });
  });
  afterAll(async () => {
    await platform.down();
  });

  it('says which processes make it up', async () => {
    const names = (await platform.processes()).map((process) => process.name).sort();
    expect(names).toEqual(['agent', 'compute', 'gateway', 'nats', 'network', 'postgres', 'scheduler', 'storage']);
  });

  it('has started its own programs from bundles', async () => {
    const processes = (await platform.processes()).filter(({ name }) => name !== 'postgres' && name !== 'nats');
    for (const { name, pid } of processes)
      expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).toContain(`.runtime/programs/${name}.js`);
  });

  it('has hosts that registered themselves', async () => {
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    const table = await platform.kubectl('get', 'hosts');
    expect(table).toMatch(/^NAME\s+STATUS\s+CLUSTER\s+CPU\s+MEMORY\s+NUMA\s+HYPERVISOR\s+VERSION\s+AGE/);
    expect(table.trim().split('\n').slice(1)).toHaveLength(4);
    for (const line of table.trim().split('\n').slice(1))
      expect(line).toMatch(/^host-\d{4}\s+Ready\s+default\s+\d+\s+\d+Gi\s+\d+\s+xen\s+\S+/);
  });

  it('runs the example: applied, Running, with addresses', async () => {
    await platform.kubectl('apply', '-f', 'examples/web-tier.yaml');
    await platform.kubectl('wait', 'vm', '--all', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    const { items } = await platform.json<List<Machine>>('get', 'vms');
    expect(items.length).toBeGreaterThanOrEqual(3);
    for (const machine of items) {
      expect(machine.status.host).toMatch(/^host-\d{4}$/);
      expect(machine.status.domid).toBeGreaterThan(0);
    }
    const addresses = items.flatMap((machine) => machine.status.nics.flatMap((nic) => [nic.mac, ...nic.ips]));
    expect(new Set(addresses).size).toBe(addresses.length);
    expect(await platform.kubectl('get', 'vms', '-o', 'wide')).toMatch(/DOMID/);
  });

  it('applies the same example again and changes nothing', async () => {
    const before = await platform.json<Machine>('get', 'vm', 'web-1');
    expect(await platform.kubectl('apply', '-f', 'examples/web-tier.yaml')).toMatch(/virtualmachine\S* unchanged/);
    const after = await platform.json<Machine>('get', 'vm', 'web-1');
    expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
  });

  it('describes a machine with its events, and explains its fields', async () => {
    expect(await platform.kubectl('describe', 'vm', 'web-1')).toMatch(/Events:[\s\S]*(Started|Running)/);
    expect(await platform.kubectl('get', 'events')).toMatch(/virtualmachine\/web-1/i);
    expect(await platform.kubectl('explain', 'vm.spec.memory')).toMatch(/staticMax/);
    expect(await platform.kubectl('api-resources')).toMatch(/virtualmachines\s+vm,vms/);
    expect(await platform.kubectl('get', 'xen')).toMatch(/virtualmachine/);
  });

  it('shows on its host what xl shows of a machine', async () => {
    const host = await platform.kubectl('get', 'vm', 'web-1', '-o', 'jsonpath={.status.host} {.status.domid}');
    const [name = '', domid = ''] = host.trim().split(' ');
    const tool = `/apis/compute.xenolith.dev/v1alpha1/hosts/${name}`;
    const list = await platform.kubectl('get', '--raw', `${tool}/xl?arg=list&arg=web-1`);
    expect(list).toMatch(new RegExp(`^web-1 +${domid} +\\d+ +\\d+ +(?:r-|-b)---- +\\d+\\.\\d$`, 'm'));
    const path = encodeURIComponent(`/local/domain/${domid}/device/vbd/51712/state`);
    expect(await platform.kubectl('get', '--raw', `${tool}/xenstore?arg=read&arg=${path}`)).toBe('4\n');
  });

  it('halts a machine when the wish changes, and starts it again', async () => {
    await platform.kubectl('patch', 'vm', 'web-1', '--type=merge', '-p', '{"spec":{"powerState":"Halted"}}');
    await platform.kubectl('wait', 'vm/web-1', '--for=jsonpath={.status.powerState}=Halted', '--timeout=60s');
    await platform.kubectl(
      'patch',
      'vm',
      'web-1',
      '--type=json',
      '-p',
      '[{"op":"replace","path":"/spec/powerState","value":"Running"}]',
    );
    await platform.kubectl('wait', 'vm/web-1', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
  });

  it('reboots by the plugin, with an operation to watch', async () => {
    const before = await platform.json<Machine>('get', 'vm', 'web-1');
    const path = `${join(ROOT, 'apps/cli/bin')}:${process.env['PATH'] ?? ''}`;
    const plugin = await finish(join(ROOT, 'apps/cli/bin/kubectl-xen'), ['reboot', 'web-1', '--wait'], {
      env: { KUBECONFIG: platform.kubeconfig, PATH: path },
    });
    expect(plugin, plugin.stderr).toMatchObject({ code: 0 });
    expect(await platform.kubectl('get', 'operations')).toMatch(/reboot\s+web-1\s+Succeeded/);
    const after = await platform.json<Machine>('get', 'vm', 'web-1');
    expect(after.status.domid).not.toBe(before.status.domid);
  });

  it('refuses what the power state forbids, with XAPI’s error', async () => {
    const refused = await platform.tryKubectl(
      'create',
      '--raw',
      '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines/web-1/unpause',
      '-f',
      '/dev/null',
    );
    expect(refused.code).not.toBe(0);
    expect(`${refused.stdout}${refused.stderr}`).toMatch(/VM_BAD_POWER_STATE|paused/i);
  });

  it('needs no more of a machine than cpu and memory', async () => {
    await platform.apply(vm('bare', '{ cpu: { vcpus: 1 }, memory: 512Mi }'));
    await platform.kubectl('wait', 'vm/bare', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    await platform.kubectl('delete', 'vm', 'bare');
  });

  it('accepts a machine that fits nowhere, says why, and runs it when there is room', async () => {
    await platform.apply(vm('huge', '{ cpu: { vcpus: 2 }, memory: 4Ti }'));
    await eventually('huge says why it waits', async () => {
      const huge = await platform.json<Machine>('get', 'vm', 'huge');
      return huge.status.conditions.some(
        (condition) => condition.status === 'False' && /0\/4 hosts/.test(condition.message),
      );
    });
    await platform.kubectl('delete', 'vm', 'huge', '--timeout=60s');
  });

  it('refuses an invalid object with one cause per wrong field', async () => {
    const refused = await platform.tryKubectl(
      'create',
      '--validate=false',
      '-f',
      join(ROOT, 'test/e2e/src/invalid-vm.yaml'),
    );
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/spec\.cpu\.max/);
    expect(refused.stderr).toMatch(/spec\.guestType/);
  });

  it('replays a small trace of our own', async () => {
    const replay = await platform.xenolith('replay', '--trace', 'examples/office-week.csv', '--limit', '60');
    expect(replay, replay.stderr).toMatchObject({ code: 0 });
    expect(replay.stdout).toMatch(/accepted\s+\d+/i);
  });

  it('passes the scripts that the chart runs in a cluster', async () => {
    const run = async (script: string, env: NodeJS.ProcessEnv = {}): Promise<string> => {
      const access = {
        API_HOST: '127.0.0.1',
        API_PORT: String(platform.port),
        TOKENS_FILE: join(platform.data, 'tls', 'tokens.json'),
        CA_FILE: join(platform.data, 'tls', 'ca.crt'),
      };
      const finished = await finish(process.execPath, [`deploy/helm/xenolith/files/scripts/${script}`], {
        env: { ...access, ...env },
      });
      expect(finished, finished.stderr).toMatchObject({ code: 0 });
      return finished.stdout;
    };
    const objects = join(platform.data, 'objects.json');
    const cluster = { apiVersion: 'compute.xenolith.dev/v1alpha1', kind: 'Cluster', metadata: { name: 'second' } };
    await writeFile(objects, JSON.stringify([{ ...cluster, spec: {} }]));
    expect(await run('starter.mjs', { OBJECTS_FILE: objects })).toBe('Cluster second is applied\n');
    await platform.kubectl('delete', 'cluster', 'second');
    expect(await run('test.mjs')).toMatch(/is created\n.* runs\n.* is gone: the platform works/);
  });

  it('deletes the example and leaves nothing behind', async () => {
    await platform.kubectl('delete', '-f', 'examples/web-tier.yaml', '--timeout=120s');
    await eventually('volumes, ports and placements are gone', async () => {
      const left = await platform.json<List<{ kind: string; status: { phase?: string } }>>('get', 'volumes,ports');
      return left.items.length === 0;
    });
    const { items } = await platform.json<List<Machine>>('get', 'vms');
    expect(items).toEqual([]);
  });

  it('finds an `up` beside it already running', async () => {
    const again = await platform.xenolith('up', '--detach', '--port', String(platform.port));
    expect(again.code).toBe(0);
    expect(again.stderr).toMatch(/runs already/);
    expect(again.stdout).toMatch(/^xenolith is ready: /);
  });

  it('keeps everything over a restart', async () => {
    await platform.apply(vm('keeper', '{ cpu: { vcpus: 1 }, memory: 512Mi }'));
    await platform.kubectl('wait', 'vm/keeper', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    const before = await platform.json<Machine>('get', 'vm', 'keeper');
    expect((await platform.xenolith('down')).code).toBe(0);
    expect(existsSync(join(platform.data, 'kubeconfig'))).toBe(true);
    expect(
      (await platform.xenolith('up', '--detach', '--hosts', '4', '--boot-time', '0', '--port', String(platform.port)))
        .code,
    ).toBe(0);
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    const after = await platform.json<Machine>('get', 'vm', 'keeper');
    expect(after.metadata.uid).toBe(before.metadata.uid);
    expect(after.status).toMatchObject({ powerState: 'Running', host: before.status.host, domid: before.status.domid });
  });
});
