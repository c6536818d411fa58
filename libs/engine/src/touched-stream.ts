import {
  uuidFrom,
  type AnyAggregate,
  type AppendRequest,
  type Command,
  type JsonObject,
  type NewEvent,
  type StreamWrite,
  type Uuid,
} from '@xenolith/kernel';
import type { LoadedStream } from './loaded-streams.js';
import type { IndexedEvent } from './service.js';

/** One stream that a decision touches. */
export interface Touched {
  readonly aggregate: AnyAggregate;
  readonly streamId: Uuid;
  readonly before: LoadedStream;
  state: unknown;
  readonly events: NewEvent[];
  /** What `toResource` gives for the state after all events: made once, when the decision is complete. */
  document?: JsonObject | null;
}

export const evolveTouched = (stream: Touched, event: NewEvent, command: Command): void => {
  stream.events.push(event);
  const place = {
    streamId: stream.streamId,
    version: stream.before.version + stream.events.length,
    at: command.at,
    actor: command.actor,
  };
  stream.state = stream.aggregate.evolve(stream.state, event, place) as unknown;
};

export const documentOf = (stream: Touched): JsonObject | null =>
  (stream.document ??= stream.aggregate.toResource(stream.state));

export const writeOf = (stream: Touched): StreamWrite => ({
  streamId: stream.streamId,
  category: stream.aggregate.category,
  expected: stream.before.version === 0 ? 'no_stream' : { exact: stream.before.version },
  events: stream.events,
  document: documentOf(stream),
  ends: stream.aggregate.ended?.(stream.state) ?? false,
});

export const storedEvents = (request: AppendRequest, stream: Touched): IndexedEvent[] =>
  stream.events.map((event, index) => ({
    ...event,
    // Hashed when somebody asks: hardly anybody does.
    get eventId() {
      return uuidFrom(request.commandId, stream.streamId, index);
    },
    streamId: stream.streamId,
    category: stream.aggregate.category,
    version: stream.before.version + index + 1,
    metadata: request.metadata,
    ...(index === stream.events.length - 1 ? { document: documentOf(stream) } : {}),
  }));
