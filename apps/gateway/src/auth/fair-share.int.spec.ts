import type { JsonObject } from '@xenolith/kernel';
import { READER_GROUP } from '@xenolith/tenancy';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  READER_TOKEN,
  startTestPlatform,
  TENANT_TOKEN,
  type GatewayUnderTest,
  type TestPlatform,
} from '../fixture/test-platform.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';

let platform: TestPlatform;
let api: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform({
    // Slower than any machine opens connections, so that requests pile up.
    latency: { append: () => 400 },
    shares: { active: 4, activePerUser: 2, waitingPerUser: 4, waiting: 100, patienceMs: 30_000 },
  });
  [api] = platform.gateways as [GatewayUnderTest];
  const binding = {
    metadata: { name: 'tina' },
    roleRef: { kind: 'ClusterRole', name: 'edit' },
    subjects: [
      { kind: 'User', name: 'tina' },
      { kind: 'Group', name: READER_GROUP },
    ],
  };
  const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings';
  expect((await api.ask(rbac, { method: 'POST', body: binding })).status).toBe(201);
});

afterAll(async () => {
  await platform.close();
});

const make = (name: string, token: string) =>
  api.ask(NETWORKS, {
    method: 'POST',
    body: { metadata: { name }, spec: { cidr: '10.0.0.0/24' } } satisfies JsonObject,
    token,
  });

describe('a user who asks for too much at once', () => {
  it('is told to slow down, and keeps neither others nor administrators waiting', async () => {
    const greedy = Array.from({ length: 40 }, (_, index) => make(`greedy-${index}`, TENANT_TOKEN));
    const others = ['first', 'second'].map((name) => make(name, READER_TOKEN));
    expect((await api.ask(NETWORKS)).status).toBe(200);
    expect((await Promise.all(others)).map(({ status }) => status)).toEqual([201, 201]);
    const answers = await Promise.all(greedy);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(40 - refused.length);
    expect(refused[0]?.headers['retry-after']).toBe('1');
    expect(refused[0]?.json).toMatchObject({ reason: 'TooManyRequests' });
    // What was sent away left nothing behind: there is room again.
    expect((await make('after', TENANT_TOKEN)).status).toBe(201);
  });
});
