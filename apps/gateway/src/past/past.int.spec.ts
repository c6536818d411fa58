import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { READER_TOKEN, startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

const ROOT = '/apis/network.xenolith.dev/v1alpha1';
const NETWORKS = `${ROOT}/namespaces/default/networks`;

let platform: TestPlatform;
let api: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
});
afterAll(async () => platform.close());

const network = (name: string, labels: JsonObject = {}): JsonObject => ({
  apiVersion: 'network.xenolith.dev/v1alpha1',
  kind: 'Network',
  metadata: { name, labels },
  spec: { cidr: '10.0.0.0/24' },
});

const create = async (name: string, labels: JsonObject = {}): Promise<JsonObject> => {
  const answer = await api.ask(NETWORKS, { method: 'POST', body: network(name, labels) });
  expect(answer.status, answer.text).toBe(201);
  return answer.json;
};

const setMtu = async (name: string, mtu: number): Promise<void> => {
  const headers = { 'content-type': 'application/merge-patch+json' };
  const answer = await api.ask(`${NETWORKS}/${name}`, { method: 'PATCH', body: { spec: { mtu } }, headers });
  expect(answer.status, answer.text).toBe(200);
};

const remove = async (name: string): Promise<void> => {
  expect((await api.ask(`${NETWORKS}/${name}`, { method: 'DELETE' })).status).toBe(200);
};

const metadataOf = (object: JsonObject): JsonObject => object['metadata'] as JsonObject;
const uidOf = (object: JsonObject): string => metadataOf(object)['uid'] as string;
const head = async (): Promise<number> => Number(metadataOf((await api.ask(NETWORKS)).json)['resourceVersion']);
const namesIn = (list: JsonObject): readonly unknown[] =>
  (list['items'] as readonly JsonObject[]).map((item) => metadataOf(item)['name']);
const past = (moment: number | string, path: string, query = ''): ReturnType<GatewayUnderTest['ask']> =>
  api.ask(`/asof/${moment}${path}${query}`);

