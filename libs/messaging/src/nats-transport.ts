import { assert, type CommandMessage, type Reply, type ServeContext, type Subscription } from '@xenolith/kernel';
import { Catch, type RpcExceptionFilter } from '@nestjs/common';
import { BaseRpcContext, Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import { lastValueFrom, throwError, type Observable } from 'rxjs';
import { consumeDurably, type Delivery } from './durable-consumer.js';
import { ensureStream, type DurableStream } from './durable-streams.js';
import type { NatsMessageBus } from './nats-message-bus.js';

/** What a `@MessagePattern` handler may inject with `@Ctx()`. */
export class RequestContext extends BaseRpcContext<[ServeContext]> {
  get request(): ServeContext {
    return this.args[0];
  }
}

/** What an `@EventPattern` handler may inject with `@Ctx()`. */
export class DeliveryContext extends BaseRpcContext<[Delivery]> {
  get delivery(): Delivery {
    return this.args[0];
  }
}

/** What the third argument of `@MessagePattern(subject, undefined, …)` may state. */
export interface RequestExtras {
  readonly concurrency?: number;
}

/** What the third argument of `@EventPattern(subject, undefined, …)` may state. */
export interface EventExtras {
  /** Defaults to the transport's durable name followed by the pattern. */
  readonly durable?: string;
  readonly concurrency?: number;
  readonly ackWaitMs?: number;
  readonly backoffMs?: readonly number[];
  readonly maxDeliver?: number;
}

export interface NatsTransportOptions {
  readonly bus: NatsMessageBus;
  /** Where `@EventPattern` handlers read from: a stream that takes their subjects. Needed when there are any. */
  readonly events?: { readonly stream: DurableStream; readonly durable: string };
}

/** Durable names must not hold what subjects are made of. */
const durableName = (prefix: string, pattern: string): string =>
  `${prefix}_${pattern}`.replaceAll('.', '_').replaceAll('*', 'any').replaceAll('>', 'all');

/**
 * Nest's side of the message bus. `@MessagePattern(subject)` handlers answer requests with a `Reply`; `@EventPattern(subject)` handlers get durable
 * messages, each acknowledged after its handler has ended well. Closing drains both.
 */
export class NatsTransport extends Server implements CustomTransportStrategy {
  readonly #subscriptions: Subscription[] = [];

  constructor(private readonly options: NatsTransportOptions) {
    super();
  }

  listen(callback: (error?: unknown) => void): void {
    this.#bind().then(() => callback(), callback);
  }

  async close(): Promise<void> {
    await Promise.all(this.#subscriptions.splice(0).map((subscription) => subscription.stop()));
  }

  override on(): void {
    throw new Error('the state of the connection is read from the message bus');
  }

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the signature is Nest's
  override unwrap<T>(): T {
    return this.options.bus as T;
  }

  async #bind(): Promise<void> {
    const handlers = [...this.messageHandlers];
    if (this.options.events && handlers.some(([, handler]) => handler.isEventHandler === true))
      await ensureStream(this.options.bus.connection, this.options.events.stream);
    for (const [pattern, handler] of handlers)
      this.#subscriptions.push(
        handler.isEventHandler === true ? await this.#consume(pattern, handler) : await this.#serve(pattern, handler),
      );
  }

  #serve(pattern: string, handler: MessageHandler): Promise<Subscription> {
    const extras = (handler.extras ?? {}) as RequestExtras;
    const answer = async (message: CommandMessage, context: ServeContext): Promise<Reply> => {
      const replied = await this.#settle(handler(message, new RequestContext([context])));
      assert(isReply(replied), `the handler of ${pattern} answered something that is not a reply`);
      return replied;
    };
    return this.options.bus.serve(pattern, answer, extras);
  }

  #consume(pattern: string, handler: MessageHandler): Promise<Subscription> {
    const { bus, events } = this.options;
    assert(events, `@EventPattern('${pattern}') needs a stream: give the transport one`);
    const { durable, ...extras } = (handler.extras ?? {}) as EventExtras;
    return consumeDurably(bus.connection, {
      stream: events.stream.name,
      durable: durable ?? durableName(events.durable, pattern),
      filterSubject: pattern,
      handler: async (data, delivery) => {
        await this.#settle(handler(data, new DeliveryContext([delivery])));
      },
      log: bus.log,
      onDefect: bus.onDefect,
      ...extras,
    });
  }

  async #settle(answer: Promise<Observable<unknown>> | Promise<unknown>): Promise<unknown> {
    return lastValueFrom<unknown, undefined>(this.transformToObservable(await answer), { defaultValue: undefined });
  }
}

const isReply = (value: unknown): value is Reply =>
  typeof value === 'object' && value !== null && 'ok' in value && typeof value.ok === 'boolean';

/** Passes faults on to the bus as they are: Nest's own filter would replace them by "Internal server error". */
@Catch()
export class FaultFilter implements RpcExceptionFilter {
  catch(fault: unknown): Observable<never> {
    return throwError(() => fault);
  }
}
