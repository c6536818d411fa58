import type { LoggedEvent } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import {
  MESSAGE_BYTES,
  MESSAGE_EVENTS,
  packMessages,
  placeHeaders,
  readPlace,
  unpackEvents,
  type EventText,
} from './feed-message.js';

const eventAt = (position: number, text = ''): LoggedEvent => ({
  position,
  eventId: `event-${position}`,
  streamId: 'stream',
  category: 'machine',
  version: position,
  type: 'Filled',
  schemaVersion: 1,
  data: { text },
  metadata: { commandId: 'c', correlationId: 'c', causationId: 'c', actor: 'user:test', at: 1 },
});

const textOf = ({ data, metadata, document, ...event }: LoggedEvent): EventText => ({
  ...event,
  data: JSON.stringify(data),
  metadata: JSON.stringify(metadata),
  document: document === undefined ? undefined : document === null ? null : JSON.stringify(document),
});

const LOG = 'b0e2c4a8-0000-4000-8000-000000000001';

describe('packing', () => {
  it('puts at most 256 events in a message and loses none', () => {
    const events = Array.from({ length: 600 }, (_, n) => eventAt(n + 1));
    const messages = packMessages(events.map(textOf), LOG, 2 ** 20);
    expect(messages.map(({ place }) => [place.first, place.last])).toEqual([
      [1, MESSAGE_EVENTS],
      [MESSAGE_EVENTS + 1, 2 * MESSAGE_EVENTS],
      [2 * MESSAGE_EVENTS + 1, 600],
    ]);
    expect(messages.flatMap(({ payload }) => unpackEvents(payload))).toEqual(events);
  });

  it('brings documents, tombstones and what has neither', () => {
    const events: readonly LoggedEvent[] = [
      { ...eventAt(1), document: { text: 'a\u001fb' } },
      { ...eventAt(2), document: null },
      eventAt(3),
    ];
    const [message] = packMessages(events.map(textOf), LOG, 2 ** 20);
    const unpacked = unpackEvents(message?.payload ?? Buffer.alloc(0));
    expect(unpacked).toEqual(events);
    expect(unpacked.map((event) => 'document' in event)).toEqual([true, true, false]);
    expect(JSON.parse(JSON.stringify(unpacked))).toEqual(events);
  });

  it('counts bytes, not characters, and sends an event beyond the limit alone', () => {
    const wide = 'ü'.repeat(MESSAGE_BYTES / 4);
    const messages = packMessages(
      [eventAt(1, wide), eventAt(2, wide), eventAt(3, wide + wide), eventAt(4)].map(textOf),
      LOG,
      2 ** 20,
    );
    expect(messages.map(({ place }) => [place.first, place.last])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
    ]);
  });

  it('sends the place without the content when the server would refuse the content', () => {
    const [message] = packMessages([textOf(eventAt(7, 'x'.repeat(5000)))], LOG, 4096);
    expect(message?.payload).toHaveLength(0);
    expect(message?.place).toMatchObject({ first: 7, last: 7 });
  });

  it('reads back the place it wrote, and nothing else', () => {
    const place = { first: 3, last: 9, lastEventId: 'event-9', logId: LOG };
    expect(readPlace(placeHeaders(place))).toEqual(place);
    expect(readPlace(placeHeaders({ ...place, first: 10 }))).toBeUndefined();
    expect(readPlace(undefined)).toBeUndefined();
  });
});
