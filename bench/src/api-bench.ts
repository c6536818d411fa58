import { openEventStore, type EventStore } from '@xenolith/event-store';
import { hashOf, uuidFrom, type JsonObject, type StoredEvent, type Uuid } from '@xenolith/kernel';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiClient } from './api-client.js';
import { Platform } from './platform.js';
import { limitRow, percentile, progress, type Row } from './report.js';

const GROUP = 'api';
const OBJECTS = 100_000;
/** Objects written to the log at once. */
const WRITERS = 512;
const PAGE = 500;
const GETS = 2_000;
const LISTS = 200;
const WATCHERS = 1_000;
const CHANGES = 40;
const WARM_UP = 50;
const SETTLE_MS = 120_000;
const LOOK_EVERY_MS = 500;
const COLLECTION = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';
const PATTERN = 'pattern';

const nameOf = (index: number): string => `net-${String(index).padStart(6, '0')}`;

/** Get, list and watch with 100,000 objects in the gateway's cache, over HTTPS. */
export const benchApi = async (): Promise<readonly Row[]> => {
  progress('starting a platform');
  const platform = await Platform.start(1);
  try {
    const client = await ApiClient.open(platform.kubeconfig, 8);
    try {
      await fill(platform, client);
      return [...(await benchReads(client)), await benchWatch(client)];
    } finally {
      client.close();
    }
  } finally {
    await platform.remove();
  }
};

/**
 * Makes one network through the API and copies what the log holds of it under other names, straight into the log: the API would take minutes. What is
 * measured is the gateway, which can't tell the difference.
 */
const fill = async (platform: Platform, client: ApiClient): Promise<void> => {
  progress(`${OBJECTS} objects`);
  const made = JSON.parse(
    await client.ask('POST', COLLECTION, {
      apiVersion: 'network.xenolith.dev/v1alpha1',
      kind: 'Network',
      metadata: { name: PATTERN, namespace: 'default' },
      spec: { cidr: '10.77.0.0/24' },
    }),
  ) as { metadata: { uid: Uuid } };
  const store = await openEventStore({ databaseUrl: await platform.databaseUrl(), name: 'bench' });
  try {
    const log = await store.readLog((await store.head()) - 1, 1);
    const document = log.find((event) => event.streamId === made.metadata.uid)?.document;
    if (!document) throw new Error('the pattern is not the newest object of the log');
    const events = await store.readStream(made.metadata.uid);
    for (let first = 0; first < OBJECTS; first += WRITERS) {
      const count = Math.min(WRITERS, OBJECTS - first);
      await Promise.all(Array.from({ length: count }, (_, at) => copy(store, { events, document }, first + at)));
    }
  } finally {
    await store.close();
  }
  progress('waiting until the gateway has seen them');
  const until = performance.now() + SETTLE_MS;
  while (performance.now() < until) {
    const { status } = await client.send('GET', `${COLLECTION}/${nameOf(OBJECTS - 1)}`);
    if (status === 200) return;
    await pause(LOOK_EVERY_MS);
  }
  throw new Error('the gateway does not catch up with the log');
};

const copy = async (
  store: EventStore,
  pattern: { readonly events: readonly StoredEvent[]; readonly document: JsonObject },
  index: number,
): Promise<void> => {
  const name = nameOf(index);
  const uid = uuidFrom('bench-object', index);
  const original = pattern.events[0]?.streamId ?? '';
  const renamed = (value: JsonObject): JsonObject =>
    JSON.parse(JSON.stringify(value).replaceAll(original, uid).replaceAll(`"${PATTERN}"`, `"${name}"`)) as JsonObject;
  const commandId = uuidFrom('bench-command', index);
  await store.append({
    commandId,
    requestHash: hashOf(index),
    writes: [
      {
        streamId: uid,
        category: pattern.events[0]?.category ?? '',
        expected: 'no_stream',
        events: pattern.events.map(({ type, schemaVersion, data }) => ({ type, schemaVersion, data: renamed(data) })),
        document: renamed(pattern.document),
        ends: false,
      },
    ],
    claims: [],
    timers: [],
    cancels: [],
    metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'system:bench', at: Date.now() },
    result: { ok: true },
  });
};

const timed = async (times: number, action: (turn: number) => Promise<unknown>): Promise<readonly number[]> => {
  const took: number[] = [];
  for (let turn = 0; turn < times + WARM_UP; turn += 1) {
    const start = performance.now();
    await action(turn);
    if (turn >= WARM_UP) took.push(performance.now() - start);
  }
  return took;
};

const benchReads = async (client: ApiClient): Promise<readonly Row[]> => {
  progress('gets');
  const gets = await timed(GETS, (turn) => client.ask('GET', `${COLLECTION}/${nameOf((turn * 7919) % OBJECTS)}`));
  progress('lists');
  let next = '';
  const lists = await timed(LISTS, async () => {
    const page = await client.ask('GET', `${COLLECTION}?limit=${PAGE}${next}`);
    const token = /"continue":"([^"]+)"/.exec(page.slice(0, PAGE))?.[1];
    next = token === undefined ? '' : `&continue=${encodeURIComponent(token)}`;
  });
  return [
    limitRow({ group: GROUP, what: 'get, p50', ours: percentile(gets, 0.5), unit: 'ms', limit: 5 }),
    limitRow({ group: GROUP, what: 'get, p99', ours: percentile(gets, 0.99), unit: 'ms', limit: 5 }),
    limitRow({ group: GROUP, what: `list page of ${PAGE}, p50`, ours: percentile(lists, 0.5), unit: 'ms', limit: 20 }),
    limitRow({ group: GROUP, what: `list page of ${PAGE}, p99`, ours: percentile(lists, 0.99), unit: 'ms', limit: 20 }),
  ];
};

/** From the answer to a write until each of the watchers has its event; those that had it before the writer count as 0. */
const benchWatch = async (client: ApiClient): Promise<Row> => {
  progress(`${WATCHERS} watchers`);
  const { metadata } = JSON.parse(await client.ask('GET', `${COLLECTION}?limit=1`)) as {
    metadata: { resourceVersion: string };
  };
  let arrivals: number[] = [];
  let all: () => void = () => undefined;
  const take = (): void => {
    arrivals.push(performance.now());
    if (arrivals.length === WATCHERS) all();
  };
  const path = `${COLLECTION}?watch=true&resourceVersion=${metadata.resourceVersion}`;
  for (let watcher = 0; watcher < WATCHERS; watcher += 1) await client.watchText(path, take);
  const delays: number[] = [];
  for (let change = 0; change < CHANGES; change += 1) {
    arrivals = [];
    const seen = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${arrivals.length} watchers saw a change`)), SETTLE_MS);
      all = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    await client.ask('PATCH', `${COLLECTION}/${PATTERN}`, { metadata: { labels: { change: String(change) } } });
    const answered = performance.now();
    await seen;
    for (const arrival of arrivals) delays.push(Math.max(0, arrival - answered));
  }
  return limitRow({
    group: GROUP,
    what: `watch delay, ${WATCHERS} watchers, p99`,
    ours: percentile(delays, 0.99),
    unit: 'ms',
    limit: 100,
  });
};