describe('a look at the past', () => {
  it('shows what a get and a list showed then, byte for byte, by position and by time, in the path and as a parameter', async () => {
    await create('seen');
    await setMtu('seen', 9000);
    const then = await api.ask(`${NETWORKS}/seen`);
    const listed = await api.ask(NETWORKS);
    const position = await head();
    const at = await recordedAt(position);
    const time = new Date(at).toISOString();
    // What happens within the same millisecond happened by then.
    await expect.poll(() => Date.now()).toBeGreaterThan(at);
    await setMtu('seen', 1400);
    await create('not-yet');
    expect((await past(position, `${NETWORKS}/seen`)).text).toBe(then.text);
    expect((await api.ask(`${NETWORKS}/seen?asOf=${position}`)).text).toBe(then.text);
    expect((await past(time, NETWORKS)).text).toBe(listed.text);
    expect((await past(encodeURIComponent(time), NETWORKS)).text).toBe(listed.text);
    const answer = await past(position, `${NETWORKS}/not-yet`);
    expect([answer.status, answer.headers['xenolith-position']]).toEqual([404, undefined]);
    expect((await past(position, `${NETWORKS}/seen/status`)).headers['xenolith-position']).toBe(String(position));
  });

  it('is empty before the first event', async () => {
    expect((await past(0, NETWORKS)).json).toMatchObject({ items: [], metadata: { resourceVersion: '0' } });
    expect((await past('1970-01-01T00:00:00Z', `${NETWORKS}/seen`)).json).toMatchObject({ code: 404 });
  });

  it('refuses the future, and what is no moment, with 400 that says how to write one', async () => {
    const newest = await head();
    const later = await past(newest + 1, NETWORKS);
    expect(later.json).toMatchObject({ code: 400, reason: 'BadRequest' });
    expect(later.json['message']).toContain(`position ${newest + 1} is in the future: the log ends at ${newest}`);
    expect((await past('2999-01-01T00:00:00Z', NETWORKS)).json['message']).toContain('is in the future');
    for (const moment of ['yesterday', '2026-01-31', '2026-01-31T12:00:00', '-1', '1e3', '2026-13-41T12:00:00Z']) {
      const refused = await past(moment, NETWORKS);
      expect(refused.status, moment).toBe(400);
      expect(refused.json['message']).toContain('write a position of the log');
    }
    for (const page of [
      '/api',
      '/apis',
      ROOT,
      '/openapi/v3',
      '/version',
      '/healthz',
      '/nowhere',
      `${NETWORKS}/x/history`,
    ])
      expect((await past('nonsense', page)).json, page).toMatchObject({ code: 400, reason: 'BadRequest' });
    for (const page of ['/apis', '/openapi/v3', NETWORKS])
      expect((await past(newest + 1, page)).json['message'], page).toContain('is in the future');
    expect((await api.ask('/apis?asOf=nonsense')).status).toBe(400);
    expect((await past('1;speed=-1', NETWORKS)).json['message']).toContain('write 1 for real time');
    expect((await past('1;fast', NETWORKS)).json).toMatchObject({ code: 400 });
    expect((await past(1, NETWORKS, '?asOf=2')).json['message']).toContain('state one of them');
  });

  it('refuses writes with 405, and says where to send them', async () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      const refused = await api.ask(`/asof/1${NETWORKS}/seen`, { method, body: {} });
      expect(refused.json, method).toMatchObject({ code: 405, reason: 'MethodNotAllowed' });
      expect(refused.json['message']).toContain(`send the ${method} to ${NETWORKS}/seen`);
    }
    expect((await api.ask(`${NETWORKS}?asOf=1`, { method: 'POST', body: network('x') })).status).toBe(405);
  });

  it('asks for the rights of the present', async () => {
    expect((await api.ask(`/asof/1${NETWORKS}`, { token: null })).status).toBe(401);
    expect((await api.ask(`/asof/1${NETWORKS}`, { token: READER_TOKEN })).status).toBe(200);
  });

  it('shows the object of that time when a name was used again, and picks one by uid', async () => {
    const first = await create('again');
    const one = await head();
    await remove('again');
    const none = await head();
    const second = await create('again');
    const two = await head();
    const path = `${NETWORKS}/again`;
    expect(uidOf((await past(one, path)).json)).toBe(uidOf(first));
    expect((await past(none, path)).json).toMatchObject({ code: 404 });
    expect(uidOf((await past(two, path)).json)).toBe(uidOf(second));
    expect(uidOf((await past(one, path, `?uid=${uidOf(first)}`)).json)).toBe(uidOf(first));
    expect((await past(two, path, '?uid=first')).json).toMatchObject({ code: 400 });
    const other = await past(two, path, `?uid=${uidOf(first)}`);
    expect(other.status).toBe(404);
    expect(other.json['message']).toContain(`there was uid ${uidOf(first)} from position ${one} to before ${none}`);
  });

  it('selects, and lists page by page as of the first page', async () => {
    for (const name of ['page-a', 'page-b', 'page-c']) await create(name, { page: 'yes' });
    const position = await head();
    await remove('page-b');
    const selector = '?labelSelector=page%3Dyes';
    expect(namesIn((await past(position, NETWORKS, selector)).json)).toEqual(['page-a', 'page-b', 'page-c']);
    expect(namesIn((await past(position, `${ROOT}/networks`, '?fieldSelector=metadata.name%3Dpage-b')).json)).toEqual([
      'page-b',
    ]);
    const first = await past(position, NETWORKS, `${selector}&limit=2`);
    expect(namesIn(first.json)).toEqual(['page-a', 'page-b']);
    const token = encodeURIComponent(metadataOf(first.json)['continue'] as string);
    const rest = await past(position, NETWORKS, `${selector}&limit=2&continue=${token}`);
    expect(namesIn(rest.json)).toEqual(['page-c']);
    const counted = metadataOf((await past(position, NETWORKS, '?limit=1')).json);
    const all = (await past(position, NETWORKS)).json['items'] as readonly unknown[];
    expect(counted['remainingItemCount']).toBe(all.length - 1);
  });

  it('tells ages as they were', async () => {
    const made = await create('aged');
    const born = Date.parse(metadataOf(made)['creationTimestamp'] as string);
    const table = await api.ask(`${NETWORKS}?asOf=${await head()}&fieldSelector=metadata.name%3Daged`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    const columns = table.json['columnDefinitions'] as readonly { name: string }[];
    const [row] = table.json['rows'] as readonly { cells: readonly string[] }[];
    const age = row?.cells[columns.findIndex(({ name }) => name === 'Age')];
    expect(Date.now() - born).toBeGreaterThanOrEqual(0);
    expect(age).toMatch(/^[0-2]s$/);
  });

  it('says of what nobody kept that it was not kept', async () => {
    for (const path of [
      '/apis/compute.xenolith.dev/v1alpha1/hostmetrics',
      '/apis/scheduling.xenolith.dev/v1alpha1/failoverplans',
      '/api/v1/namespaces/default/events',
    ]) {
      const refused = await past(1, path);
      expect(refused.status, path).toBe(404);
      expect(refused.json['message'], path).toMatch(/so that there are none of the past|kept for an hour/);
    }
    expect((await past(1, '/api/v1/services')).json).toMatchObject({ items: [] });
  });

  it('serves discovery, OpenAPI, version, and reviews that allow reading only', async () => {
    for (const path of ['/api', '/apis', ROOT, '/openapi/v3', '/version'])
      expect((await past(1, path)).text, path).toBe((await api.ask(path)).text);
    const review = async (verb: string): Promise<unknown> => {
      const spec = { resourceAttributes: { verb, group: 'network.xenolith.dev', resource: 'networks' } };
      const answer = await api.ask('/asof/1/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
        method: 'POST',
        body: { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec },
      });
      return (answer.json['status'] as JsonObject)['allowed'];
    };
    expect([await review('list'), await review('create')]).toEqual([true, false]);
  });

  it('is a context of kubectl', async () => {
    await create('context');
    const position = await head();
    await remove('context');
    const server = `--server=https://127.0.0.1:${api.port}/asof/${position}`;
    const got = await api.kubectl([server, 'get', 'network', 'context', '-o', 'name']);
    expect(got.stdout.trim()).toBe('network.network.xenolith.dev/context');
    const refused = await api.kubectl([server, 'delete', 'network', 'context']);
    expect(refused.stderr).toContain("what was can't be changed");
  });
});

