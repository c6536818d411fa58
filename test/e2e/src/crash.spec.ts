import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

const MACHINES = 300;
const VICTIMS = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'agent', 'nats', 'postgres'] as const;

interface Item {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
  readonly spec: { readonly powerState?: string };
  readonly status: {
    readonly powerState?: string;
    readonly phase?: string;
    readonly host?: string;
    readonly domid?: number;
  };
}

const manifest = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, index) =>
    JSON.stringify({
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'VirtualMachine',
      metadata: { name: `vm-${String(from + index).padStart(3, '0')}`, namespace: 'default' },
      spec: {
        cpu: { vcpus: 1 },
        memory: '512Mi',
        disks: [{ name: 'root', source: { image: 'alpine-3' } }],
        nics: [{ name: 'eth0', network: 'default' }],
      },
    }),
  ).join('\n---\n');

describe('a platform whose processes are killed one after the other', () => {
  let platform: Platform;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 6, args: ['--boot-time', '0.05'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
  });
  afterAll(async () => {
    await platform.down();
  });

  const items = async (kinds: string): Promise<readonly Item[]> =>
    (await platform.json<{ items: Item[] }>('get', kinds, '-A')).items;

  const kill = async (name: string): Promise<void> => {
    const victim = (await platform.processes()).find((process) => process.name === name);
    expect(victim, `${name} runs`).toBeDefined();
    if (victim) process.kill(victim.pid, 'SIGKILL');
    await eventually(`${name} runs again`, async () => {
      const status = await platform.xenolith('status', '-o', 'json');
      const { ready, processes } = JSON.parse(status.stdout) as {
        ready: boolean;
        processes: { name: string; pid: number }[];
      };
      const now = processes.find((process) => process.name === name);
      return ready && now !== undefined && now.pid !== victim?.pid;
    });
  };

  it('ends with every accepted machine running exactly once and nothing orphaned', async () => {
    const share = Math.ceil(MACHINES / VICTIMS.length);
    for (const [turn, victim] of VICTIMS.entries()) {
      const applied = (async () => {
        const batch = manifest(turn * share, Math.min(MACHINES, (turn + 1) * share));
        // What a crash swallowed before it was acknowledged, a user applies again; what was acknowledged is there already.
        await eventually(
          `batch ${turn} is acknowledged`,
          () =>
            platform.apply(batch).then(
              () => true,
              () => false,
            ),
          180_000,
        );
      })();
      await kill(victim);
      await applied;
    }
    await eventually(
      'all machines run',
      async () =>
        (await items('vms').catch(() => [])).filter((machine) => machine.status.powerState === 'Running').length ===
        MACHINES,
      240_000,
    );
    const machines = await items('vms');
    expect(machines).toHaveLength(MACHINES);
    const domains = machines.map((machine) => `${machine.status.host ?? ''}/${machine.status.domid ?? ''}`);
    expect(new Set(domains).size).toBe(MACHINES);
    await eventually('every operation has ended', async () =>
      (await items('operations')).every((operation) => /Succeeded|Failed|Cancelled/.test(operation.status.phase ?? '')),
    );
    const uids = new Set(machines.map((machine) => machine.metadata.uid));
    for (const owned of await items('volumes,ports')) {
      expect(
        owned.metadata.ownerReferences?.every((owner) => uids.has(owner.uid)),
        `${owned.kind} ${owned.metadata.name} has a living owner`,
      ).toBe(true);
    }
    const placed = (await items('placements')).filter((placement) => placement.status.phase === 'Placed');
    expect(placed).toHaveLength(MACHINES);
  });

  it('gives the same answers after every view and the feed were thrown away', async () => {
    const everything = async (): Promise<string> => {
      const kinds =
        'namespaces,clusters,hosts,vms,operations,storagedomains,images,volumes,networks,ports,placements,faultrules';
      return createHash('sha256')
        .update(JSON.stringify(await items(kinds)))
        .digest('hex');
    };
    const before = await everything();
    expect((await platform.xenolith('down')).code).toBe(0);
    await rm(join(platform.data, 'nats'), { recursive: true, force: true });
    expect(
      (
        await platform.xenolith(
          'up',
          '--detach',
          '--hosts',
          '6',
          '--boot-time',
          '0.05',
          '--port',
          String(platform.port),
        )
      ).code,
    ).toBe(0);
    await eventually('hosts are ready', async () =>
      (await items('hosts')).every((host) => host.status.phase !== 'NotReady'),
    );
    expect(await everything()).toBe(before);
  });
});
