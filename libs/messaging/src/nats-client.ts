import { assert, type CommandMessage, type Reply } from '@xenolith/kernel';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { jetstream } from '@nats-io/jetstream';
import { headers } from '@nats-io/transport-node';
import type { NatsMessageBus } from './nats-message-bus.js';
import { injectContext } from './tracing.js';

/** Bounds a request whose sender states no time: what people wait for a page. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** JetStream answers a publish within milliseconds; a longer silence is a restart, over which the client asks again. */
const PUBLISH_TIMEOUT_MS = 5_000;
const PUBLISH_RETRIES = 3;

/**
 * Nest's client on the message bus. `send(subject, command)` gives the `Reply`, or fails with a `BusFault`; `emit(subject, data)` ends when JetStream
 * has stored the message, in whichever stream takes the subject, and fails when none does.
 */
export class NatsClient extends ClientProxy {
  constructor(
    private readonly bus: NatsMessageBus,
    private readonly options: { readonly timeoutMs?: number } = {},
  ) {
    super();
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  /** The bus outlives its clients. */
  close(): void {
    return;
  }

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the signature is Nest's
  override unwrap<T>(): T {
    return this.bus as T;
  }

  protected publish(packet: ReadPacket<CommandMessage>, callback: (packet: WritePacket<Reply>) => void): () => void {
    const timeoutMs = this.options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.bus.request(this.normalizePattern(packet.pattern as string), packet.data, { timeoutMs }).then(
      (response) => callback({ response, isDisposed: true }),
      (err: unknown) => callback({ err, isDisposed: true }),
    );
    // The request ends by its own deadline; an answer that nobody awaits any more is dropped.
    return () => undefined;
  }

  protected async dispatchEvent<T>(packet: ReadPacket<unknown>): Promise<T> {
    assert(packet.data !== undefined, 'a durable message has data');
    const carrier = headers();
    injectContext(carrier);
    const stored = await jetstream(this.bus.connection).publish(
      this.normalizePattern(packet.pattern as string),
      JSON.stringify(packet.data),
      { headers: carrier, msgID: crypto.randomUUID(), timeout: PUBLISH_TIMEOUT_MS, retries: PUBLISH_RETRIES },
    );
    return { stream: stored.stream, sequence: stored.seq } as T;
  }
}
