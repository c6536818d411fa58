import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPlatform, type Answer, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const STORAGE = '/apis/storage.xenolith.dev/v1alpha1';
const COMPUTE = '/apis/compute.xenolith.dev/v1alpha1';

let platform: TestPlatform;
let api: GatewayUnderTest;
let other: GatewayUnderTest;

const kubectl = async (line: string, input?: string): Promise<string> => {
  const { code, stdout, stderr } = await api.kubectl(line.split(' '), input);
  if (code !== 0) throw new Error(`kubectl ${line}: ${stdout}${stderr}`);
  return stdout;
};

const namespace = async (name: string): Promise<void> => {
  await kubectl(`create namespace ${name}`);
};

const volume = (name: string, size: string, owners: readonly JsonObject[] = []): JsonObject => ({
  apiVersion: 'storage.xenolith.dev/v1alpha1',
  kind: 'Volume',
  metadata: { name, ...(owners.length > 0 && { ownerReferences: owners }) },
  spec: { size },
});

const machine = (name: string, vcpus: number, memory: string): JsonObject => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name },
  spec: { cpu: { vcpus }, memory },
});

const post = (where: string, path: string, body: JsonObject, { query = '', gateway = api } = {}): Promise<Answer> =>
  gateway.ask(`${path.replace('/v1alpha1', `/v1alpha1/namespaces/${where}`)}${query}`, { method: 'POST', body });

const usedIn = async (where: string, name: string): Promise<JsonObject> => {
  const answer = await api.ask(`/api/v1/namespaces/${where}/resourcequotas/${name}`);
  return ((answer.json['status'] as JsonObject)['used'] ?? {}) as JsonObject;
};

beforeAll(async () => {
  platform = await startTestPlatform({ gateways: 2, latency: { append: () => 2 } });
  [api, other] = platform.gateways as [GatewayUnderTest, GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

describe('quotas', () => {
  it('are made and described by kubectl, and hold at once', async () => {
    await namespace('plain');
    await kubectl(
      'create quota small -n plain --hard=count/virtualmachines.compute.xenolith.dev=2,requests.cpu=4,requests.memory=8Gi,requests.storage=10Gi',
    );
    expect((await post('plain', `${COMPUTE}/virtualmachines`, machine('web', 3, '4Gi'))).status).toBe(201);
    const refused = await post('plain', `${COMPUTE}/virtualmachines`, machine('db', 2, '6Gi'));
    expect(refused.json).toMatchObject({ code: 403, reason: 'Forbidden' });
    expect(refused.json['message']).toBe(
      'virtualmachines.compute.xenolith.dev "db" is forbidden: exceeded quota: small, requested: requests.cpu=2,requests.memory=6Gi, used: requests.cpu=3,requests.memory=4Gi, limited: requests.cpu=4,requests.memory=8Gi',
    );
    const described = await kubectl('describe quota small -n plain');
    expect(described).toMatch(/requests\.cpu +3 +4/);
    expect(described).toMatch(/requests\.memory +4Gi +8Gi/);
    expect(described).toMatch(/count\/virtualmachines\.compute\.xenolith\.dev +1 +2/);
    expect(await kubectl('describe namespace plain')).toContain('requests.storage');
  });

  it('are never exceeded, however many ask at once, through whichever gateway', async () => {
    await namespace('crowd');
    await kubectl('create quota few -n crowd --hard=count/volumes.storage.xenolith.dev=10,requests.storage=100Gi');
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        post('crowd', `${STORAGE}/volumes`, volume(`v${index}`, '1Gi'), { gateway: index % 2 === 0 ? api : other }),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(10);
    expect(answers.filter(({ status }) => status === 403)).toHaveLength(50);
    expect(await usedIn('crowd', 'few')).toEqual({
      'count/volumes.storage.xenolith.dev': '10',
      'requests.storage': '10Gi',
    });
  });

  it('count growth, and nothing that was refused for another reason, or only tried', async () => {
    await namespace('growth');
    await kubectl('create quota disk -n growth --hard=requests.storage=10Gi');
    expect((await post('growth', `${STORAGE}/volumes`, volume('a', '6Gi'))).status).toBe(201);
    expect((await post('growth', `${STORAGE}/volumes`, volume('a', '2Gi'))).status).toBe(409);
    expect((await post('growth', `${STORAGE}/volumes`, volume('dry', '2Gi'), { query: '?dryRun=All' })).status).toBe(
      201,
    );
    expect((await post('growth', `${STORAGE}/volumes`, volume('dry', '5Gi'), { query: '?dryRun=All' })).status).toBe(
      403,
    );
    const resize = (size: string): Promise<Answer> =>
      api.ask(`${STORAGE}/namespaces/growth/volumes/a`, {
        method: 'PATCH',
        raw: JSON.stringify({ spec: { size } }),
        headers: { 'content-type': 'application/merge-patch+json' },
      });
    expect((await resize('11Gi')).json['message']).toContain(
      'requested: requests.storage=5Gi, used: requests.storage=6Gi',
    );
    expect((await resize('9Gi')).status).toBe(200);
    await expect.poll(() => usedIn('growth', 'disk')).toEqual({ 'requests.storage': '9Gi' });
    expect((await post('growth', `${STORAGE}/volumes`, volume('b', '2Gi'))).status).toBe(403);
    expect((await resize('3Gi')).status).toBe(200);
    await expect.poll(() => usedIn('growth', 'disk')).toEqual({ 'requests.storage': '3Gi' });
    expect((await post('growth', `${STORAGE}/volumes`, volume('b', '2Gi'))).status).toBe(201);
  });

  it('can’t be got round by calling a volume a part of a machine', async () => {
    await namespace('parts');
    await kubectl('create quota disk -n parts --hard=requests.storage=1Gi');
    const owner = { apiVersion: 'compute.xenolith.dev/v1alpha1', kind: 'VirtualMachine', name: 'web', uid: 'u' };
    const refused = await post('parts', `${STORAGE}/volumes`, volume('a', '6Gi', [owner]));
    expect(refused.status).toBe(403);
    expect(refused.json['message']).toContain('leave out metadata.ownerReferences');
  });

  it('say which limits there are', async () => {
    const wrong = await api.ask('/api/v1/namespaces/default/resourcequotas', {
      method: 'POST',
      body: { metadata: { name: 'q' }, spec: { hard: { pods: '5' }, scopes: ['BestEffort'] } },
    });
    expect(wrong.status).toBe(422);
    expect(wrong.json['message']).toMatch(/must be one of requests\.cpu/);
    expect(wrong.json['message']).toMatch(/leave out scopes/);
  });
});
