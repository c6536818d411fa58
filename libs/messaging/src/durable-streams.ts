import {
  DiscardPolicy,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream';
import { nanos, type NatsConnection } from '@nats-io/transport-node';

/** A JetStream stream that keeps durable messages until they are too old or too many. */
export interface DurableStream {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly maxBytes?: number;
  readonly maxAgeMs?: number;
}

/** Room for some 100,000 messages of 2 KiB; older ones make way. */
const DEFAULT_MAX_BYTES = 256 * 2 ** 20;
/** Long enough for a weekend, a holiday and a repair. */
const DEFAULT_MAX_AGE_MS = 14 * 24 * 3_600_000;
/** A repeated publish is recognised by its id within this time. */
const DUPLICATE_WINDOW_MS = 120_000;

const DEAD_PREFIX = 'dead';

/** Where messages go that no handler could take, so that somebody can look at them: `dead.<subject>`. */
export const DEAD_LETTERS: DurableStream = {
  name: 'DEAD_LETTERS',
  subjects: [`${DEAD_PREFIX}.>`],
  maxBytes: 64 * 2 ** 20,
};

export const deadSubject = (subject: string): string => `${DEAD_PREFIX}.${subject}`;

// JetStream's error code for a stream of that name with another configuration.
const STREAM_NAME_IN_USE = 10_058;

/** Makes the stream, or gives an existing one this configuration. Safe to call from several processes at once. */
export const ensureStream = async (connection: NatsConnection, stream: DurableStream): Promise<void> => {
  const manager = await jetstreamManager(connection);
  const config: Partial<StreamConfig> & { name: string } = {
    name: stream.name,
    subjects: [...stream.subjects],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_bytes: stream.maxBytes ?? DEFAULT_MAX_BYTES,
    max_age: nanos(stream.maxAgeMs ?? DEFAULT_MAX_AGE_MS),
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
  };
  try {
    await manager.streams.add(config);
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== STREAM_NAME_IN_USE) throw error;
    await manager.streams.update(stream.name, config);
  }
};
