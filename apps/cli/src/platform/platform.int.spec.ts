import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { dataFolder, type DataFolder } from '../folders.js';
import { createDataFolder } from '../settings.js';
import { ensureTokens, kubeconfig } from './access.js';
import { ensureCertificates } from './certificates.js';
import { applyInventory, readInventory, starterFolder } from './starter-inventory.js';

let folder: DataFolder;
let server: Server | null;

beforeEach(async () => {
  folder = dataFolder(await mkdtemp(path.join(tmpdir(), 'xenolith-platform-')));
  await createDataFolder(folder);
  server = null;
});

afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  await rm(folder.root, { recursive: true, force: true });
});

const inTls = (name: string): Promise<Buffer> => readFile(path.join(folder.tls, name));

interface Seen {
  readonly line: string;
  readonly authorization: string | undefined;
}

/** An HTTPS server with the platform's certificate that serves discovery and refuses objects of one kind. */
const serve = async (seen: Seen[]): Promise<string> => {
  const listening = createServer(
    { cert: await inTls('server.crt'), key: await inTls('server.key') },
    (request, response) => {
      seen.push({ line: `${request.method ?? ''} ${request.url ?? ''}`, authorization: request.headers.authorization });
      response.setHeader('content-type', 'application/json');
      if (request.method === 'GET') {
        const kinds = [
          { name: 'clusters', kind: 'Cluster', namespaced: false },
          { name: 'storagedomains', kind: 'StorageDomain', namespaced: false },
          { name: 'images', kind: 'Image', namespaced: false },
          { name: 'networks', kind: 'Network', namespaced: true },
        ];
        response.end(JSON.stringify({ resources: kinds }));
      } else {
        response.statusCode = request.url?.includes('/storagedomains/') === true ? 422 : 200;
        response.end(JSON.stringify({ message: 'capacity is too small' }));
      }
    },
  );
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return `https://127.0.0.1:${(listening.address() as AddressInfo).port}`;
};

describe('certificates', () => {
  it('are made once and then kept', async () => {
    const authority = await ensureCertificates(folder);
    const before = [await inTls('ca.crt'), await inTls('server.crt'), await inTls('server.key')];
    expect(await ensureCertificates(folder)).toBe(authority);
    expect([await inTls('ca.crt'), await inTls('server.crt'), await inTls('server.key')]).toEqual(before);
  });

  it('are made anew when the key is not theirs', async () => {
    await ensureCertificates(folder);
    const before = await inTls('server.crt');
    await rm(path.join(folder.tls, 'server.key'));
    await ensureCertificates(folder);
    expect(await inTls('server.crt')).not.toEqual(before);
  });

  it('keep their keys from other users', async () => {
    await ensureCertificates(folder);
    for (const name of ['ca.key', 'server.key'])
      expect((await stat(path.join(folder.tls, name))).mode & 0o777).toBe(0o600);
  });
});

describe('the administrator', () => {
  it('has one token, which the kubeconfig holds', async () => {
    const token = await ensureTokens(folder);
    expect(await ensureTokens(folder)).toBe(token);
    const config = parse(kubeconfig({ url: 'https://127.0.0.1:7443', authority: 'PEM', token })) as Record<
      string,
      unknown
    >;
    expect(config).toMatchObject({
      'current-context': 'xenolith',
      contexts: [{ name: 'xenolith', context: { namespace: 'default' } }],
      users: [{ user: { token } }],
    });
  });
});

describe('the starter inventory', () => {
  it('is applied over TLS with the token, object by object, and names what was refused', async () => {
    const authority = await ensureCertificates(folder);
    const seen: Seen[] = [];
    const access = { url: await serve(seen), authority, token: await ensureTokens(folder) };
    const refusals = await applyInventory(access, await readInventory(starterFolder));
    expect(refusals).toEqual([
      'StorageDomain san: capacity is too small',
      'StorageDomain local: capacity is too small',
    ]);
    const patches = seen.flatMap(({ line }) =>
      line.startsWith('PATCH') ? [line.slice('PATCH '.length).split('?')[0]] : [],
    );
    expect(patches).toContain('/apis/compute.xenolith.dev/v1alpha1/clusters/default');
    expect(patches).toContain('/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks/default');
    expect(new Set(seen.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${access.token}`]));
  });
});
