import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, finish, freePort, startPlatform, XENOLITH, type Finished, type Platform } from './platform.js';

const KINDS = [
  ...['virtualmachines', 'hosts', 'operations', 'clusters'].map((kind) => `compute.xenolith.dev/v1alpha1/${kind}`),
  ...['volumes', 'images', 'storagedomains'].map((kind) => `storage.xenolith.dev/v1alpha1/${kind}`),
  ...['networks', 'ports'].map((kind) => `network.xenolith.dev/v1alpha1/${kind}`),
  'scheduling.xenolith.dev/v1alpha1/placements',
];

const machine = (name: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name, namespace: 'default' },
    spec: {
      cpu: { vcpus: 1 },
      memory: '512Mi',
      disks: [{ name: 'root', source: { image: 'alpine-3' } }],
      nics: [{ name: 'eth0', network: 'default' }],
    },
  });

const machines = (prefix: string, count: number): string =>
  Array.from({ length: count }, (_, index) => machine(`${prefix}-${index}`)).join('\n---\n');

describe('a platform that is restored from a backup', () => {
  let platform: Platform;
  let folder: string;
  let file: string;
  let restored: string;
  let position: number;

  const onRestored = (...args: readonly string[]): Promise<Finished> => finish(XENOLITH, [...args, '--data', restored]);
  const kubectlOnRestored = (...args: readonly string[]): Promise<Finished> =>
    finish(XENOLITH, ['kubectl', '--data', restored, ...args]);

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 3, args: ['--boot-time', '0'] });
    folder = await mkdtemp(join(tmpdir(), 'xenolith-backup-'));
    file = join(folder, 'platform.backup');
    restored = join(folder, 'restored');
    await platform.apply(machines('settled', 5));
    await platform.kubectl('wait', 'vms', '--all', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    // Taken in the middle of work.
    const busy = platform.apply(machines('busy', 10));
    const taken = await platform.xenolith('backup', file);
    expect(taken.code, taken.stderr).toBe(0);
    await busy;
    const manifest = /\{\s*"createdAt".*/s.exec(gunzipSync(await readFile(file)).toString('latin1'))?.[0] ?? '';
    position = Number(/"position": (\d+)/.exec(manifest)?.[1]);
    expect(position).toBeGreaterThan(50);
    const made = await onRestored('restore', file);
    expect(made.code, made.stderr).toBe(0);
    const up = await onRestored('up', '--detach', '--port', String(await freePort()));
    expect(up.code, up.stderr).toBe(0);
  });
  afterAll(async () => {
    await onRestored('down');
    await platform.down();
    await rm(folder, { recursive: true, force: true });
  });

  it('shows every document as the original showed it at that position', async () => {
    const hash = createHash('sha256');
    const shown: Record<string, readonly string[]> = {};
    for (const [name, read] of [
      ['original', (path: string) => platform.tryKubectl('get', '--raw', path)],
      ['restored', (path: string) => kubectlOnRestored('get', '--raw', path)],
    ] as const) {
      const hashes: string[] = [];
      for (const kind of KINDS) {
        const { code, stdout, stderr } = await read(`/asof/${position}/apis/${kind}`);
        expect(code, stderr).toBe(0);
        hashes.push(`${kind} ${hash.copy().update(stdout).digest('hex')}`);
      }
      shown[name] = hashes;
    }
    expect(shown['restored']).toEqual(shown['original']);
  });

  it('goes on: machines run where they ran, and new ones start', async () => {
    const { stdout } = await kubectlOnRestored('get', 'vms', '-o', 'json');
    const found = (JSON.parse(stdout) as { items: { metadata: { name: string }; status: { powerState: string } }[] })
      .items;
    const settled = found.filter(({ metadata }) => metadata.name.startsWith('settled'));
    expect(settled.map(({ status }) => status.powerState)).toEqual(Array.from({ length: 5 }, () => 'Running'));
    const one = join(folder, 'new.json');
    await writeFile(one, machine('new'));
    expect((await kubectlOnRestored('apply', '-f', one)).code).toBe(0);
    await eventually('a new machine runs', async () => {
      const { stdout: state } = await kubectlOnRestored('get', 'vm', 'new', '-o', 'jsonpath={.status.powerState}');
      return state === 'Running';
    });
  });

  it('is not restored over, nor is the file written over', async () => {
    const again = await onRestored('restore', file);
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/is not empty/);
    const over = await platform.xenolith('backup', file);
    expect(over.code).toBe(1);
    expect(over.stderr).toMatch(/is there already/);
  });

  it('holds no secret of the platform', async () => {
    const content = gunzipSync(await readFile(file)).toString('latin1');
    const secrets = await readdir(join(platform.data, 'secrets'), { withFileTypes: true, recursive: true });
    for (const entry of secrets.filter((each) => each.isFile())) {
      const secret = (await readFile(join(entry.parentPath, entry.name), 'utf8')).trim();
      expect(content.includes(secret), entry.name).toBe(false);
    }
    const [{ token }] = JSON.parse(await readFile(join(platform.data, 'tls', 'tokens.json'), 'utf8')) as [
      { token: string },
    ];
    expect(content).not.toContain(token);
  });

  it('of a damaged file is refused before anything is made', async () => {
    const bytes = await readFile(file);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    const broken = join(folder, 'broken.backup');
    await writeFile(broken, bytes);
    const target = join(folder, 'never');
    const refused = await finish(XENOLITH, ['restore', broken, '--data', target]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/no whole backup/);
    expect(await readdir(folder)).not.toContain('never');
    expect(await readdir(folder)).not.toContain('never.restoring');
  });

  it('can be backed up while it does not run', async () => {
    await onRestored('down');
    const second = join(folder, 'stopped.backup');
    const taken = await onRestored('backup', second);
    expect(taken.code, taken.stderr).toBe(0);
    expect(await readdir(folder)).toContain('stopped.backup');
  });
});
