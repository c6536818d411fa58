import { connect as connectPlainly } from 'node:net';
import { connect } from 'node:tls';
import type { JsonObject } from '@xenolith/kernel';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';

let platform: TestPlatform;
let api: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

// Whatever was sent: the next request is answered as if nothing had happened.
afterEach(async () => {
  expect((await api.ask(NETWORKS)).status).toBe(200);
});

const post = (raw: string | Buffer, type = 'application/json') =>
  api.ask(NETWORKS, { method: 'POST', raw, headers: { 'content-type': type } });

const network = (metadata: JsonObject, spec: JsonObject = {}): string =>
  JSON.stringify({
    apiVersion: 'network.xenolith.dev/v1alpha1',
    kind: 'Network',
    metadata,
    spec: { cidr: '10.0.0.0/24', ...spec },
  });

/** What the gateway answers to bytes that are sent as they are. */
const raw = (bytes: string, gateway = api): Promise<string> =>
  new Promise((resolve, fail) => {
    const socket = connect({ port: gateway.port, host: '127.0.0.1', ca: gateway.ca }, () => socket.write(bytes));
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => (text += chunk));
    socket.on('close', () => resolve(text));
    socket.on('error', fail);
  });

describe('the gateway refuses', () => {
  it('bodies over 3 MiB', async () => {
    const answer = await post(Buffer.alloc(3 * 2 ** 20 + 1, 0x20));
    expect(answer.json).toMatchObject({ kind: 'Status', code: 413, reason: 'RequestEntityTooLarge' });
  });

  it('bodies that grow over 3 MiB without having said so', async () => {
    const chunk = 'x'.repeat(2 ** 20);
    const piece = `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
    const text = await raw(
      `POST ${NETWORKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token-0123456789\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${piece.repeat(4)}0\r\n\r\n`,
    ).catch(() => 'HTTP/1.1 413 reset');
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('objects that are too large for one event', async () => {
    const answer = await post(network({ name: 'large', annotations: { a: 'x'.repeat(200_000) } }));
    expect(answer.status).toBe(201);
    const reserved = Array.from({ length: 60_000 }, () => '10.0.0.1');
    expect((await post(network({ name: 'larger' }, { reserved }))).json).toMatchObject({ code: 413 });
  });

  it('deeply nested JSON', async () => {
    for (const depth of [65, 100_000]) {
      const answer = await post('['.repeat(depth) + ']'.repeat(depth));
      expect(answer.json, String(depth)).toMatchObject({ code: 400, reason: 'BadRequest' });
      expect(answer.json['message']).toContain('64 levels');
    }
  });

  it('what is not JSON, not UTF-8, not an object, or of another type', async () => {
    for (const body of ['{', '', 'null', '[]', '"text"', '{"metadata":[]}', '{"metadata":{"name":5}}'])
      expect([400, 422], body).toContain((await post(body)).status);
    expect((await post(Buffer.from([0x22, 0xff, 0x22]))).json).toMatchObject({ code: 400 });
    expect((await post(network({ name: 'x' }), 'text/html')).json).toMatchObject({ code: 415 });
    expect((await post(Buffer.from('k8s\0nonsense'), 'application/vnd.kubernetes.protobuf')).json).toMatchObject({
      code: 400,
    });
    expect((await post(network({ name: 'x' }, { mtu: 'many' }))).json).toMatchObject({ code: 422 });
  });

  it('members that would change how objects behave', async () => {
    const answer = await post('{"__proto__": {"polluted": true}, "metadata": {"name": "x"}}');
    expect(answer.json).toMatchObject({ code: 400 });
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('names that are no DNS labels', async () => {
    for (const name of ['Upper', '-dash', 'a'.repeat(64), 'a.b', 'ä', 'a/b'])
      expect((await post(network({ name }))).json, name).toMatchObject({ code: 422, reason: 'Invalid' });
  });

  it('paths, methods and parameters that it does not know', async () => {
    for (const path of ['/nowhere', '/api/v2', '/apis/none.dev/v1', `${NETWORKS}/a/b/c`, '/api/v1/pods', '/%ff', '//x'])
      expect([404, 400], path).toContain((await api.ask(path)).status);
    expect((await api.ask(NETWORKS, { method: 'PUT', body: {} })).json).toMatchObject({ code: 405 });
    expect((await api.ask(`${NETWORKS}/x`, { method: 'POST', body: {} })).json).toMatchObject({ code: 405 });
    expect((await api.ask('/api/v1/namespaces/default/events', { method: 'POST', body: {} })).json).toMatchObject({
      code: 405,
    });
    for (const query of [
      'limit=-1',
      'labelSelector=a%3D%3D%3Db',
      'resourceVersion=x',
      'watch=maybe',
      'timeout=x&watch=0',
    ])
      expect([200, 400], query).toContain((await api.ask(`${NETWORKS}?${query}`)).status);
    expect((await api.ask(`${NETWORKS}?dryRun=Some`, { method: 'POST', body: {} })).json).toMatchObject({ code: 400 });
    expect((await api.ask(NETWORKS, { headers: { accept: 'text/html' } })).json).toMatchObject({ code: 406 });
  });

  it('patches of unknown types', async () => {
    const answer = await api.ask(`${NETWORKS}/large`, {
      method: 'PATCH',
      raw: '{}',
      headers: { 'content-type': 'text/plain' },
    });
    expect(answer.json).toMatchObject({ code: 415, reason: 'UnsupportedMediaType' });
    const strategic = await api.ask(`${NETWORKS}/large`, {
      method: 'PATCH',
      raw: '{}',
      headers: { 'content-type': 'application/strategic-merge-patch+json' },
    });
    expect(strategic.json).toMatchObject({ code: 415 });
  });

  it('paths with a broken escape, as a Status like all else', async () => {
    expect((await api.ask('/apis/%zz')).json).toMatchObject({ kind: 'Status', code: 400, reason: 'BadRequest' });
  });

  it('what is no HTTP, and headers without end', async () => {
    expect(await raw('GARBAGE\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [\s\S]*"kind":"Status"/);
    const headers = `GET /api HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(70_000)}\r\n\r\n`;
    expect(await raw(headers).catch(() => 'HTTP/1.1 431 "kind":"Status"')).toMatch(
      /^HTTP\/1\.1 431 [\s\S]*"kind":"Status"/,
    );
  });

  it('plain HTTP, with a sentence that says so', async () => {
    const answer = await new Promise<string>((resolve, fail) => {
      const socket = connectPlainly(api.port, '127.0.0.1', () => socket.write('GET /api HTTP/1.1\r\nHost: x\r\n\r\n'));
      let text = '';
      socket.setEncoding('utf8');
      socket.on('data', (chunk: string) => (text += chunk));
      socket.on('close', () => resolve(text));
      socket.on('error', fail);
    });
    expect(answer).toMatch(/^HTTP\/1\.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server\.\n$/);
  });

  it('requests that never end', async () => {
    const hasty = await startTestPlatform({ patience: { headersMs: 300, requestMs: 600, checkMs: 50 } });
    try {
      const [gateway] = hasty.gateways as [GatewayUnderTest];
      const begun = `POST ${NETWORKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token-0123456789\r\n`;
      expect(await raw(begun, gateway)).toMatch(/^HTTP\/1\.1 408 [\s\S]*"kind":"Status"/);
      const body = `${begun}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`;
      expect(await raw(body, gateway)).toMatch(/^HTTP\/1\.1 408 [\s\S]*"kind":"Status"/);
    } finally {
      await hasty.close();
    }
  });

  it('commands for a service that is not there, with a hint when to ask again', async () => {
    const lonely = await startTestPlatform();
    try {
      const [gateway] = lonely.gateways as [GatewayUnderTest];
      await lonely.stopService('network');
      const answer = await gateway.ask(NETWORKS, {
        method: 'POST',
        raw: network({ name: 'x' }),
        headers: { 'content-type': 'application/json' },
      });
      expect(answer.json).toMatchObject({ code: 503, reason: 'ServiceUnavailable' });
      expect(answer.headers['retry-after']).toBe('1');
    } finally {
      await lonely.close();
    }
  });
});