describe('a replay', () => {
  it('shows everything from a moment to the present, then ends', async () => {
    const begin = await head();
    await create('replayed', { of: 'replay' });
    await setMtu('replayed', 9000);
    await remove('replayed');
    const watch = await api.watch(
      `/asof/${begin}${NETWORKS}?watch=true&speed=max&labelSelector=of%3Dreplay&allowWatchBookmarks=true`,
    );
    await watch.ended;
    expect(watch.events.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);
    expect(metadataOf(watch.events.at(-1)?.object ?? {})['resourceVersion']).toBe(String(await head()));
  });

  it('begins with what was there, or behind a resourceVersion', async () => {
    const made = await create('there', { of: 'there' });
    const begin = await head();
    await setMtu('there', 9000);
    const types = async (query: string): Promise<readonly string[]> => {
      const watch = await api.watch(`/asof/${begin};speed=max${NETWORKS}?watch=true&labelSelector=of%3Dthere${query}`);
      await watch.ended;
      return watch.events.map(({ type }) => type);
    };
    expect(await types('')).toEqual(['ADDED', 'MODIFIED']);
    expect(await types(`&resourceVersion=${metadataOf(made)['resourceVersion'] as string}`)).toEqual(['MODIFIED']);
    expect(await types(`&resourceVersion=${await head()}`)).toEqual([]);
  });

  it('keeps the pace of then, and ends when it is told to', async () => {
    const begin = await head();
    await create('paced', { of: 'pace' });
    await expect.poll(async () => Date.now() - (await recordedAt(begin + 1))).toBeGreaterThan(400);
    await setMtu('paced', 9000);
    const between = (await recordedAt(await head())) - (await recordedAt(begin + 1));
    const started = performance.now();
    const watch = await api.watch(`/asof/${begin}${NETWORKS}?watch=true&speed=2&labelSelector=of%3Dpace`);
    await watch.ended;
    expect(watch.events.length).toBe(2);
    expect(performance.now() - started).toBeGreaterThanOrEqual(between / 2 - 1);
    const slow = await api.watch(
      `/asof/${begin}${NETWORKS}?watch=true&speed=0.001&labelSelector=of%3Dpace&timeoutSeconds=1`,
    );
    await slow.ended;
    expect(slow.events.length).toBeLessThan(2);
  });
});

