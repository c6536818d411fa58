import { present, uuidFrom, type JsonObject } from '@xenolith/kernel';
import { MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { DocumentCache } from '../cache/document-cache.js';
import { findServedKind, SERVED_KINDS } from '../discovery/index.js';
import type { EventSink } from '../http/api-request.js';
import { readView } from '../verbs/representation.js';
import { readSelection } from '../verbs/select.js';
import { WatchHub } from './watch-hub.js';
import { WatchSession, type WatchRequest } from './watch-session.js';

const NETWORKS = present(findServedKind('network.xenolith.dev', 'v1alpha1', 'networks'), 'networks are served');

/** A connection whose client takes what was written only when it is told to. */
class LazyClient implements EventSink {
  readonly lines: JsonObject[] = [];
  closed = false;
  pendingBytes = 0;
  private waiting: (() => void)[] = [];
  private listeners: (() => void)[] = [];

  constructor(private readonly takesAll: boolean) {}

  write(chunk: Buffer): void {
    if (!this.takesAll) this.pendingBytes += chunk.length;
    for (const line of chunk.toString().trim().split('\n')) this.lines.push(JSON.parse(line) as JsonObject);
  }

  drained(): Promise<void> {
    if (this.pendingBytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  take(): void {
    this.pendingBytes = 0;
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  end(): void {
    this.closed = true;
    for (const listener of this.listeners) listener();
  }

  onClose(listener: () => void): void {
    this.listeners.push(listener);
  }
}

const world = async () => {
  const log = new MemoryEventLog(new VirtualClock());
  const connection = log.connect();
  const cache = new DocumentCache({ log: connection, feed: connection, name: 'test' }, SERVED_KINDS);
  await cache.load();
  await cache.follow();
  const versions = new Map<string, number>();
  const write = async (name: string, filler = ''): Promise<void> => {
    const streamId = uuidFrom(name);
    const version = versions.get(name) ?? 0;
    const commandId = uuidFrom(name, version);
    const metadata = { name, namespace: 'default', uid: streamId, annotations: { filler } };
    await connection.append({
      commandId,
      requestHash: '',
      writes: [
        {
          streamId,
          category: 'network',
          expected: version === 0 ? 'no_stream' : { exact: version },
          events: [{ type: 'NetworkTouched', schemaVersion: 1, data: {} }],
          document: { apiVersion: 'network.xenolith.dev/v1alpha1', kind: 'Network', metadata, spec: {} },
          ends: false,
        },
      ],
      claims: [],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'user:test', at: 0 },
      result: {},
    });
    versions.set(name, version + 1);
    await cache.catchUp(1_000);
  };
  const watch = (sink: EventSink, more: Partial<WatchRequest> = {}) => {
    const ends: string[] = [];
    const query = new URLSearchParams();
    const session = new WatchSession(
      {
        view: readView(NETWORKS, undefined, query),
        selection: readSelection(NETWORKS, 'default', query),
        initial: null,
        position: cache.position,
        bookmarks: false,
        marksInitialEnd: false,
        timeoutMs: 60_000,
        ...more,
      },
      { cache, store: cache.store(NETWORKS), hub: new WatchHub(), onEnd: (reason) => ends.push(reason) },
      sink,
    );
    session.start();
    return { session, ends };
  };
  return { cache, write, watch };
};

const namesOf = (client: LazyClient): unknown[] =>
  client.lines.map((line) => ((line['object'] as JsonObject)['metadata'] as JsonObject)['name']);

describe('a watch', () => {
  it('shows everything once and in order to a client that is slow at first', async () => {
    const { cache, write, watch } = await world();
    for (let index = 0; index < 40; index += 1) await write(`a${index}`, 'x'.repeat(100_000));
    const client = new LazyClient(false);
    const { session } = watch(client, { position: 0 });
    await write('b');
    await write('c');
    expect(client.lines.length).toBeLessThanOrEqual(42);
    for (let round = 0; round < 10; round += 1) {
      client.take();
      await cache.catchUp(1_000);
    }
    expect(namesOf(client)).toEqual([...Array.from({ length: 40 }, (_, index) => `a${index}`), 'b', 'c']);
    session.stop();
  });

  it('is cut off with an error when its client falls behind too far', async () => {
    const { write, watch } = await world();
    const client = new LazyClient(false);
    const { ends } = watch(client);
    for (let index = 0; index < 60 && ends.length === 0; index += 1) await write('a', 'x'.repeat(100_000 + index));
    expect(ends).toEqual(['slow']);
    expect(client.closed).toBe(true);
    expect(client.lines.at(-1)).toMatchObject({
      type: 'ERROR',
      object: { kind: 'Status', code: 410, reason: 'Expired' },
    });
    const { length } = client.lines;
    await write('a', 'more');
    expect(client.lines.length).toBe(length);
  });

  it('ends with 410 when what happened since its version is not kept any more', async () => {
    const { cache, write, watch } = await world();
    for (let index = 0; index < 20; index += 1) await write('a', 'x'.repeat(2 ** 21));
    expect(cache.store(NETWORKS).ring.floor).toBeGreaterThan(0);
    const client = new LazyClient(true);
    const { ends } = watch(client, { position: 0 });
    expect(ends).toEqual(['expired']);
    expect(client.lines).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }]);
  });

  it('encodes an event once for all who see it alike', async () => {
    const { cache, write, watch } = await world();
    const clients = Array.from({ length: 50 }, () => new LazyClient(true));
    const position = cache.position;
    for (const client of clients) watch(client);
    await write('a');
    const [change] = cache.store(NETWORKS).ring.since(position) ?? [];
    expect([...(change?.frames.keys() ?? [])]).toEqual(['ADDED/false/Object']);
    expect(clients.every((client) => client.lines.length === 1)).toBe(true);
  });
});
