import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_TOKEN,
  startTestPlatform,
  TENANT_TOKEN,
  type GatewayUnderTest,
  type TestPlatform,
} from '../fixture/test-platform.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';

let platform: TestPlatform;
let api: GatewayUnderTest;
const lines: Record<string, unknown>[] = [];

beforeAll(async () => {
  platform = await startTestPlatform({
    trustedProxies: ['127.0.0.1'],
    requestLog: (fields) => lines.push(fields),
  });
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

const lineOf = (id: unknown) => lines.find(({ requestId }) => requestId === id);

describe('what is done', () => {
  it('can be followed from the answer to the line of the log and the event, with who did it in whose name from where', async () => {
    const answer = await api.ask(NETWORKS, {
      method: 'POST',
      body: { metadata: { name: 'told' }, spec: { cidr: '10.0.0.0/24' } } satisfies JsonObject,
      headers: { 'impersonate-user': 'tim', 'impersonate-group': 'system:masters', 'x-forwarded-for': '192.0.2.1' },
    });
    expect(answer.status, answer.text).toBe(201);
    const id = answer.headers['audit-id'];
    const event = platform.log.log.find(({ type }) => type === 'NetworkCreated');
    expect(event?.metadata).toMatchObject({
      commandId: id,
      correlationId: id,
      actor: 'user:ada as tim',
      sourceAddress: '192.0.2.1',
    });
    expect(lineOf(id)).toMatchObject({
      method: 'POST',
      code: 201,
      user: 'tim',
      impersonatedBy: 'ada',
      address: '192.0.2.1',
    });
  });

  it('is logged when it is refused, and when it looks into a host; other reads are not', async () => {
    const refused = await api.ask(NETWORKS, { token: TENANT_TOKEN });
    expect(lineOf(refused.headers['audit-id'])).toMatchObject({ code: 403, user: 'tina' });
    const unknown = await api.ask(NETWORKS, { token: 'a-wrong-token-0123456789' });
    expect(lineOf(unknown.headers['audit-id'])).toMatchObject({ code: 401, user: undefined });
    const tool = await api.ask('/apis/compute.xenolith.dev/v1alpha1/hosts/none/xl?arg=list');
    expect(lineOf(tool.headers['audit-id'])).toMatchObject({ method: 'GET', user: 'ada' });
    const read = await api.ask(NETWORKS);
    expect(lineOf(read.headers['audit-id'])).toBeUndefined();
  });

  it('never tells a token', async () => {
    await api.ask('/apis/authentication.k8s.io/v1/tokenreviews', {
      method: 'POST',
      body: { spec: { token: TENANT_TOKEN } },
    });
    expect(lines.length).toBeGreaterThan(3);
    const text = JSON.stringify(lines);
    for (const secret of [ADMIN_TOKEN, TENANT_TOKEN, 'a-wrong-token-0123456789']) expect(text).not.toContain(secret);
  });
});
