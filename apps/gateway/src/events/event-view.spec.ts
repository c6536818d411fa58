import { present, uuidFrom, type JsonObject, type StoredEvent } from '@xenolith/kernel';
import { MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { parsed } from '../cache/cached-object.js';
import { DocumentCache } from '../cache/document-cache.js';
import { findServedKind, SERVED_KINDS } from '../discovery/index.js';
import { EVENT_LIFE_MS, EventView, type EventDescription } from './event-view.js';

const CORE = present(findServedKind('', 'v1', 'events'), 'core events are served');
const NEWER = present(findServedKind('events.k8s.io', 'v1', 'events'), 'events are served');

const describeEvent = (event: StoredEvent): EventDescription | null =>
  event.type === 'NetworkNoise' ? null : { reason: event.type, message: 'it happened', type: 'Normal' };

const world = () => {
  const clock = new VirtualClock();
  const log = new MemoryEventLog(clock);
  const connection = log.connect();
  const versions = new Map<string, number>();
  const write = async (name: string, type: string, gone = false): Promise<void> => {
    const streamId = uuidFrom(name);
    const version = versions.get(name) ?? 0;
    const commandId = uuidFrom(name, version);
    await connection.append({
      commandId,
      requestHash: '',
      writes: [
        {
          streamId,
          category: 'network',
          expected: version === 0 ? 'no_stream' : { exact: version },
          events: [{ type, schemaVersion: 1, data: {} }],
          document: gone
            ? null
            : {
                apiVersion: 'network.xenolith.dev/v1alpha1',
                kind: 'Network',
                metadata: { name, namespace: 'team', uid: streamId },
                spec: {},
              },
          ends: gone,
        },
      ],
      claims: [],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'user:test', at: clock.now() },
      result: {},
    });
    versions.set(name, version + 1);
  };
  const open = async () => {
    const cache = new DocumentCache({ log: connection, feed: connection, name: 'test' }, SERVED_KINDS);
    await cache.load();
    const view = new EventView(cache, describeEvent, () => clock.now());
    await view.load(connection);
    cache.observeWith(view);
    await cache.follow();
    const listed = async (kind = CORE): Promise<JsonObject[]> => {
      await cache.catchUp(1_000);
      return (cache.store(kind).list({ selection: { namespace: 'team', id: '' } })?.objects ?? []).map(parsed);
    };
    return { cache, view, listed };
  };
  return { clock, write, open };
};

describe('events', () => {
  it('tell of the object, and count what happens again', async () => {
    const { write, open } = world();
    const { view, listed } = await open();
    await write('web', 'NetworkCreated');
    await write('web', 'NetworkTouched');
    await write('web', 'NetworkTouched');
    await write('web', 'NetworkNoise');
    const events = await listed();
    expect(events.map(({ reason, count }) => [reason, count]).sort()).toEqual([
      ['NetworkCreated', 1],
      ['NetworkTouched', 2],
    ]);
    expect(events[0]).toMatchObject({
      kind: 'Event',
      apiVersion: 'v1',
      metadata: { namespace: 'team' },
      involvedObject: { kind: 'Network', name: 'web', namespace: 'team', uid: uuidFrom('web') },
      source: { component: 'xenolith-network' },
    });
    expect((await listed(NEWER))[0]).toMatchObject({ apiVersion: 'events.k8s.io/v1', regarding: { name: 'web' } });
    view.stop();
  });

  it('tell of an object’s end', async () => {
    const { write, open } = world();
    const { view, listed } = await open();
    await write('web', 'NetworkCreated');
    await write('web', 'NetworkDeleted', true);
    expect((await listed()).map(({ reason }) => reason)).toContain('NetworkDeleted');
    view.stop();
  });

  it('are those of the last hour after a start, and the same as before it', async () => {
    const { clock, write, open } = world();
    await write('old', 'NetworkCreated');
    await clock.advance(EVENT_LIFE_MS + 60_000);
    await write('web', 'NetworkCreated');
    await write('gone', 'NetworkCreated');
    await write('gone', 'NetworkDeleted', true);
    const first = await open();
    const events = await first.listed();
    expect(events.map(({ involvedObject }) => (involvedObject as JsonObject)['name']).sort()).toEqual([
      'gone',
      'gone',
      'web',
    ]);
    const second = await open();
    expect(await second.listed()).toEqual(events);
    first.view.stop();
    second.view.stop();
  });

  it('are forgotten after an hour, which those who watch are told', async () => {
    const { clock, write, open } = world();
    const { cache, view, listed } = await open();
    await write('web', 'NetworkCreated');
    expect((await listed()).length).toBe(1);
    await clock.advance(EVENT_LIFE_MS + 1);
    view.expire();
    expect(await listed()).toEqual([]);
    expect(
      cache
        .store(CORE)
        .ring.since(0)
        ?.map(({ type }) => type),
    ).toEqual(['ADDED', 'DELETED']);
    view.stop();
  });
});
