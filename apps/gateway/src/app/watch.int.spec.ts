import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startTestPlatform,
  type GatewayUnderTest,
  type TestPlatform,
  type WatchEvent,
  type WatchUnderTest,
} from '../fixture/test-platform.js';

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';

let platform: TestPlatform;
let api: GatewayUnderTest;
let other: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform({ gateways: 2 });
  [api, other] = platform.gateways as [GatewayUnderTest, GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

const metadataOf = (object: JsonObject): JsonObject => object['metadata'] as JsonObject;
const nameOf = (event: WatchEvent): unknown => metadataOf(event.object)['name'];
const seen = (events: readonly WatchEvent[]): string[] =>
  events.map((event) => `${event.type} ${String(nameOf(event))}`);

const create = async (name: string, labels: JsonObject = {}, on = api): Promise<JsonObject> => {
  const body = {
    apiVersion: 'network.xenolith.dev/v1alpha1',
    kind: 'Network',
    metadata: { name, labels },
    spec: { cidr: '10.0.0.0/24' },
  };
  const answer = await on.ask(NETWORKS, { method: 'POST', body });
  expect(answer.status, answer.text).toBe(201);
  return answer.json;
};

const label = (name: string, labels: JsonObject) =>
  api.ask(`${NETWORKS}/${name}`, {
    method: 'PATCH',
    body: { metadata: { labels } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });

const remove = (name: string) => api.ask(`${NETWORKS}/${name}`, { method: 'DELETE' });

const until = (watch: WatchUnderTest, count: number) => watch.until((events) => events.length >= count);

describe('a watch', () => {
  it('begins with what is there when no version is stated, then tells what happens', async () => {
    await create('w1', { of: 'first' });
    const watch = await api.watch(`${NETWORKS}?watch=true&labelSelector=of%3Dfirst`);
    await until(watch, 1);
    await create('w2', { of: 'first' });
    await label('w2', { more: 'yes' });
    await remove('w1');
    expect(seen(await until(watch, 4))).toEqual(['ADDED w1', 'ADDED w2', 'MODIFIED w2', 'DELETED w1']);
    watch.close();
  });

  it('resumes behind a stated version, and gives deletions their own', async () => {
    const made = await create('r1');
    await create('r2', { of: 'resume' });
    await remove('r2');
    const from = metadataOf(made)['resourceVersion'] as string;
    const watch = await api.watch(`${NETWORKS}?watch=true&resourceVersion=${from}`);
    const events = await until(watch, 2);
    expect(seen(events)).toEqual(['ADDED r2', 'DELETED r2']);
    const versions = events.map((event) => Number(metadataOf(event.object)['resourceVersion']));
    expect(versions[1]).toBeGreaterThan(versions[0] ?? Number.POSITIVE_INFINITY);
    watch.close();
  });

  it('shows an object that enters the selection as added, and one that leaves it as deleted, as it last was', async () => {
    await create('s1', { colour: 'green' });
    const watch = await api.watch(`${NETWORKS}?watch=true&labelSelector=colour%3Dred`);
    await label('s1', { colour: 'red' });
    await label('s1', { colour: 'blue' });
    const events = await until(watch, 2);
    expect(seen(events)).toEqual(['ADDED s1', 'DELETED s1']);
    expect(metadataOf((events[1] as WatchEvent).object)['labels']).toEqual({ colour: 'red' });
    watch.close();
  });

  it('streams a list first when it is asked to, and marks its end', async () => {
    await create('l1', { of: 'streamed' });
    const watch = await api.watch(
      `${NETWORKS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=of%3Dstreamed`,
    );
    const events = await until(watch, 2);
    expect(events.map((event) => event.type)).toEqual(['ADDED', 'BOOKMARK']);
    expect(metadataOf((events[1] as WatchEvent).object)['annotations']).toEqual({
      'k8s.io/initial-events-end': 'true',
    });
    watch.close();
    const wrong = await api.ask(`${NETWORKS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`);
    expect(wrong.status).toBe(400);
  });

  it('ends at its timeout, with a bookmark for those who want one', async () => {
    const watch = await api.watch(
      `${NETWORKS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&labelSelector=none`,
    );
    await watch.ended;
    expect(watch.events.map((event) => event.type)).toEqual(['BOOKMARK']);
  });

  it('sends rows of a table to those who ask for tables', async () => {
    await create('t1', { of: 'table' });
    const watch = await api.watch(`${NETWORKS}?watch=true&labelSelector=of%3Dtable`, { accept: TABLE });
    const [event] = await until(watch, 1);
    expect(event?.object).toMatchObject({
      kind: 'Table',
      rows: [{ cells: expect.arrayContaining(['t1']) as unknown }],
    });
    watch.close();
  });

  it('refuses to watch beyond the log', async () => {
    const answer = await api.ask(`${NETWORKS}?watch=true&resourceVersion=999999`);
    expect(answer.json).toMatchObject({ code: 504 });
  });

  it('leaves nothing behind when its client goes', async () => {
    const before = api.gateway.watches().size;
    const watches = await Promise.all(Array.from({ length: 20 }, () => api.watch(`${NETWORKS}?watch=true`)));
    expect(api.gateway.watches().size).toBe(before + 20);
    for (const watch of watches) watch.close();
    await expect.poll(() => api.gateway.watches().size).toBe(before);
  });
});

describe('two gateways', () => {
  it('show each other’s writes at once: to reads, lists and watches', async () => {
    const watch = await other.watch(`${NETWORKS}?watch=true&labelSelector=of%3Dboth`);
    for (let index = 0; index < 20; index += 1) {
      const name = `both-${index}`;
      await create(name, { of: 'both' }, index % 2 === 0 ? api : other);
      const reader = index % 2 === 0 ? other : api;
      expect((await reader.ask(`${NETWORKS}/${name}`)).status).toBe(200);
      const list = await reader.ask(`${NETWORKS}?labelSelector=of%3Dboth`);
      expect((list.json['items'] as JsonObject[]).length).toBe(index + 1);
    }
    expect((await until(watch, 20)).length).toBe(20);
    watch.close();
  });

  it('take a resourceVersion from one another', async () => {
    const made = await create('shared', {}, api);
    const body = { ...made, spec: { cidr: '10.9.0.0/24' } };
    expect((await other.ask(`${NETWORKS}/shared`, { method: 'PUT', body })).status).toBe(200);
    expect((await api.ask(`${NETWORKS}/shared`, { method: 'PUT', body })).json).toMatchObject({ code: 409 });
  });
});
