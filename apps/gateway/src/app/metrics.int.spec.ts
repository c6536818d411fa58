import { changeData, commandSubject, telemetrySubject } from '@xenolith/contracts';
import { uuidFrom, type JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { READER_TOKEN, startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const COMPUTE = '/apis/compute.xenolith.dev/v1alpha1';
const MACHINES = `${COMPUTE}/namespaces/default/virtualmachines`;

let platform: TestPlatform;
let api: GatewayUnderTest;

/** Hosts register themselves: the API makes none. */
const register = async (name: string): Promise<void> => {
  const id = uuidFrom('host', name);
  const reply = await platform.bus.connect('agent').request(
    commandSubject('compute', 'ChangeHost'),
    {
      commandId: uuidFrom('register', name),
      type: 'ChangeHost',
      streamId: id,
      data: changeData.parse({ intent: 'create', metadata: { name }, spec: {} }) as unknown as JsonObject,
      actor: 'test',
      correlationId: id,
      causationId: id,
      at: 0,
    },
    { timeoutMs: 5_000 },
  );
  expect(reply).toMatchObject({ ok: true });
};

const say = (name: string, more: JsonObject = {}): void =>
  platform.bus.connect('agent').publish(telemetrySubject(name), {
    host: uuidFrom('host', name),
    name,
    bootId: 'boot',
    at: Date.now(),
    domains: 3,
    freeMemoryBytes: 0,
    cpuLoad: 0.5,
    ...more,
  });

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
  await register('heard');
  await register('silent');
  say('heard');
  await vi.waitFor(async () => expect((await api.ask(`${COMPUTE}/hosts/heard/metrics`)).status).toBe(200));
});

afterAll(async () => {
  await platform.close();
});

describe('figures over the API', () => {
  it('are a subresource of a host, for everybody who may read', async () => {
    const answer = await api.ask(`${COMPUTE}/hosts/heard/metrics`, { token: READER_TOKEN });
    expect(answer.json).toMatchObject({ kind: 'HostMetrics', metadata: { name: 'heard' }, domains: 3 });
    expect(answer.json['metadata']).not.toHaveProperty('resourceVersion');
  });

  it('say why there are none', async () => {
    const silent = await api.ask(`${COMPUTE}/hosts/silent/metrics`);
    expect(silent.json).toMatchObject({ kind: 'Status', code: 503, reason: 'ServiceUnavailable' });
    expect(silent.text).toContain('host silent has said nothing to this gateway yet');
    expect((await api.ask(`${COMPUTE}/hosts/nowhere/metrics`)).json).toMatchObject({ code: 404 });
    const made = await api.ask(MACHINES, {
      method: 'POST',
      body: {
        apiVersion: 'compute.xenolith.dev/v1alpha1',
        kind: 'VirtualMachine',
        metadata: { name: 'idle' },
        spec: { cpu: { vcpus: 1 }, memory: '1Gi' },
      },
    });
    expect(made.status, made.text).toBe(201);
    const halted = await api.ask(`${MACHINES}/idle/metrics`);
    expect(halted.status).toBe(404);
    expect(halted.text).toContain('runs on no host');
  });

  it('are a list of those that tell any, as objects and as a table, that cannot be watched', async () => {
    const list = await api.ask(`${COMPUTE}/hostmetrics`);
    expect(list.json).toMatchObject({ kind: 'HostMetricsList', items: [{ metadata: { name: 'heard' } }] });
    expect((await api.ask(`${COMPUTE}/hostmetrics?fieldSelector=metadata.name=silent`)).json).toMatchObject({
      items: [],
    });
    const table = await api.ask(`${COMPUTE}/hostmetrics`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    expect(table.json).toMatchObject({
      kind: 'Table',
      rows: [{ cells: ['heard', '0m', '<unknown>', '0', '<unknown>', 3, null] }],
    });
    expect((await api.ask(`${COMPUTE}/hostmetrics/heard`)).json).toMatchObject({ kind: 'HostMetrics' });
    expect((await api.ask(`${COMPUTE}/hostmetrics?watch=true`)).status).toBe(405);
    expect((await api.ask(`${COMPUTE}/hostmetrics`, { method: 'POST', body: {} })).status).toBe(405);
  });

  it('are what kubectl prints', async () => {
    const printed = await api.kubectl(['get', 'hostmetrics']);
    expect(printed.stderr).toBe('');
    expect(printed.stdout).toMatch(/^NAME +CPU\(CORES\) +CPU\(%\) +MEMORY +MEMORY\(%\) +DOMAINS\nheard +0m/);
  });
});
