import { CustomObjectsApi, KubeConfig, makeInformer, type KubernetesObject } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

const GROUP = 'compute.xenolith.dev';
const PATH = `/apis/${GROUP}/v1alpha1/namespaces/default/virtualmachines`;

interface Machine extends KubernetesObject {
  readonly status?: { readonly powerState?: string };
}

describe('the Kubernetes client library', () => {
  let platform: Platform;
  let config: KubeConfig;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 2, args: ['--boot-time', '0'] });
    config = new KubeConfig();
    config.loadFromFile(platform.kubeconfig);
  });
  afterAll(async () => {
    await platform.down();
  });

  it('follows virtual machines with an informer, through a restart of the gateway', async () => {
    const api = config.makeApiClient(CustomObjectsApi);
    const informer = makeInformer<Machine>(config, PATH, async () => {
      const list = (await api.listNamespacedCustomObject({
        group: GROUP,
        version: 'v1alpha1',
        namespace: 'default',
        plural: 'virtualmachines',
      })) as { items: Machine[] };
      return list;
    });
    const seen = new Map<string, string>();
    const note = (machine: Machine): void =>
      void seen.set(machine.metadata?.name ?? '', machine.status?.powerState ?? '');
    informer.on('add', note);
    informer.on('update', note);
    informer.on('delete', (machine) => void seen.delete(machine.metadata?.name ?? ''));
    informer.on('error', () => {
      // The library asks the user to start again after an error: list, then watch from there.
      void informer.start();
    });
    await informer.start();
    const create = (name: string): Promise<unknown> =>
      api.createNamespacedCustomObject({
        group: GROUP,
        version: 'v1alpha1',
        namespace: 'default',
        plural: 'virtualmachines',
        body: {
          apiVersion: `${GROUP}/v1alpha1`,
          kind: 'VirtualMachine',
          metadata: { name },
          spec: { cpu: { vcpus: 1 }, memory: '512Mi' },
        },
      });
    await create('one');
    await eventually('the informer sees one running', () => Promise.resolve(seen.get('one') === 'Running'));
    const gateway = (await platform.processes()).find((process) => process.name === 'gateway');
    if (gateway) process.kill(gateway.pid, 'SIGKILL');
    await eventually('a second machine is accepted', () =>
      create('two').then(
        () => true,
        (error: unknown) => /already exists/.test(String(error)),
      ),
    );
    await eventually('the informer sees two running', () => Promise.resolve(seen.get('two') === 'Running'));
    await platform.kubectl('delete', 'vm', 'one', 'two', '--timeout=60s');
    await eventually('the informer sees them gone', () => Promise.resolve(seen.size === 0));
    await informer.stop();
    expect(seen.size).toBe(0);
  });
});
