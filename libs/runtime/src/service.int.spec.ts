import { migrateEventStore } from '@xenolith/event-store';
import type { ServiceDefinition } from '@xenolith/engine';
import {
  ok,
  reject,
  uuidFrom,
  type Aggregate,
  type Command,
  type CommandMessage,
  type JsonObject,
  type NewEvent,
} from '@xenolith/kernel';
import { openMessageBus, type NatsMessageBus } from '@xenolith/messaging';
import { freePort, startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { runService, serviceConfig } from './index.js';
import { Handle } from './process.spec-fixture.js';

let nats: TestServer;
let postgres: TestPostgres;
let client: NatsMessageBus;

beforeAll(async () => {
  [nats, postgres] = await Promise.all([startNats(), startPostgres()]);
  client = await openMessageBus({ natsUrl: nats.url, name: 'client' });
});
afterAll(async () => {
  await client.close();
  await Promise.all([nats.stop(), postgres.stop()]);
});

interface Tally {
  readonly count: number;
}
const raised = (by: number): NewEvent => ({ type: 'TallyRaised', schemaVersion: 1, data: { by } });

const evener = (command: Command): { readonly subject: string; readonly command: JsonObject } => {
  const { commandId: cause, streamId } = command;
  const commandId = uuidFrom(cause, 'even');
  const ids = { commandId, streamId, correlationId: cause, causationId: cause };
  const message: CommandMessage = {
    ...ids,
    type: 'RaiseTally',
    actor: 'system:timer',
    at: command.at,
    data: { by: 1 },
  };
  return { subject: 'cmd.storage.RaiseTally', command: { ...message } };
};

/** The smallest service there is: a number that may be raised. */
const tally: Aggregate<Tally> = {
  category: 'tally',
  initial: { count: 0 },
  decide: (command) =>
    Number(command.data['by']) > 0
      ? ok([raised(Number(command.data['by']))])
      : reject('tally_not_raised', 'a tally only goes up'),
  evolve: (state, event) => ({ count: state.count + Number(event.data['by']) }),
  toResource: (state) => ({ kind: 'Tally', status: { count: state.count } }),
  // An odd step is made even by a timer that is due at once.
  consequences: (event, _, command) =>
    Number(event.data['by']) % 2 === 0 || command.actor === 'system:timer'
      ? {}
      : { timers: [{ op: 'set', id: uuidFrom(command.commandId, 'timer'), dueAt: 0, ...evener(command) }] },
  stateVersion: 1,
};

const definition: ServiceDefinition = {
  name: 'storage',
  kinds: [],
  aggregates: [tally],
  routes: [{ type: 'RaiseTally', category: 'tally', schema: z.object({ by: z.number() }) }],
  indexes: [],
  processes: [],
  reactions: [],
  eventSchemas: { TallyRaised: z.object({ by: z.number() }) },
};

const raise = (n: number, by: number): CommandMessage => {
  const commandId = uuidFrom('raise', n);
  return {
    commandId,
    type: 'RaiseTally',
    streamId: uuidFrom('tally'),
    data: { by },
    actor: 'user:test',
    correlationId: commandId,
    causationId: commandId,
    at: Date.now(),
  };
};
const ask = (message: CommandMessage) => client.request('cmd.storage.RaiseTally', message, { timeoutMs: 20_000 });

const begin = (databaseUrl: string, port: number, seen: number[]): Handle => {
  const handle = new Handle({
    DATABASE_URL: databaseUrl,
    NATS_URL: nats.url,
    HTTP_PORT: String(port),
    LOG_LEVEL: 'error',
    INSTANCE: `port-${port}`,
  });
  void runService(
    {
      name: 'storage',
      config: serviceConfig,
      define: () => definition,
      start: async ({ feed, lifecycle }) => {
        const following = await feed.follow({
          name: 'seen',
          after: 0,
          onBatch: (events) => {
            seen.push(...events.map((event) => event.position));
            return Promise.resolve();
          },
        });
        lifecycle.onStop('seen', () => following.stop());
      },
    },
    handle,
  );
  return handle;
};

const ready = async (port: number): Promise<void> => {
  await vi.waitFor(
    async () => expect(await (await fetch(`http://127.0.0.1:${port}/readyz?verbose`)).text()).toContain('check passed'),
    { timeout: 30_000, interval: 50 },
  );
};

describe('a service', () => {
  it('waits for its database, serves its commands from the log, and hands over to another process', async () => {
    const databaseUrl = await postgres.createDatabase();
    await migrateEventStore(databaseUrl);
    await postgres.kill();
    const seen: number[] = [];
    const port = await freePort();
    const first = begin(databaseUrl, port, seen);
    await vi.waitFor(
      async () => expect(await (await fetch(`http://127.0.0.1:${port}/readyz`)).text()).toContain('[-]postgres failed'),
      { timeout: 10_000, interval: 50 },
    );
    await postgres.restart();
    await ready(port);

    await expect(ask(raise(1, 2))).resolves.toMatchObject({ ok: true, value: { version: 1 } });
    await expect(ask(raise(2, 4))).resolves.toMatchObject({
      ok: true,
      value: { version: 2, document: { status: { count: 6 } } },
    });
    await expect(ask(raise(3, -1))).resolves.toMatchObject({ ok: false, rejection: { code: 'tally_not_raised' } });
    // The same command again: the stored answer, and no third event.
    await expect(ask(raise(2, 4))).resolves.toMatchObject({ ok: true, value: { version: 2 } });
    await vi.waitFor(() => expect(seen).toEqual([1, 2]), { timeout: 10_000 });
    await vi.waitFor(
      async () => {
        const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        const figure = (name: string): string | undefined =>
          new RegExp(`^${name}\\{[^}]*\\} (.+)$`, 'm').exec(metrics)?.[1];
        expect(figure('xenolith_log_head_position')).toBe('2');
        expect(figure('xenolith_log_lag_events')).toBe('0');
        expect(figure('xenolith_sequencer_held')).toBe('1');
      },
      { timeout: 10_000 },
    );

    const secondSeen: number[] = [];
    const secondPort = await freePort();
    const second = begin(databaseUrl, secondPort, secondSeen);
    await ready(secondPort);
    // Commands keep coming while the first process leaves; the second takes over, the sequencer too.
    const burst = Array.from({ length: 60 }, (_, n) => ask(raise(100 + n, 2)));
    first.emit('SIGTERM');
    const replies = await Promise.all(burst);
    expect(replies.every((reply) => reply.ok)).toBe(true);
    await vi.waitFor(() => expect(first.codes).toEqual([0]), { timeout: 20_000 });
    await expect(ask(raise(200, 3))).resolves.toMatchObject({
      ok: true,
      value: { version: 63, document: { status: { count: 129 } } },
    });
    // The timer's command is the last event.
    await vi.waitFor(() => expect(secondSeen).toEqual(Array.from({ length: 64 }, (_, n) => n + 1)), {
      timeout: 20_000,
    });
    second.emit('SIGTERM');
    await vi.waitFor(() => expect(second.codes).toEqual([0]), { timeout: 20_000 });
  });
});