interface Told {
  readonly position: number;
  readonly type: string;
  readonly actor: string;
  readonly sourceAddress: string;
  readonly message?: string;
  readonly command: { readonly id: string; readonly type: string };
  readonly cause: unknown;
  readonly changes?: readonly JsonObject[];
}

const historyOf = async (name: string, query = ''): Promise<JsonObject> =>
  (await api.ask(`${NETWORKS}/${name}/history${query}`)).json;
// A change of the second makes an event of its own of who set which field when, in the same write.
const changesIn = (told: readonly Told[]): readonly JsonObject[] => told.flatMap(({ changes }) => changes ?? []);
const itemsOf = (page: JsonObject): readonly Told[] => page['items'] as unknown as readonly Told[];

describe('the history of an object', () => {
  it('tells each event: who asked from where for what, and what it changed', async () => {
    await create('told');
    await setMtu('told', 9000);
    const told = itemsOf(await historyOf('told'));
    const [made] = told as [Told];
    expect(made).toMatchObject({
      type: 'NetworkCreated',
      actor: 'user:ada',
      message: 'It was created',
      command: { type: 'ChangeNetwork' },
      cause: null,
    });
    expect(made.sourceAddress).toMatch(/127\.0\.0\.1$/);
    expect(changesIn(told)).toContainEqual({ op: 'replace', path: '/spec/mtu', from: 1500, value: 9000 });
  });

  it('comes page by page, and as of a moment', async () => {
    await create('paged');
    const early = await head();
    for (const mtu of [2000, 3000, 4000]) await setMtu('paged', mtu);
    const first = await historyOf('paged', '?limit=2');
    const token = metadataOf(first)['continue'] as string;
    const second = await historyOf('paged', `?limit=2&continue=${token}`);
    expect([itemsOf(first).length, itemsOf(second).length]).toEqual([2, 2]);
    expect(changesIn([...itemsOf(first), ...itemsOf(second)])).toContainEqual({
      op: 'replace',
      path: '/spec/mtu',
      from: 1500,
      value: 2000,
    });
    const then = await past(early, `${NETWORKS}/paged/history`);
    expect(itemsOf(then.json).length).toBe(1);
    expect((await api.ask(`${NETWORKS}/paged/history?continue=x`)).json).toMatchObject({ code: 400 });
  });

  it('outlives the object, and tells those apart that had its name', async () => {
    const first = await create('gone');
    await remove('gone');
    expect(itemsOf(await historyOf('gone')).at(-1)).toMatchObject({ type: 'NetworkDeleted' });
    await create('gone');
    expect(itemsOf(await historyOf('gone')).length).toBe(1);
    expect(itemsOf(await historyOf('gone', `?uid=${uidOf(first)}`)).at(-1)).toMatchObject({ type: 'NetworkDeleted' });
    expect((await api.ask(`${NETWORKS}/never/history`)).status).toBe(404);
    expect((await api.ask(`${NETWORKS}/gone/history`, { method: 'POST', body: {} })).status).toBe(405);
  });
});

describe('why a field is what it is', () => {
  it('names the request that set it', async () => {
    await create('asked');
    await setMtu('asked', 9000);
    await api.ask(`${NETWORKS}/asked`, {
      method: 'PATCH',
      body: { metadata: { labels: { later: 'yes' } } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    const answer = await api.ask(`${NETWORKS}/asked/why?field=spec.mtu`);
    expect(answer.json).toMatchObject({
      kind: 'Explanation',
      value: 9000,
      chain: [{ object: { kind: 'Network', name: 'asked' }, actor: 'user:ada', command: { type: 'ChangeNetwork' } }],
    });
    expect(answer.json['sentence']).toContain('network asked: Its spec was changed (by ada)');
    const never = await api.ask(`${NETWORKS}/asked/why?field=spec.nothing`);
    expect(never.json['message']).toContain('never had a field spec.nothing');
  });
});

const recordedAt = async (position: number): Promise<number> =>
  (await platform.log.connect().past.momentOf(position)).recordedAt;
