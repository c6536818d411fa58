import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ACCOUNT,
  ACCOUNT_TOKEN,
  FRONT_PROXY,
  startCluster,
  type ClusterUnderTest,
} from '../fixture/cluster-under-test.js';
import {
  READER_TOKEN,
  startTestPlatform,
  TENANT_TOKEN,
  type GatewayUnderTest,
  type TestPlatform,
} from '../fixture/test-platform.js';
import { Cluster } from './cluster.js';
import { ClusterApi } from './cluster-api.js';
import { EventExport, type EventOutcome } from './event-export.js';

const GROUP = '/apis/network.xenolith.dev/v1alpha1';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

let cluster: ClusterUnderTest;
let platform: TestPlatform;
let gateway: GatewayUnderTest;
const outcomes: EventOutcome[] = [];
const warnings: string[] = [];

const network = (name: string): string =>
  JSON.stringify({
    apiVersion: 'network.xenolith.dev/v1alpha1',
    kind: 'Network',
    metadata: { name },
    spec: { cidr: '10.0.0.0/24' },
  });

const kubectl = async (line: string, input?: string): Promise<string> => {
  const { code, stdout, stderr } = await cluster.api.kubectl(line.split(' '), input);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
};

const refused = async (line: string, input?: string): Promise<string> => {
  const { code, stderr } = await cluster.api.kubectl(line.split(' '), input);
  expect(code).not.toBe(0);
  return stderr;
};

beforeAll(async () => {
  cluster = await startCluster();
  await cluster.grant('networkers', 'tina', [
    { apiGroups: ['network.xenolith.dev'], resources: ['networks'], verbs: ['create', 'get', 'list', 'watch'] },
  ]);
  platform = await startTestPlatform({
    gateways: 2,
    cluster: () =>
      new Cluster({
        ...cluster.address,
        warn: (message) => warnings.push(message),
        eventCounted: (outcome) => outcomes.push(outcome),
      }),
  });
  [gateway] = platform.gateways as [GatewayUnderTest];
  await cluster.aggregate(gateway);
});

afterAll(async () => {
  await platform.close();
  await cluster.close();
});

