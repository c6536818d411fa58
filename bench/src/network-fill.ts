import { openEventStore, type EventStore } from '@xenolith/event-store';
import { hashOf, uuidFrom, type JsonObject, type StoredEvent, type Uuid } from '@xenolith/kernel';
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from './api-client.js';
import type { Platform } from './platform.js';
import { progress } from './report.js';

/** Objects written to the log at once. */
const WRITERS = 512;
const SETTLE_MS = 120_000;
const LOOK_EVERY_MS = 500;
export const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';
/** The network that the others are copies of. */
export const PATTERN = 'pattern';

export const networkName = (index: number): string => `net-${String(index).padStart(6, '0')}`;

/**
 * Makes one network through the API and copies what the log holds of it under other names, straight into the log: the API would take minutes. What is
 * measured is the gateway, which can't tell the difference.
 */
export const fillNetworks = async (platform: Platform, client: ApiClient, objects: number): Promise<void> => {
  progress(`${objects} objects`);
  const made = JSON.parse(
    await client.ask('POST', NETWORKS, {
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
    for (let first = 0; first < objects; first += WRITERS) {
      const count = Math.min(WRITERS, objects - first);
      await Promise.all(Array.from({ length: count }, (_, at) => copy(store, { events, document }, first + at)));
    }
  } finally {
    await store.close();
  }
  progress('waiting until the gateway has seen them');
  const until = performance.now() + SETTLE_MS;
  while (performance.now() < until) {
    const { status } = await client.send('GET', `${NETWORKS}/${networkName(objects - 1)}`);
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
  const name = networkName(index);
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
