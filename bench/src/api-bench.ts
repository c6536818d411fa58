import { ApiClient } from './api-client.js';
import { fillNetworks, networkName, NETWORKS, PATTERN } from './network-fill.js';
import { Platform } from './platform.js';
import { limitRow, percentile, progress, type Row } from './report.js';

const GROUP = 'api';
const OBJECTS = 100_000;
const PAGE = 500;
const GETS = 2_000;
const LISTS = 200;
const WATCHERS = 1_000;
const CHANGES = 40;
const WARM_UP = 50;
const SETTLE_MS = 120_000;

/** Get, list and watch with 100,000 objects in the gateway's cache, over HTTPS. */
export const benchApi = async (): Promise<readonly Row[]> => {
  progress('starting a platform');
  const platform = await Platform.start(1);
  try {
    const client = await ApiClient.open(platform.kubeconfig, 8);
    try {
      await fillNetworks(platform, client, OBJECTS);
      return [...(await benchReads(client)), await benchWatch(client)];
    } finally {
      client.close();
    }
  } finally {
    await platform.remove();
  }
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
  const gets = await timed(GETS, (turn) => client.ask('GET', `${NETWORKS}/${networkName((turn * 7919) % OBJECTS)}`));
  progress('lists');
  let next = '';
  const lists = await timed(LISTS, async () => {
    const page = await client.ask('GET', `${NETWORKS}?limit=${PAGE}${next}`);
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
  const { metadata } = JSON.parse(await client.ask('GET', `${NETWORKS}?limit=1`)) as {
    metadata: { resourceVersion: string };
  };
  let arrivals: number[] = [];
  let all: () => void = () => undefined;
  const take = (): void => {
    arrivals.push(performance.now());
    if (arrivals.length === WATCHERS) all();
  };
  const path = `${NETWORKS}?watch=true&resourceVersion=${metadata.resourceVersion}`;
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
    await client.ask('PATCH', `${NETWORKS}/${PATTERN}`, { metadata: { labels: { change: String(change) } } });
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
