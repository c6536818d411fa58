import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

let platform: Platform;

beforeAll(async () => {
  platform = await startPlatform({ hosts: 4, args: ['--boot-time', '0'] });
  await platform.kubectl('create', 'namespace', 'red');
  await platform.kubectl('create', 'rolebinding', 'tina', '--clusterrole=admin', '--user=tina', '-n', 'red');
});

afterAll(async () => {
  await platform.down();
});

const machine = (name: string): string => `apiVersion: compute.xenolith.dev/v1alpha1
kind: VirtualMachine
metadata: { name: ${name}, namespace: red }
spec: { memory: 256Mi, disks: [ { name: root, source: { image: alpine-3 } } ] }
`;

const COUNT = 'count/virtualmachines.compute.xenolith.dev';

const filesBelow = async (...folder: readonly string[]): Promise<readonly string[]> => {
  const entries = await readdir(join(platform.data, ...folder), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
};

/** Tokens, seeds, passwords and the bodies of private keys, as the platform's files have them. */
const secretsOf = async (): Promise<readonly string[]> => {
  const files = [...(await filesBelow('secrets')), ...(await filesBelow('tls')), join(platform.data, 'kubeconfig')];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return texts.flatMap((text) => [
    ...[...text.matchAll(/"?token"?: *"?([\w-]{16,})/g)].map(([, token = '']) => token),
    ...[...text.matchAll(/\bSU[A-Z2-7]{40,}\b/g)].map(([seed]) => seed),
    ...[...text.matchAll(/PRIVATE KEY-----\n([^-]{40,})\n-----END/g)].map(([, body = '']) => body.split('\n')[0] ?? ''),
    ...(/^[\w-]{16,}$/.test(text.trim()) ? [text.trim()] : []),
  ]);
};

describe('tenants', () => {
  it('act on their own machines only, up to their quota, also while a gateway is killed', async () => {
    await platform.kubectl('create', 'quota', 'few', '-n', 'red', `--hard=${COUNT}=4`);
    const made = (name: string): Promise<boolean> =>
      platform.apply(machine(name), '--as', 'tina').then(
        () => true,
        () => false,
      );
    expect(await made('web-0')).toBe(true);
    const refused = await platform.tryKubectl('get', 'vm', '-n', 'default', '--as', 'tina');
    expect(refused.stderr).toContain('User "tina" cannot list resource "virtualmachines"');
    const burst = Array.from({ length: 8 }, (_, index) => made(`web-${index + 1}`));
    const gateway = (await platform.processes()).find(({ name }) => name === 'gateway');
    if (gateway === undefined) throw new Error('there is a gateway');
    process.kill(gateway.pid, 'SIGKILL');
    await Promise.all(burst);
    await eventually('the gateway is back', async () => (await platform.tryKubectl('get', 'ns')).code === 0);
    const machines = async (): Promise<number> =>
      (await platform.json<{ items: unknown[] }>('get', 'vm', '-n', 'red')).items.length;
    for (let index = 10; index < 16; index += 1) await made(`web-${index}`);
    expect(await machines()).toBeLessThanOrEqual(4);
    const quota = await platform.json<{ status: { used: Record<string, string> } }>('get', 'quota', 'few', '-n', 'red');
    expect(Number(quota.status.used[COUNT])).toBeGreaterThanOrEqual(await machines());
    expect(Number(quota.status.used[COUNT])).toBeLessThanOrEqual(4);
  });
});

describe('the logs', () => {
  it('hold no token, seed, password or key, whatever was asked', async () => {
    const secrets = await secretsOf();
    expect(secrets.length).toBeGreaterThan(8);
    const [token = ''] = secrets;
    for (const wrong of [`${token}x`, 'a-wrong-token-0123456789'])
      await platform.tryKubectl(
        '--token',
        wrong,
        '--kubeconfig',
        '/dev/null',
        'get',
        'vm',
        '--server',
        `https://127.0.0.1:${platform.port}`,
        '--insecure-skip-tls-verify',
      );
    const logs = await filesBelow('logs');
    expect(logs.length).toBeGreaterThan(5);
    for (const file of logs) {
      const text = await readFile(file, 'utf8');
      for (const secret of [...secrets, 'a-wrong-token-0123456789'])
        expect(text.includes(secret), `${file} holds ${secret.slice(0, 4)}…`).toBe(false);
    }
  });
});
