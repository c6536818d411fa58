import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPlatform, type Platform } from './platform.js';

const LISTENING = '0A';
/** 127.0.0.1 and ::1, as /proc/net writes them. */
const LOOPBACK = new Set(['0100007F', '00000000000000000000000001000000']);

const MACHINE = JSON.stringify({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name: 'web', namespace: 'default' },
  spec: { cpu: { vcpus: 1 }, memory: '512Mi', disks: [{ name: 'root', source: { image: 'alpine-3' } }] },
});

const filesBelow = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder, { withFileTypes: true, recursive: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

describe('a platform that runs', () => {
  let platform: Platform;
  /** By the file that holds it. */
  let secrets: ReadonlyMap<string, string>;
  let pids: readonly number[];

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 2, args: ['--boot-time', '0'] });
    await platform.apply(MACHINE);
    await platform.kubectl('wait', 'vm', 'web', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    await platform.kubectl('delete', 'vm', 'web', '--timeout=60s');
    const found = new Map<string, string>();
    for (const file of await filesBelow(join(platform.data, 'secrets')))
      found.set(file, (await readFile(file, 'utf8')).trim());
    const tokens = JSON.parse(await readFile(join(platform.data, 'tls', 'tokens.json'), 'utf8')) as { token: string }[];
    for (const { token } of tokens) found.set('tokens.json', token);
    for (const file of (await filesBelow(join(platform.data, 'tls'))).filter((name) => name.endsWith('.key')))
      found.set(file, (await readFile(file, 'utf8')).split('\n')[1] ?? '');
    secrets = found;
    const status = await platform.xenolith('status', '-o', 'json');
    const { supervisor } = JSON.parse(status.stdout) as { supervisor: number };
    pids = [supervisor, ...(await platform.processes()).map(({ pid }) => pid)];
  });
  afterAll(async () => {
    await platform.down();
  });

  const expectNoSecret = (text: string, where: string): void => {
    for (const [file, secret] of secrets)
      expect(text.includes(secret), `${where} holds what ${file} holds`).toBe(false);
  };

  it('has secrets, which their owner alone may read', async () => {
    expect(secrets.size).toBeGreaterThan(15);
    const files = [...secrets.keys()].filter((file) => file.startsWith('/'));
    for (const file of [
      ...files,
      ...['settings.json', 'kubeconfig', 'tls/tokens.json'].map((name) => join(platform.data, name)),
    ])
      expect((await stat(file)).mode & 0o077, file).toBe(0);
  });

  it('shows none of them among the arguments of its processes', async () => {
    for (const pid of pids) expectNoSecret(await readFile(`/proc/${pid}/cmdline`, 'utf8'), `process ${pid}`);
  });

  it('shows none of them in its logs, and nothing there was refused by NATS or Postgres', async () => {
    const files = await filesBelow(join(platform.data, 'logs'));
    expect(files.length).toBeGreaterThan(7);
    for (const file of files) {
      const text = await readFile(file, 'utf8');
      expectNoSecret(text, file);
      expect(text, file).not.toMatch(/permissions? violation|permission denied|NATS refused/i);
    }
  });

  it('listens for nobody but this machine', async () => {
    const ours = new Set<string>();
    for (const pid of pids)
      for (const fd of await readdir(`/proc/${pid}/fd`)) {
        const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
        const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
        if (inode !== undefined) ours.add(inode);
      }
    const addresses: string[] = [];
    for (const table of ['/proc/net/tcp', '/proc/net/tcp6'])
      for (const line of (await readFile(table, 'utf8').catch(() => '')).split('\n').slice(1)) {
        const fields = line.trim().split(/\s+/);
        if (fields[3] === LISTENING && ours.has(fields[9] ?? '')) addresses.push(fields[1]?.split(':')[0] ?? '');
      }
    // The gateway, six side ports, Postgres, NATS and its monitoring.
    expect(addresses.length).toBeGreaterThanOrEqual(10);
    expect(addresses.filter((address) => !LOOPBACK.has(address))).toEqual([]);
  });
});
