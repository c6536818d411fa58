import { migrateEventStore } from '@xenolith/event-store';
import { EventEmitter } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { randomFrom, type JsonObject } from '@xenolith/kernel';
import { networkService } from '@xenolith/network';
import { runService, serviceConfig } from '@xenolith/runtime';
import { freePort, startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startCluster } from '../fixture/cluster-under-test.js';
import { selfSigned } from '../fixture/self-signed.js';
import { ADMIN_TOKEN, gatewayAt, type GatewayClient } from '../fixture/test-platform.js';
import { gatewayProgram } from '../gateway-program.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';

/** A process as the runtime sees it, inside the test's own. */
class Handle extends EventEmitter {
  readonly ended: Promise<number>;
  private end: (code: number) => void = () => undefined;
  readonly stderr = { write: (text: string): boolean => process.stderr.write(text) };

  constructor(readonly env: Record<string, string>) {
    super();
    this.ended = new Promise((resolve) => (this.end = resolve));
  }

  exit(code: number): never {
    this.end(code);
    return undefined as never;
  }
}

const NEWS_MS = { timeout: 30_000, interval: 100 };
/** The second user that files of tokens may name. */
const GUEST_TOKEN = 'guest-token-0123456789';

let nats: TestServer;
let tokensFile: string;
let metricsPort: number;
let postgres: TestPostgres;
let folder: string;
const handles: Handle[] = [];
let first: GatewayClient;
let second: GatewayClient;

const environment = async (instance: string, databaseUrl: string): Promise<Record<string, string>> => ({
  DATABASE_URL: databaseUrl,
  NATS_URL: nats.url,
  HTTP_PORT: String(await freePort()),
  LOG_LEVEL: 'error',
  INSTANCE: instance,
});

const begin = (program: Parameters<typeof runService>[0], env: Record<string, string>): Handle => {
  const handle = new Handle(env);
  handles.push(handle);
  void runService(program, handle);
  return handle;
};

beforeAll(async () => {
  [nats, postgres] = await Promise.all([startNats(), startPostgres()]);
  folder = await mkdtemp(join(tmpdir(), 'xenolith-gateway-process-'));
  const tls = await selfSigned();
  const tokens = join(folder, 'tokens.json');
  tokensFile = tokens;
  await writeFile(join(folder, 'cert.pem'), tls.cert);
  await writeFile(join(folder, 'key.pem'), tls.key);
  await writeFile(tokens, JSON.stringify([{ token: ADMIN_TOKEN, user: 'ada', groups: ['system:masters'] }]));
  const databaseUrl = await postgres.createDatabase();
  await migrateEventStore(databaseUrl);
  begin(
    { name: 'network', config: serviceConfig, define: () => networkService() },
    await environment('network-0', databaseUrl),
  );
  const clients: GatewayClient[] = [];
  for (const index of [0, 1]) {
    const port = await freePort();
    const variables = await environment(`gateway-${index}`, databaseUrl);
    metricsPort = Number(variables['HTTP_PORT']);
    begin(gatewayProgram, {
      ...variables,
      GATEWAY_PORT: String(port),
      TLS_CERT_FILE: join(folder, 'cert.pem'),
      TLS_KEY_FILE: join(folder, 'key.pem'),
      TOKENS_FILE: tokens,
    });
    clients.push(await gatewayAt(port, tls.cert, join(folder, `kubeconfig-${index}`)));
  }
  [first, second] = clients as [GatewayClient, GatewayClient];
  for (const client of clients)
    await vi.waitFor(async () => expect((await client.ask('/readyz', { token: null })).text).toBe('ok'), {
      timeout: 60_000,
      interval: 100,
    });
});

