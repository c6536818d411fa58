import { querySubject } from '@xenolith/contracts';
import { ok, type CommandMessage, type JsonObject, type Subscription } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { READER_TOKEN, startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const PLANS = '/apis/scheduling.xenolith.dev/v1alpha1/failoverplans';

let platform: TestPlatform;
let api: GatewayUnderTest;
const asked: CommandMessage[] = [];

const plan = (name: string, state: string): JsonObject => ({
  apiVersion: 'scheduling.xenolith.dev/v1alpha1',
  kind: 'FailoverPlan',
  metadata: { name, uid: `uid of ${name}` },
  spec: { cluster: 'default', lost: [name] },
  status: { state, machines: 3, bestEffort: 0, evicted: 1, message: '' },
});
const ALL = [plan('host-1', 'Guaranteed'), plan('host-2', 'Unknown'), plan('host-3', 'Guaranteed')];

/** As the scheduler does, one plan a page. */
const serve = (): Promise<Subscription> =>
  platform.bus.connect('scheduler').serve(querySubject('scheduler', 'ListFailoverPlans'), (message) => {
    asked.push(message);
    const { name, after = '' } = message.data as { name?: string; after?: string };
    const nameOf = ({ metadata }: JsonObject): string => (metadata as { name: string }).name;
    const left = ALL.filter((one) => (name === undefined ? nameOf(one) > after : nameOf(one) === name));
    return Promise.resolve(ok({ plans: left.slice(0, 1), more: left.length > 1 }));
  });

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

describe('objects that a service has in memory', () => {
  it('are not there while the service is not', async () => {
    const answer = await api.ask(PLANS);
    expect([answer.status, answer.json['reason']]).toEqual([503, 'ServiceUnavailable']);
  });

  it('are read, listed and selected by everybody who may read', async () => {
    await serve();
    const one = await api.ask(`${PLANS}/host-2`, { token: READER_TOKEN });
    expect(one.json).toMatchObject({ kind: 'FailoverPlan', status: { state: 'Unknown' } });
    expect((await api.ask(`${PLANS}/host-4`)).json).toMatchObject({ code: 404, details: { name: 'host-4' } });
    const list = await api.ask(PLANS, { token: READER_TOKEN });
    expect(list.json).toMatchObject({ kind: 'FailoverPlanList' });
    expect(list.json['items']).toHaveLength(3);
    const some = await api.ask(`${PLANS}?fieldSelector=status.state%3DGuaranteed`);
    expect(some.json['items']).toHaveLength(2);
  });

  it('are asked for as of all that the gateway has seen', async () => {
    await api.ask(PLANS);
    expect(asked.at(-1)?.data['position']).toBe(api.gateway.cache.position);
  });

  it('are neither written nor watched', async () => {
    expect((await api.ask(`${PLANS}?watch=true`)).status).toBe(405);
    expect((await api.ask(PLANS, { method: 'POST', body: ALL[0] })).status).toBe(405);
    expect((await api.ask(`${PLANS}/host-1`, { method: 'DELETE' })).status).toBe(405);
  });

  it('are printed and explained by kubectl', async () => {
    const printed = await api.kubectl(['get', 'failoverplans']);
    expect(printed.stdout.replaceAll(/ +/gu, ' ').split('\n').slice(0, 2)).toEqual([
      'NAME CLUSTER STATE MACHINES EVICTED',
      'host-1 default Guaranteed 3 1',
    ]);
    const explained = await api.kubectl(['explain', 'failoverplan.status.restarts.turn']);
    expect(explained.stdout).toContain('side by side');
  });
});