describe('through the API of the cluster', () => {
  it('kubectl finds our kinds, makes, shows, watches and deletes objects', async () => {
    expect(await kubectl('api-resources --api-group=network.xenolith.dev')).toContain('networks');
    expect(await kubectl('create -f -', network('web'))).toContain('web created');
    expect(await kubectl('get net web')).toMatch(/NAME\s+CIDR[^]*web\s+10\.0\.0\.0\/24/);
    const watch = await cluster.api.watch(`${GROUP}/namespaces/default/networks?watch=1&timeoutSeconds=20`);
    await watch.until((seen) => seen.some(({ type }) => type === 'ADDED'));
    expect(await kubectl('delete net web')).toContain('deleted');
    await watch.until((seen) => seen.some(({ type }) => type === 'DELETED'));
    watch.close();
    expect(await kubectl('explain network.spec.cidr')).toContain('FIELD: cidr');
    // None of it is the cluster's own.
    expect((await cluster.platform.gateways[0]?.ask(`${GROUP}/networks`))?.json['items']).toEqual([]);
  });

  it('users may do what the cluster’s roles say, and nothing else', async () => {
    cluster.reviews.length = 0;
    expect(await kubectl('create --user tina -f -', network('tinas'))).toContain('tinas created');
    expect(cluster.reviews).toContainEqual({
      user: 'tina',
      groups: ['tenants', 'system:authenticated'],
      resourceAttributes: {
        verb: 'create',
        group: 'network.xenolith.dev',
        version: 'v1alpha1',
        resource: 'networks',
        namespace: 'default',
      },
    });
    expect(await kubectl('auth can-i create networks.network.xenolith.dev --user tina')).toContain('yes');
    expect(await refused('delete net tinas --user tina')).toMatch(
      /Forbidden.*"tina" cannot delete resource "networks"/,
    );
    expect(await refused('get vms --user tina')).toContain('cannot list resource "virtualmachines"');
    const before = cluster.reviews.length;
    for (let index = 0; index < 5; index += 1)
      expect((await cluster.api.ask(`${GROUP}/networks`, { token: TENANT_TOKEN })).status).toBe(200);
    expect(cluster.reviews.length).toBe(before + 1);
  });

  it('is told who somebody is by nobody else', async () => {
    const headers = { 'x-remote-user': 'ada', 'x-remote-group': 'system:masters' };
    const strangers = await cluster.proxies().issue('CN=somebody');
    expect((await gateway.ask(`${GROUP}/networks`, { token: null, headers, identity: strangers })).status).toBe(401);
    expect((await gateway.ask(`${GROUP}/networks`, { token: null, headers })).status).toBe(401);
    const identity = await cluster.proxies().issue(`CN=${FRONT_PROXY}`);
    expect((await gateway.ask(`${GROUP}/networks`, { token: null, headers, identity })).status).toBe(200);
    const nobody = { 'x-remote-user': 'system:anonymous', 'x-remote-group': 'system:unauthenticated' };
    expect((await gateway.ask('/apis', { token: null, headers: nobody, identity })).status).toBe(403);
  });

  it('does not hand out what the cluster serves itself', async () => {
    const identity = await cluster.proxies().issue(`CN=${FRONT_PROXY}`);
    const headers = { 'x-remote-user': 'ada', 'x-remote-group': 'system:masters' };
    for (const path of ['/api/v1/namespaces', '/api/v1/events', `${RBAC}/clusterroles`]) {
      const answer = await gateway.ask(path, { token: null, headers, identity });
      expect(answer.status).toBe(403);
      expect(answer.json['message']).toContain('the cluster serves this itself');
    }
  });

  it('follows the cluster to another authority of its front proxy', async () => {
    const old = await cluster.proxies().issue(`CN=${FRONT_PROXY}`);
    const isFollowed = (): Promise<void> =>
      vi.waitFor(async () => expect((await cluster.api.ask(`${GROUP}/networks`)).status).toBe(200), {
        timeout: 20_000,
      });
    const headers = { 'x-remote-user': 'ada', 'x-remote-group': 'system:masters' };
    const watch = await gateway.watch(`${GROUP}/networks?watch=1`, headers, old);
    expect(watch.status).toBe(200);
    await cluster.renewProxy();
    await isFollowed();
    await watch.ended;
    // A watch that ended goes on where it was.
    cluster.configMaps.endWatches();
    await cluster.renewProxy();
    await isFollowed();
    // What was there then can't be watched any more: all is read again.
    cluster.configMaps.endWatches();
    await cluster.renewProxy();
    cluster.configMaps.forget();
    await isFollowed();
    expect((await gateway.ask(`${GROUP}/networks`, { token: null, headers, identity: old })).status).toBe(401);
  });
});

describe('tokens of the cluster’s users', () => {
  it('are asked about when they come to the gateway itself', async () => {
    const own = 'somebodys-token-0123456789';
    expect((await gateway.ask(`${GROUP}/networks`, { token: own })).status).toBe(401);

    const answer = await gateway.ask(`${GROUP}/networks`, { token: ACCOUNT_TOKEN });
    expect(answer.status).toBe(403);
    expect(answer.json['message']).toContain(`User "${ACCOUNT}" cannot list`);
    // The platform's own users keep their own rights.
    expect((await gateway.ask('/api/v1/namespaces', { token: READER_TOKEN })).status).toBe(200);
  });
});

describe('namespaces of the cluster', () => {
  it('can be used the moment they are there', async () => {
    const both = `${JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'red' } })}\n---\n${network('inner').replace('"name"', '"namespace":"red","name"')}`;
    expect(await kubectl('create -f -', both)).toMatch(/namespace\/red created\nnetwork.*inner created/);
    expect(await refused('create -n blue -f -', network('nowhere'))).toContain('namespaces "blue" not found');
  });

  it('are made and deleted there alone', async () => {
    const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'own' } };
    const answer = await gateway.ask('/api/v1/namespaces', { method: 'POST', body });
    expect(answer.status).toBe(405);
    expect(answer.json['message']).toContain('those of the cluster');
    expect((await gateway.ask('/api/v1/namespaces/red', { method: 'DELETE' })).status).toBe(405);
  });

  it('are emptied by deletecollection, and take what is left with them', async () => {
    await kubectl('create -n red -f -', network('second'));
    // As the cluster's namespace controller does it.
    const emptied = await cluster.api.ask(`${GROUP}/namespaces/red/networks`, {
      method: 'DELETE',
      body: { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' },
    });
    expect(emptied.status).toBe(200);
    expect(await kubectl('get net -n red -o name')).toBe('');
    await kubectl('create -n red -f -', network('third'));
    await kubectl('delete namespace red');
    await vi.waitFor(async () => expect((await gateway.ask('/api/v1/namespaces/red')).status).toBe(404), {
      timeout: 20_000,
    });
    expect((await gateway.ask(`${GROUP}/networks`)).text).not.toContain('third');
    await kubectl('create namespace red');
    await vi.waitFor(
      async () => expect((await gateway.ask('/api/v1/namespaces/red')).json['status']).toEqual({ phase: 'Active' }),
      { timeout: 20_000 },
    );
    const { metadata } = (await gateway.ask('/api/v1/namespaces/red')).json as { metadata: JsonObject };
    expect(metadata['annotations']).toHaveProperty(['xenolith.dev/cluster-namespace-uid']);
    const history = await gateway.ask('/api/v1/namespaces/red/history');
    expect(history.text).toContain('system:cluster');
  });
});

