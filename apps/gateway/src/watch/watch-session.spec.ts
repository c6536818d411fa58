import { present, uuidFrom, type JsonObject, type StreamWrite } from '@xenolith/kernel';
import { MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { DocumentCache } from '../cache/document-cache.js';
import { LogHistory, RESUMABLE_POSITIONS, type ReadDocumentChanges } from '../cache/log-history.js';
import { findServedKind, SERVED_KINDS } from '../discovery/index.js';
import { documentChangesOf } from '../fixture/document-changes.js';
import type { EventSink } from '../http/api-request.js';
import { readView } from '../verbs/representation.js';
import { readSelection } from '../verbs/select.js';
import { WatchHub } from './watch-hub.js';
import { WatchSession, type WatchRequest } from './watch-session.js';

const NETWORKS = present(findServedKind('network.xenolith.dev', 'v1alpha1', 'networks'), 'networks are served');

/** For a machine that does much else. */
const PATIENCE = { timeout: 30_000, interval: 5 };

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
  let reads = 0;
  const readChanges: ReadDocumentChanges = (query) => {
    reads += 1;
    return documentChangesOf(connection.past)(query);
  };
  const history = new LogHistory(cache, readChanges);
  const versions = new Map<string, number>();
  const write = async (name: string, filler = '', over: Partial<StreamWrite> = {}): Promise<void> => {
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
          ...over,
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
      {
        cache,
        store: cache.store(NETWORKS),
        hub: new WatchHub(),
        history: (from) => history.page(NETWORKS, from),
        onEnd: (reason) => ends.push(reason),
      },
      sink,
    );
    session.start();
    return { session, ends };
  };
  /** A gateway that starts anew on the same log: its memory begins now. */
  const restart = () => cache.load();
  return { cache, write, watch, restart, reads: () => reads };
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

  it('reads from the log what happened before the memory of its gateway, a restart for one', async () => {
    const { cache, write, watch, restart, reads } = await world();
    for (const name of ['a', 'b', 'a', 'c']) await write(name);
    await write('b', '', { document: null, ends: true });
    await restart();
    expect(cache.store(NETWORKS).ring.since(1)).toBeNull();
    const client = new LazyClient(true);
    watch(client, { position: 1 });
    await expect.poll(() => client.lines.length, PATIENCE).toBe(4);
    await write('d');
    const seen = client.lines.map(({ type, object }) => {
      const { name, resourceVersion } = (object as JsonObject)['metadata'] as Record<string, string>;
      return `${type as string} ${name} ${resourceVersion}`;
    });
    expect(seen).toEqual(['ADDED b 2', 'MODIFIED a 3', 'ADDED c 4', 'DELETED b 5', 'ADDED d 6']);
    const others = [1, 2, 3].map((position) => {
      const other = new LazyClient(true);
      watch(other, { position });
      return other;
    });
    expect(others.map((other) => other.lines.length)).toEqual([5, 4, 3]);
    expect(reads()).toBe(1);
  });

  it('reads from the log what was too much to remember', async () => {
    const { cache, write, watch } = await world();
    for (let index = 0; index < 20; index += 1) await write('a', 'x'.repeat(2 ** 21));
    expect(cache.store(NETWORKS).ring.floor).toBeGreaterThan(0);
    const client = new LazyClient(true);
    watch(client, { position: 0 });
    await expect.poll(() => client.lines.length, PATIENCE).toBe(20);
  });

  it('ends with 410 when its version is further back than watches resume', async () => {
    const { cache, write, watch } = await world();
    const events = Array.from({ length: RESUMABLE_POSITIONS + 1 }, () => ({
      type: 'NetworkTouched',
      schemaVersion: 1,
      data: {},
    }));
    await write('a', '', { events });
    cache.store(NETWORKS).ring.reset(cache.position);
    const client = new LazyClient(true);
    const { ends } = watch(client, { position: 0 });
    await expect.poll(() => ends, PATIENCE).toEqual(['expired']);
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