afterAll(async () => {
  for (const handle of handles) handle.emit('SIGTERM', 'SIGTERM');
  await Promise.all(handles.map((handle) => handle.ended));
  await Promise.all([nats.stop(), postgres.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const network = (name: string): JsonObject => ({
  apiVersion: 'network.xenolith.dev/v1alpha1',
  kind: 'Network',
  metadata: { name, labels: { of: 'process' } },
  spec: { cidr: '10.0.0.0/24' },
});

describe('two gateway processes over PostgreSQL and NATS', () => {
  it('serve what one of them wrote from both at once, and tell those who watch', async () => {
    const watch = await second.watch(`${NETWORKS}?watch=true&labelSelector=of%3Dprocess`);
    for (let index = 0; index < 10; index += 1) {
      const made = await first.ask(NETWORKS, { method: 'POST', body: network(`n${index}`) });
      expect(made.status, made.text).toBe(201);
      const read = await second.ask(`${NETWORKS}/n${index}`);
      expect(read.json).toEqual(made.json);
      const changed = await second.ask(`${NETWORKS}/n${index}`, {
        method: 'PUT',
        body: {
          ...read.json,
          metadata: { ...(read.json['metadata'] as JsonObject), labels: { of: 'process', n: 'x' } },
        },
      });
      expect(changed.status, changed.text).toBe(200);
      expect((await first.ask(`${NETWORKS}/n${index}`)).json).toEqual(changed.json);
    }
    await watch.until((events) => events.length >= 20);
    watch.close();
  });

  it('merge patches that meet each other', async () => {
    await first.ask(NETWORKS, { method: 'POST', body: network('met') });
    const labels = ['a', 'b', 'c', 'd', 'e', 'f'];
    const answers = await Promise.all(
      labels.map((label, index) =>
        (index % 2 === 0 ? first : second).ask(`${NETWORKS}/met`, {
          method: 'PATCH',
          body: { metadata: { labels: { [label]: 'yes' } } },
          headers: { 'content-type': 'application/merge-patch+json' },
        }),
      ),
    );
    const accepted = labels.filter((_, index) => answers[index]?.status === 200);
    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true);
    const read = await first.ask(`${NETWORKS}/met`);
    const { labels: kept } = read.json['metadata'] as { labels: JsonObject };
    expect(
      Object.keys(kept)
        .filter((label) => label !== 'of')
        .sort(),
    ).toEqual(accepted);
  });

  it('are what kubectl works with', async () => {
    const described = await first.kubectl(['describe', 'network', 'n0']);
    expect(described.stdout + described.stderr).toMatch(/Name:\s+n0[\s\S]*Events:/);
    const deleted = await second.kubectl(['delete', 'network', '--all']);
    expect(deleted.code, deleted.stderr).toBe(0);
    expect((await first.kubectl(['get', 'networks'])).stderr).toContain('No resources found');
  });

  it('are a part of a cluster’s API when they are told so, and do not start while the cluster does not say how it proves who it is', async () => {
    const cluster = await startCluster();
    const tls = await selfSigned();
    await writeFile(join(folder, 'own-cert.pem'), tls.cert);
    await writeFile(join(folder, 'own-key.pem'), tls.key);
    const start = async (url: string): Promise<{ readonly port: number; readonly handle: Handle }> => {
      const port = await freePort();
      const handle = begin(gatewayProgram, {
        ...(await environment('gateway-of-a-cluster', handles[0]?.env['DATABASE_URL'] ?? '')),
        GATEWAY_PORT: String(port),
        TLS_CERT_FILE: join(folder, 'own-cert.pem'),
        TLS_KEY_FILE: join(folder, 'own-key.pem'),
        TOKENS_FILE: tokensFile,
        CLUSTER_API_URL: url,
        CLUSTER_CA_FILE: cluster.address.caFile,
        CLUSTER_TOKEN_FILE: cluster.address.tokenFile,
      });
      return { port, handle };
    };
    const { handle, port } = await start(cluster.address.url);
    await cluster.aggregate({ port, ca: tls.cert });
    await vi.waitFor(
      async () => expect((await cluster.api.ask(NETWORKS)).json).toMatchObject({ kind: 'NetworkList' }),
      NEWS_MS,
    );
    expect((await cluster.api.kubectl(['create', 'namespace', 'green'])).code).toBe(0);
    await vi.waitFor(async () => expect((await first.ask('/api/v1/namespaces/green')).status).toBe(200), NEWS_MS);
    const made = await cluster.api.ask(NETWORKS, { method: 'POST', body: network('of-a-cluster') });
    expect(made.status, made.text).toBe(201);
    await vi.waitFor(
      () => expect(JSON.stringify([...cluster.events.objects.values()])).toContain('of-a-cluster'),
      NEWS_MS,
    );
    expect((await cluster.api.ask(`${NETWORKS}/of-a-cluster`, { method: 'DELETE' })).status).toBe(200);
    handle.emit('SIGTERM', 'SIGTERM');
    expect(await handle.ended).toBe(0);
    await cluster.close();
    expect(await (await start(cluster.address.url)).handle.ended).not.toBe(0);
  });

  it('show later what they showed at any moment, byte for byte', async () => {
    const random = randomFrom('reads of the past');
    const reads: { readonly path: string; readonly status: number; readonly text: string; readonly moment: string }[] =
      [];
    const record = async (path: string, moment: string): Promise<void> => {
      const { status, text } = await random.pick([first, second]).ask(path);
      if (status === 200) reads.push({ path, status, text, moment });
      else reads.push({ path, status, text: '', moment });
    };
    for (let step = 0; step < 60; step += 1) {
      const path = `${NETWORKS}/${random.pick(['p0', 'p1', 'p2'])}`;
      const headers = { 'content-type': 'application/merge-patch+json' };
      const gateway = random.pick([first, second]);
      if (random.chance(0.3)) {
        await gateway.ask(path, { method: 'DELETE' });
        // Nothing goes on while reads are recorded, so that they are all of one moment.
        await vi.waitFor(async () => expect((await gateway.ask(path)).status).toBe(404), { interval: 5 });
      } else if ((await gateway.ask(path)).status === 404)
        await gateway.ask(NETWORKS, { method: 'POST', body: network(path.split('/').at(-1) ?? '') });
      else await gateway.ask(path, { method: 'PATCH', body: { spec: { mtu: 1300 + step } }, headers });
      const list = await gateway.ask(NETWORKS);
      const { resourceVersion } = list.json['metadata'] as { resourceVersion: string };
      reads.push({ path: NETWORKS, status: 200, text: list.text, moment: resourceVersion });
      await record(path, resourceVersion);
      // The same moment by its time, with nothing that happens within the same millisecond.
      const at = Date.now();
      await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(at), { interval: 1 });
      await record(path, new Date(at).toISOString());
    }
    expect(reads.length).toBe(180);
    for (const { path, status, text, moment } of reads) {
      const again = await random.pick([first, second]).ask(`/asof/${moment}${path}`);
      expect([again.status, status === 200 ? again.text : ''], `${path} at ${moment}`).toEqual([status, text]);
    }
  });

  it('say that they can’t know the newest state while PostgreSQL is away, and show what they last saw', async () => {
    await postgres.kill();
    const refused = await first.ask(NETWORKS);
    expect(refused.json).toMatchObject({ code: 503, reason: 'ServiceUnavailable' });
    expect(refused.headers['retry-after']).toBe('1');
    expect((await first.ask(`${NETWORKS}?resourceVersion=0`)).status).toBe(200);
    await postgres.restart();
    await vi.waitFor(async () => expect((await first.ask(NETWORKS)).status).toBe(200), {
      timeout: 30_000,
      interval: 200,
    });
  });

  it('go on while NATS restarts', async () => {
    await nats.restart();
    await vi.waitFor(
      async () => expect((await first.ask(NETWORKS, { method: 'POST', body: network('after') })).status).toBe(201),
      { timeout: 30_000, interval: 200 },
    );
    expect((await second.ask(`${NETWORKS}/after`)).status).toBe(200);
  });

  it('follow the file of tokens: who is added may come in, who is gone is out, their watches too, and nonsense changes nothing', async () => {
    const admin = { token: ADMIN_TOKEN, user: 'ada', groups: ['system:masters'] };
    const guest = { token: GUEST_TOKEN, user: 'gil', groups: ['xenolith:readers'] };
    const write = (content: unknown): Promise<void> =>
      writeFile(tokensFile, typeof content === 'string' ? content : JSON.stringify(content));
    const refused = async (): Promise<string | undefined> =>
      /^xenolith_api_file_refused\{.*file="tokens".*\} (\d)$/m.exec(
        await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text(),
      )?.[1];
    const asGuest = async (): Promise<number> => (await second.ask(NETWORKS, { token: GUEST_TOKEN })).status;
    expect(await asGuest()).toBe(401);
    await write([admin, guest]);
    await vi.waitFor(async () => expect(await asGuest()).toBe(200), NEWS_MS);
    const watch = await second.watch(`${NETWORKS}?watch=true`, { authorization: `Bearer ${GUEST_TOKEN}` });
    await write('[{"token": "');
    await vi.waitFor(async () => expect(await refused()).toBe('1'), NEWS_MS);
    expect(await asGuest()).toBe(200);
    await write([admin]);
    await watch.ended;
    expect(watch.events.at(-1)).toMatchObject({ type: 'ERROR', object: { code: 401 } });
    expect([await asGuest(), await refused()]).toEqual([401, '0']);
    expect((await second.ask(NETWORKS)).status).toBe(200);
  });

  it('show new connections the certificate that took the place of theirs, and not one whose key is another', async () => {
    const shown = (port: number): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          resolve(socket.getPeerX509Certificate()?.toString() ?? '');
          socket.end();
        });
        socket.on('error', reject);
      });
    const before = await shown(first.port);
    const [next, other] = await Promise.all([selfSigned(), selfSigned()]);
    await writeFile(join(folder, 'key.pem'), other.key);
    await writeFile(join(folder, 'cert.pem'), next.cert);
    const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    await vi.waitFor(
      async () => expect(await metrics()).toMatch(/^xenolith_api_file_refused\{.*file="certificate".*\} 1$/m),
      NEWS_MS,
    );
    expect(await shown(first.port)).toBe(before);
    await writeFile(join(folder, 'key.pem'), next.key);
    for (const { port } of [first, second])
      await vi.waitFor(async () => expect((await shown(port)).trim()).toBe(next.cert.trim()), NEWS_MS);
  });
});
