import { uuidFrom, type JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { READER_TOKEN, startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';
const VOLUMES = '/apis/storage.xenolith.dev/v1alpha1/namespaces/default/volumes';
const MACHINES = '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines';

let platform: TestPlatform;
let api: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

const network = (name: string, more: JsonObject = {}): JsonObject => ({
  apiVersion: 'network.xenolith.dev/v1alpha1',
  kind: 'Network',
  metadata: { name, ...(more['metadata'] as JsonObject | undefined) },
  spec: { cidr: '10.0.0.0/24', ...(more['spec'] as JsonObject | undefined) },
});

const create = async (name: string, more: JsonObject = {}): Promise<JsonObject> => {
  const answer = await api.ask(NETWORKS, { method: 'POST', body: network(name, more) });
  expect(answer.status, answer.text).toBe(201);
  return answer.json;
};

const metadataOf = (object: JsonObject): JsonObject => object['metadata'] as JsonObject;
const specOf = (object: JsonObject): JsonObject => object['spec'] as JsonObject;
const versionOf = (object: JsonObject): string => metadataOf(object)['resourceVersion'] as string;

const patch = (path: string, body: unknown, type = 'application/merge-patch+json', query = '') =>
  api.ask(`${path}${query}`, { method: 'PATCH', body, headers: { 'content-type': type } });

describe('create', () => {
  it('answers the object as it is stored, with its defaults, uid and resourceVersion', async () => {
    const made = await create('made');
    expect(specOf(made)).toMatchObject({ mtu: 1500, bridge: 'xenbr0' });
    expect(versionOf(made)).toMatch(/^\d+$/);
    const read = await api.ask(`${NETWORKS}/made`);
    expect(read.json).toEqual(made);
  });

  it('refuses a taken name with 409 AlreadyExists', async () => {
    await create('taken');
    const again = await api.ask(NETWORKS, { method: 'POST', body: network('taken') });
    expect(again.json).toMatchObject({ kind: 'Status', code: 409, reason: 'AlreadyExists' });
  });

  it('makes a name out of generateName', async () => {
    const answer = await api.ask(NETWORKS, {
      method: 'POST',
      body: { ...network(''), metadata: { generateName: 'net-' } },
    });
    expect(metadataOf(answer.json)['name']).toMatch(/^net-[a-z0-9]{5}$/);
  });

  it('names every wrong field of an invalid object', async () => {
    const answer = await api.ask(NETWORKS, {
      method: 'POST',
      body: network('Wrong_Name', { spec: { cidr: 'no', mtu: 1 } }),
    });
    expect(answer.json).toMatchObject({ code: 422, reason: 'Invalid' });
    const causes = (answer.json['details'] as { causes: { field: string }[] }).causes.map(({ field }) => field);
    expect(causes).toEqual(expect.arrayContaining(['metadata.name', 'spec.cidr', 'spec.mtu']));
  });

  it('writes nothing in a dry run', async () => {
    const answer = await api.ask(`${NETWORKS}?dryRun=All`, { method: 'POST', body: network('dry') });
    expect(answer.status).toBe(201);
    expect(metadataOf(answer.json)['uid']).toEqual(expect.any(String));
    expect((await api.ask(`${NETWORKS}/dry`)).status).toBe(404);
  });

  it('refuses a namespace that is not there with 404', async () => {
    const answer = await api.ask(NETWORKS.replace('default', 'nowhere'), { method: 'POST', body: network('x') });
    expect(answer.json).toMatchObject({ code: 404, message: 'namespaces "nowhere" not found' });
  });

  it('does once what is asked twice under one idempotency key, and refuses another body under it', async () => {
    const headers = { 'content-type': 'application/json', 'idempotency-key': 'once' };
    const first = await api.ask(NETWORKS, { method: 'POST', body: network('once'), headers });
    const second = await api.ask(NETWORKS, { method: 'POST', body: network('once'), headers });
    expect(second.status).toBe(201);
    expect(second.json).toEqual(first.json);
    expect(metadataOf(first.json)['uid']).toBe(uuidFrom('request', 'ada', 'POST', NETWORKS, 'once', 0));
    const other = await api.ask(NETWORKS, { method: 'POST', body: network('other'), headers });
    expect(other.json).toMatchObject({ code: 409, reason: 'Conflict' });
  });

  it('warns of fields that are named twice, and refuses them when it is asked to be strict', async () => {
    const raw = `{"apiVersion":"network.xenolith.dev/v1alpha1","kind":"Network","metadata":{"name":"twice"},"spec":{"cidr":"10.0.0.0/24","cidr":"10.1.0.0/24"}}`;
    const send = (query: string, method = 'POST', path = NETWORKS, type = 'application/json') =>
      api.ask(`${path}${query}`, { method, raw, headers: { 'content-type': type } });
    const strict = await send('?fieldValidation=Strict');
    expect(strict.json).toMatchObject({ code: 400, reason: 'BadRequest' });
    expect(strict.json['message']).toMatch(/strict decoding error: duplicate field "spec\.cidr"$/);
    const warned = await send('');
    expect([warned.status, warned.headers['warning']]).toEqual([201, '299 - "duplicate field \\"spec.cidr\\""']);
    expect(warned.json).toMatchObject({ spec: { cidr: '10.1.0.0/24' } });
    expect((await send('?fieldValidation=Ignore', 'PUT', `${NETWORKS}/twice`)).headers['warning']).toBeUndefined();
    for (const [method, type] of [
      ['PUT', 'application/json'],
      ['PATCH', 'application/merge-patch+json'],
      ['PATCH', 'application/apply-patch+yaml'],
    ] as const) {
      const query = `?fieldValidation=Strict&fieldManager=test`;
      expect((await send(query, method, `${NETWORKS}/twice`, type)).json).toMatchObject({ code: 400 });
    }
  });

  it('warns of unknown fields, and refuses them when it is asked to be strict', async () => {
    const body = network('fields', { spec: { colour: 'red' } });
    const warned = await api.ask(NETWORKS, { method: 'POST', body });
    expect(warned.headers['warning']).toBe('299 - "unknown field \\"spec.colour\\""');
    const strict = await api.ask(`${NETWORKS}?fieldValidation=Strict`, { method: 'POST', body });
    expect(strict.json).toMatchObject({ code: 400, reason: 'BadRequest' });
    const ignored = await api.ask(`${NETWORKS}?fieldValidation=Ignore`, {
      method: 'POST',
      body: network('ignored', { spec: { colour: 'red' } }),
    });
    expect(ignored.headers['warning']).toBeUndefined();
  });
});

describe('update and patch', () => {
  it('replaces an object at the stated version, and refuses an old one', async () => {
    const made = await create('put');
    const changed = await api.ask(`${NETWORKS}/put`, {
      method: 'PUT',
      body: { ...made, spec: { ...specOf(made), mtu: 9000 } },
    });
    expect(changed.json).toMatchObject({ spec: { mtu: 9000 }, metadata: { generation: 2 } });
    const stale = await api.ask(`${NETWORKS}/put`, { method: 'PUT', body: made });
    expect(stale.json).toMatchObject({ code: 409, reason: 'Conflict' });
  });

  it('merges a merge patch and a JSON patch', async () => {
    await create('patched');
    const merged = await patch(`${NETWORKS}/patched`, { metadata: { labels: { app: 'web' } }, spec: { mtu: 1400 } });
    expect(merged.json).toMatchObject({ metadata: { labels: { app: 'web' } }, spec: { mtu: 1400 } });
    const replaced = await patch(
      `${NETWORKS}/patched`,
      [
        { op: 'test', path: '/spec/mtu', value: 1400 },
        { op: 'replace', path: '/spec/mtu', value: 1300 },
      ],
      'application/json-patch+json',
    );
    expect(specOf(replaced.json)['mtu']).toBe(1300);
    const failed = await patch(
      `${NETWORKS}/patched`,
      [{ op: 'test', path: '/spec/mtu', value: 1 }],
      'application/json-patch+json',
    );
    expect(failed.status).toBe(422);
  });

  it('gives every one of many patches at once its effect', async () => {
    await create('busy');
    const answers = await Promise.all(
      ['a', 'b', 'c', 'd'].map((label) => patch(`${NETWORKS}/busy`, { metadata: { labels: { [label]: 'yes' } } })),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const read = await api.ask(`${NETWORKS}/busy`);
    expect(metadataOf(read.json)['labels']).toEqual({ a: 'yes', b: 'yes', c: 'yes', d: 'yes' });
  });

  it('never retries a patch that states a version', async () => {
    const made = await create('stated');
    await patch(`${NETWORKS}/stated`, { spec: { mtu: 1400 } });
    const answer = await patch(`${NETWORKS}/stated`, {
      metadata: { resourceVersion: versionOf(made) },
      spec: { mtu: 1300 },
    });
    expect(answer.json).toMatchObject({ code: 409, reason: 'Conflict' });
  });

  it('applies from the server side: creates, conflicts with another manager, takes over by force', async () => {
    const type = 'application/apply-patch+yaml';
    const made = await patch(`${NETWORKS}/applied`, network('applied'), type, '?fieldManager=one');
    expect(made.status, made.text).toBe(201);
    const other = network('applied', { spec: { cidr: '10.1.0.0/24' } });
    const refused = await patch(`${NETWORKS}/applied`, other, type, '?fieldManager=two');
    expect(refused.json).toMatchObject({
      code: 409,
      reason: 'Conflict',
      details: { causes: [{ reason: 'FieldManagerConflict', field: '.spec.cidr' }] },
    });
    const forced = await patch(`${NETWORKS}/applied`, other, type, '?fieldManager=two&force=true');
    expect(forced.json).toMatchObject({ spec: { cidr: '10.1.0.0/24' } });
  });

  it('refuses to write a status, and says what to do instead', async () => {
    await create('status');
    const answer = await patch(`${NETWORKS}/status/status`, { status: { phase: 'Broken' } });
    expect(answer.json).toMatchObject({ code: 405, reason: 'MethodNotAllowed' });
    expect((await api.ask(`${NETWORKS}/status/status`)).json).toMatchObject({ kind: 'Network' });
  });
});

describe('delete', () => {
  it('answers Success for what is gone, and 404 after that', async () => {
    const made = await create('gone');
    const answer = await api.ask(`${NETWORKS}/gone`, { method: 'DELETE' });
    expect(answer.json).toMatchObject({
      kind: 'Status',
      status: 'Success',
      details: { name: 'gone', kind: 'networks', uid: metadataOf(made)['uid'] },
    });
    expect((await api.ask(`${NETWORKS}/gone`)).json).toMatchObject({ code: 404, reason: 'NotFound' });
  });

  it('answers the object with its deletionTimestamp while a finalizer holds it', async () => {
    const body = {
      apiVersion: 'storage.xenolith.dev/v1alpha1',
      kind: 'Volume',
      metadata: { name: 'held' },
      spec: { size: '1Gi' },
    };
    await api.ask(VOLUMES, { method: 'POST', body });
    const answer = await api.ask(`${VOLUMES}/held`, { method: 'DELETE' });
    expect(metadataOf(answer.json)['deletionTimestamp']).toEqual(expect.any(String));
    expect((await api.ask(`${VOLUMES}/held`)).status).toBe(200);
  });

  it('holds to its preconditions', async () => {
    const made = await create('sure');
    const wrongUid = await api.ask(`${NETWORKS}/sure`, {
      method: 'DELETE',
      body: { preconditions: { uid: 'another' } },
    });
    expect(wrongUid.json, wrongUid.text).toMatchObject({ code: 409, reason: 'Conflict' });
    await patch(`${NETWORKS}/sure`, { spec: { mtu: 1400 } });
    const stale = await api.ask(`${NETWORKS}/sure`, {
      method: 'DELETE',
      body: { preconditions: { resourceVersion: versionOf(made) } },
    });
    expect(stale.json).toMatchObject({ code: 409, reason: 'Conflict' });
  });

  it('deletes a selected collection', async () => {
    await Promise.all(['x', 'y'].map((name) => create(`many-${name}`, { metadata: { labels: { many: name } } })));
    await create('many-kept');
    const answer = await api.ask(`${NETWORKS}?labelSelector=many`, { method: 'DELETE' });
    expect((answer.json['items'] as JsonObject[]).map((item) => metadataOf(item)['name'])).toEqual([
      'many-x',
      'many-y',
    ]);
    expect((await api.ask(`${NETWORKS}/many-x`)).status).toBe(404);
    expect((await api.ask(`${NETWORKS}/many-kept`)).status).toBe(200);
  });
});

describe('actions', () => {
  it('makes an Operation on the object', async () => {
    const machine = await api.ask(MACHINES, {
      method: 'POST',
      body: {
        apiVersion: 'compute.xenolith.dev/v1alpha1',
        kind: 'VirtualMachine',
        metadata: { name: 'web' },
        spec: { memory: '1Gi' },
      },
    });
    const answer = await api.ask(`${MACHINES}/web/reboot`, { method: 'POST', body: { parameters: { hard: true } } });
    expect(answer.status, answer.text).toBe(201);
    expect(answer.json).toMatchObject({
      kind: 'Operation',
      spec: {
        target: { kind: 'VirtualMachine', name: 'web', uid: metadataOf(machine.json)['uid'] },
        action: 'reboot',
        parameters: { hard: true },
      },
    });
    expect(metadataOf(answer.json)['name']).toMatch(/^web-reboot-[a-z0-9]{5}$/);
    expect((await api.ask(`${MACHINES}/web/reboot`, { method: 'POST' })).status).toBe(201);
    expect((await api.ask(`${MACHINES}/web/fly`, { method: 'POST' })).status).toBe(404);
    expect((await api.ask(`${MACHINES}/none/reboot`, { method: 'POST' })).status).toBe(404);
  });
});

describe('access', () => {
  it('answers 401 without a token, but for health and version', async () => {
    for (const path of ['/api', '/apis', NETWORKS, '/openapi/v3', '/nowhere'])
      expect((await api.ask(path, { token: null })).json, path).toMatchObject({ code: 401, reason: 'Unauthorized' });
    for (const path of ['/healthz', '/livez', '/readyz', '/version'])
      expect((await api.ask(path, { token: null })).status, path).toBe(200);
    expect((await api.ask('/api', { token: 'a-wrong-token-1234' })).status).toBe(401);
  });

  it('lets those read who may not write', async () => {
    expect((await api.ask(NETWORKS, { token: READER_TOKEN })).status).toBe(200);
    const refused = await api.ask(NETWORKS, { method: 'POST', body: network('no'), token: READER_TOKEN });
    expect(refused.json).toMatchObject({ code: 403, reason: 'Forbidden' });
  });
});

describe('lists', () => {
  it('gives pages that all show one moment', async () => {
    const names = ['p1', 'p2', 'p3', 'p4', 'p5'];
    for (const name of names) await create(name, { metadata: { labels: { page: 'yes' } } });
    const first = await api.ask(`${NETWORKS}?labelSelector=page&limit=2`);
    const token = metadataOf(first.json)['continue'] as string;
    await api.ask(`${NETWORKS}/p4`, { method: 'DELETE' });
    await create('p35', { metadata: { labels: { page: 'yes' } } });
    const second = await api.ask(`${NETWORKS}?labelSelector=page&limit=5&continue=${token}`);
    const listed = [first, second].flatMap(({ json }) => json['items'] as JsonObject[]);
    expect(listed.map((item) => metadataOf(item)['name'])).toEqual(names);
    expect(versionOf(second.json)).toBe(versionOf(first.json));
    expect(metadataOf(second.json)['continue']).toBeUndefined();
  });

  it('answers 410 for a page of a moment that is not known any more, and 400 for another server’s token', async () => {
    const token = Buffer.from(JSON.stringify({ at: 0, after: '' })).toString('base64url');
    // The platform's own roles were written before this gateway began.
    expect((await api.ask(`${NETWORKS}?continue=${token}`)).json).toMatchObject({ code: 410, reason: 'Expired' });
    expect((await api.ask(`${NETWORKS}?continue=xyz`)).json).toMatchObject({ code: 400, reason: 'BadRequest' });
  });

  it('waits for a resourceVersion, and says when it is beyond the log', async () => {
    const answer = await api.ask(`${NETWORKS}?resourceVersion=999999`);
    expect(answer.json).toMatchObject({
      code: 504,
      reason: 'Timeout',
      details: { causes: [{ reason: 'ResourceVersionTooLarge' }] },
    });
    expect(answer.headers['retry-after']).toBe('1');
  });

  it('selects by field', async () => {
    await create('field');
    const answer = await api.ask(`${NETWORKS}?fieldSelector=metadata.name%3Dfield`);
    expect((answer.json['items'] as JsonObject[]).map((item) => metadataOf(item)['name'])).toEqual(['field']);
    expect((await api.ask(`${NETWORKS}?fieldSelector=spec.nothing%3Dx`)).status).toBe(400);
  });

  it('compresses what is long when it is asked to', async () => {
    const annotations = { filler: 'x'.repeat(200_000) };
    await create('long', { metadata: { annotations } });
    const answer = await api.ask(NETWORKS, { headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers['content-encoding']).toBe('gzip');
  });
});