describe('events of our objects', () => {
  it('are written to the cluster once, and counted on', async () => {
    await kubectl('create -f -', network('told'));
    await vi.waitFor(
      async () => expect(await kubectl('describe net told')).toMatch(/Normal\s+Created\s+.*It was created/),
      {
        timeout: 20_000,
      },
    );
    for (const cidr of ['10.1.0.0/24', '10.2.0.0/24', '10.3.0.0/24'])
      await kubectl(`patch net told --type=merge -p {"spec":{"cidr":"${cidr}"}}`);
    const changed = (): JsonObject[] =>
      [...cluster.events.objects.values()].filter(
        ({ reason, involvedObject }) => reason === 'SpecChanged' && (involvedObject as JsonObject)['name'] === 'told',
      ) as unknown as JsonObject[];
    await vi.waitFor(() => expect(changed()).toMatchObject([{ count: 3 }]), { timeout: 20_000 });
    // What the cluster can't take now it takes later, in the order that it happened.
    cluster.events.failing = 500;
    await kubectl('create -f -', network('late'));
    await vi.waitFor(() => expect(warnings.join('\n')).toContain('they wait'), { timeout: 20_000 });
    cluster.events.failing = null;
    await vi.waitFor(async () => expect(await kubectl('describe net late')).toContain('It was created'), {
      timeout: 20_000,
    });
    expect(outcomes).not.toContain('dropped');
    expect(outcomes).not.toContain('refused');
  });
});

describe('when the gateway ends that mirrors', () => {
  it('the next one goes on with namespaces and events', async () => {
    const [, next] = platform.gateways as [GatewayUnderTest, GatewayUnderTest];
    await gateway.gateway.close();
    await cluster.aggregate(next);
    gateway = next;
    await kubectl('create namespace green');
    await vi.waitFor(async () => expect((await next.ask('/api/v1/namespaces/green')).status).toBe(200), {
      timeout: 20_000,
    });
    await kubectl('create -n green -f -', network('after'));
    await vi.waitFor(async () => expect(await kubectl('describe net after -n green')).toContain('It was created'), {
      timeout: 20_000,
    });
  });
});

describe('while the cluster does not answer', () => {
  it('nobody is let in on a guess', async () => {
    const identity = await cluster.proxies().issue(`CN=${FRONT_PROXY}`);
    const headers = { 'x-remote-user': 'tim', 'x-remote-group': 'tenants' };
    await cluster.close();
    const answer = await gateway.ask(`${GROUP}/networks`, { token: null, headers, identity });
    expect(answer.status).toBe(503);
    expect(answer.json['message']).toContain('the cluster can’t be asked whether this is allowed'.replace('’', "'"));
    expect((await gateway.ask(`${GROUP}/networks`)).status).toBe(200);
  });

  it('only so many events wait for it, and the others are counted', async () => {
    const api = new ClusterApi(cluster.address);
    const dropped: EventOutcome[] = [];
    const exported = new EventExport(api, { counted: (outcome) => dropped.push(outcome), warn: () => undefined });
    exported.lead(true, () => []);
    const seen = (name: string, count: number) => ({ name, namespace: 'default', count, document: () => ({}) });
    exported.take(seen('first', 1));
    // What is being written already waits for that.
    exported.take(seen('first', 2));
    for (let index = 0; index < 1_100; index += 1) exported.take(seen(`e${index}`, 1));
    await exported.stop();
    api.close();
    expect(new Set(dropped)).toEqual(new Set(['dropped']));
    // A thousand wait, and one is in the hand of each of the other three writers.
    expect(dropped).toHaveLength(1_100 - 3 - 999);
  });
});
