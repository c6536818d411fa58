import {
  NewerEvent,
  upcast,
  type AnyAggregate,
  type EventLog,
  type JsonObject,
  type NewEvent,
  type StoredEvent,
  type Uuid,
} from '@xenolith/kernel';
import type { z } from 'zod';

/** A stream's state at a version; version 0 is a stream that has no events. */
export interface LoadedStream {
  readonly state: unknown;
  readonly version: number;
}

/** States kept in memory between commands. Right or not, an append at `exact(version)` finds out. */
const CACHED_STREAMS = 20_000;

/** Loads streams by snapshot and events, and remembers them. */
export class LoadedStreams {
  private readonly cache = new Map<Uuid, LoadedStream>();

  constructor(
    private readonly log: Pick<EventLog, 'readStream' | 'snapshot'>,
    private readonly schemas: Readonly<Record<string, z.ZodType>>,
  ) {}

  async load(aggregate: AnyAggregate, streamId: Uuid): Promise<LoadedStream> {
    const cached = this.cache.get(streamId);
    if (cached) return cached;
    const snapshot =
      aggregate.snapshotEvery === undefined ? null : await this.log.snapshot(streamId, aggregate.stateVersion);
    const events = await this.log.readStream(streamId, snapshot?.version ?? 0);
    const start: LoadedStream = {
      state: snapshot ? snapshot.state : aggregate.initial,
      version: snapshot?.version ?? 0,
    };
    const loaded = events.reduce<LoadedStream>((stream, event) => this.fold(aggregate, stream, event), start);
    this.remember(streamId, loaded);
    return loaded;
  }

  /** What is kept of a stream; of one that is not, that it has no events, which is not made sure of. */
  begin(aggregate: AnyAggregate, streamId: Uuid): LoadedStream {
    const cached = this.cache.get(streamId);
    if (cached) return cached;
    const begun: LoadedStream = { state: aggregate.initial, version: 0 };
    this.remember(streamId, begun);
    return begun;
  }

  /** Adds what others wrote to a stream since it was loaded; false when that is nothing. */
  async refresh(aggregate: AnyAggregate, streamId: Uuid): Promise<boolean> {
    const cached = this.cache.get(streamId);
    if (!cached) return false;
    const events = await this.log.readStream(streamId, cached.version);
    if (events.length === 0) return false;
    this.remember(
      streamId,
      events.reduce<LoadedStream>((stream, event) => this.fold(aggregate, stream, event), cached),
    );
    return true;
  }

  remember(streamId: Uuid, stream: LoadedStream): void {
    const known = this.cache.get(streamId);
    if (known && known.version > stream.version) return;
    this.cache.delete(streamId);
    this.cache.set(streamId, stream);
    if (this.cache.size > CACHED_STREAMS) {
      const oldest = this.cache.keys().next();
      if (oldest.done !== true) this.cache.delete(oldest.value);
    }
  }

  forget(streamId: Uuid): void {
    this.cache.delete(streamId);
  }

  /** The stream with an event of the log added, if it is kept here and the event is its next one. */
  follow(aggregate: AnyAggregate, event: StoredEvent): void {
    const cached = this.cache.get(event.streamId);
    if (!cached || event.version <= cached.version) return;
    // Forgotten first: an event that this release can't read ends what it knows of the stream, not its way through the log.
    this.forget(event.streamId);
    if (event.version !== cached.version + 1) return;
    try {
      this.remember(event.streamId, this.fold(aggregate, cached, event));
    } catch (error) {
      if (!(error instanceof NewerEvent)) throw error;
    }
  }

  private fold(aggregate: AnyAggregate, stream: LoadedStream, stored: StoredEvent): LoadedStream {
    const event = this.parse(aggregate, stored);
    const place = {
      streamId: stored.streamId,
      version: stored.version,
      at: stored.metadata.at,
      actor: stored.metadata.actor,
    };
    return { state: aggregate.evolve(stream.state, event, place) as unknown, version: stored.version };
  }

  /**
   * Today's shape of a stored event, checked by its schema: what does not parse is a defect and must not be guessed at. Throws `NewerEvent` for a
   * type that nobody here knows: beside a newer release this one must refuse rather than decide on half of a history.
   */
  private parse(aggregate: AnyAggregate, stored: StoredEvent): NewEvent {
    const { type, schemaVersion, data } = upcast(stored, aggregate.upcasters);
    const schema = this.schemas[type];
    if (!schema)
      throw new NewerEvent(`this release knows no event ${type}: a newer release wrote it; upgrade this service`);
    return { type, schemaVersion, data: schema.parse(data) as JsonObject };
  }
}
