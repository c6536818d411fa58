import 'reflect-metadata';
import { BusFault, ok, reject, uuidFrom, type CommandMessage, type JsonObject, type Reply } from '@xenolith/kernel';
import { startNats, type TestServer } from '@xenolith/testing';
import { Controller, Module, type INestApplicationContext, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { firstValueFrom } from 'rxjs';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  DeliveryContext,
  FaultFilter,
  NatsClient,
  NatsTransport,
  openMessageBus,
  RequestContext,
  type NatsMessageBus,
} from './index.js';

let nats: TestServer;
const closing: (() => Promise<void>)[] = [];

const bus = async (): Promise<NatsMessageBus> => {
  const opened = await openMessageBus({ natsUrl: nats.url, name: 'test', onDefect: () => undefined });
  closing.push(() => opened.close());
  return opened;
};

beforeAll(async () => {
  nats = await startNats();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
afterAll(async () => {
  await nats.stop();
});

let made = 0;
const command = (data: JsonObject = {}): CommandMessage => {
  made += 1;
  const commandId = uuidFrom('nest', made);
  return {
    commandId,
    type: 'DoThing',
    streamId: uuidFrom('stream', made),
    data,
    actor: 'system:test',
    correlationId: commandId,
    causationId: commandId,
    at: 0,
  };
};

interface Seen {
  readonly data: unknown;
  readonly attempt: number;
  readonly sequence: number;
}
/** What the handlers below saw and shall do, by subject. */
const seen: Seen[] = [];
let onEvent: (data: unknown, attempt: number) => Promise<void> = () => Promise.resolve();

@Controller()
class Things {
  @MessagePattern('nest.things')
  handle(@Payload() message: CommandMessage, @Ctx() context: RequestContext): Promise<Reply> {
    if (message.data['fail'] === true) return Promise.reject(new Error('the database is away'));
    if (message.data['refuse'] === true) return Promise.resolve(reject('thing_refused', 'no'));
    return Promise.resolve(ok({ subject: context.request.subject, type: message.type }));
  }

  @EventPattern('durable.things', undefined, { backoffMs: [20], maxDeliver: 3, ackWaitMs: 600 })
  async follow(@Payload() data: unknown, @Ctx() context: DeliveryContext): Promise<void> {
    const { attempt, sequence } = context.delivery;
    seen.push({ data, attempt, sequence });
    await onEvent(data, attempt);
  }
}

@Module({ controllers: [Things] })
class ThingsModule {}

const service = async (stream: string): Promise<INestMicroservice> => {
  const served = await bus();
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest types its options as a class and takes plain objects
  const app = await NestFactory.createMicroservice(ThingsModule, {
    strategy: new NatsTransport({
      bus: served,
      events: { stream: { name: stream, subjects: ['durable.>'], maxBytes: 2 ** 20 }, durable: 'things' },
    }),
    logger: false,
  });
  app.useGlobalFilters(new FaultFilter());
  await app.listen();
  return app;
};

const stopping = (app: INestApplicationContext): void => void closing.push(() => app.close());

describe('a Nest service', () => {
  it('answers requests, rejections and faults through the bus', async () => {
    stopping(await service('REQUESTS'));
    const client = new NatsClient(await bus());
    await expect(firstValueFrom(client.send('nest.things', command()))).resolves.toEqual(
      ok({ subject: 'nest.things', type: 'DoThing' }),
    );
    await expect(firstValueFrom(client.send('nest.things', command({ refuse: true })))).resolves.toEqual(
      reject('thing_refused', 'no'),
    );
    const fault: unknown = await firstValueFrom(client.send('nest.things', command({ fail: true }))).catch(
      (e: unknown) => e,
    );
    expect(fault).toBeInstanceOf(BusFault);
    expect((fault as BusFault).message).toBe('the database is away');
    await (await jetstreamManager((await bus()).connection)).streams.delete('REQUESTS');
  });
});

describe('durable messages', () => {
  const fresh = async (): Promise<NatsMessageBus> => {
    seen.length = 0;
    onEvent = () => Promise.resolve();
    const opened = await bus();
    const manager = await jetstreamManager(opened.connection);
    for (const name of ['EVENTS', 'DEAD_LETTERS']) await manager.streams.delete(name).catch(() => undefined);
    return opened;
  };
  const pending = async (from: NatsMessageBus): Promise<number> => {
    const manager = await jetstreamManager(from.connection);
    const info = await manager.consumers.info('EVENTS', 'things_durable_things');
    return info.num_ack_pending + info.num_pending;
  };
  const emit = (from: NatsMessageBus, data: unknown): Promise<unknown> =>
    firstValueFrom(new NatsClient(from).emit('durable.things', data));

  it('reach the handler once each and are acknowledged', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    for (let n = 1; n <= 20; n += 1) await emit(sender, { n });
    await vi.waitFor(() => expect(seen).toHaveLength(20));
    expect(new Set(seen.map(({ sequence }) => sequence)).size).toBe(20);
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0));
  });

  it('come again after a failure, with their attempt, until they are taken', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    onEvent = (_, attempt) => (attempt < 3 ? Promise.reject(new Error('not yet')) : Promise.resolve());
    await emit(sender, { n: 1 });
    await vi.waitFor(() => expect(seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3]));
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0));
  });

  it('become dead letters when no delivery succeeds, with the reason, and others go on', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    onEvent = (data) =>
      (data as { n: number }).n === 1 ? Promise.reject(new Error('cannot be\ndone')) : Promise.resolve();
    await emit(sender, { n: 1 });
    await emit(sender, { n: 2 });
    const manager = await jetstreamManager(sender.connection);
    await vi.waitFor(async () => expect((await manager.streams.info('DEAD_LETTERS')).state.messages).toBe(1));
    const dead = await manager.streams.getMessage('DEAD_LETTERS', { last_by_subj: 'dead.durable.things' });
    expect(dead?.json()).toEqual({ n: 1 });
    expect(dead?.header.get('Xenolith-Dead-Reason')).toBe('cannot be done');
    expect(dead?.header.get('Xenolith-Dead-Consumer')).toBe('things_durable_things');
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0));
    expect(seen.filter(({ data }) => (data as { n: number }).n === 2)).toHaveLength(1);
  });

  it('become dead letters at once when they are not JSON', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    await jetstream(sender.connection).publish('durable.things', 'not { json');
    const manager = await jetstreamManager(sender.connection);
    await vi.waitFor(async () => expect((await manager.streams.info('DEAD_LETTERS')).state.messages).toBe(1));
    expect(seen).toEqual([]);
  });

  it('stay with a slow handler that is still at it', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    // Two and a half acknowledgement waits.
    onEvent = () => new Promise((resolve) => setTimeout(resolve, 1_500));
    await emit(sender, { n: 1 });
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0), { timeout: 5_000 });
    expect(seen).toHaveLength(1);
  });

  it('are finished by a service that stops, and the next one goes on behind them', async () => {
    const sender = await fresh();
    const first = await service('EVENTS');
    let release: () => void = () => undefined;
    onEvent = () => new Promise((resolve) => (release = resolve));
    await emit(sender, { n: 1 });
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    const stopped = first.close();
    await emit(sender, { n: 2 });
    onEvent = () => Promise.resolve();
    release();
    await stopped;
    stopping(await service('EVENTS'));
    await vi.waitFor(() => expect(seen.map(({ data }) => data)).toEqual([{ n: 1 }, { n: 2 }]));
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0));
  });

  it('do not keep a service from stopping while NATS is away', async () => {
    const sender = await fresh();
    const app = await service('EVENTS');
    await nats.kill();
    try {
      await vi.waitFor(() => expect(sender.connected).toBe(false));
      await app.close();
    } finally {
      await nats.restart();
    }
  });

  it('survive a restart of NATS', async () => {
    const sender = await fresh();
    stopping(await service('EVENTS'));
    await emit(sender, { n: 1 });
    await nats.restart();
    await vi.waitFor(() => emit(sender, { n: 2 }), { timeout: 10_000 });
    await vi.waitFor(
      () => expect(new Set(seen.map(({ data }) => (data as { n: number }).n))).toEqual(new Set([1, 2])),
      { timeout: 20_000 },
    );
    await vi.waitFor(async () => expect(await pending(sender)).toBe(0), { timeout: 10_000 });
  });
});
