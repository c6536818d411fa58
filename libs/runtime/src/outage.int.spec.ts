import type { ProcessDefinition, ServiceDefinition } from '@xenolith/engine';
import { migrateEventStore } from '@xenolith/event-store';
import { ok, uuidFrom, type Aggregate, type CommandMessage } from '@xenolith/kernel';
import { openMessageBus, type NatsMessageBus } from '@xenolith/messaging';
import { freePort, startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { runService, serviceConfig, type LogContext } from './index.js';
import { Handle } from './process.spec-fixture.js';

let nats: TestServer;
let postgres: TestPostgres;
let client: NatsMessageBus;
let databaseUrl: string;
let port: number;

/** What the service's log says as warnings and errors. */
const said: string[] = [];
/** What the one step of an errand meets; it is answered after that. */
let met: () => Promise<unknown> = () => Promise.resolve();

interface Errand {
  readonly phase: 'none' | 'begun' | 'done';
}

const errand: Aggregate<Errand> = {
  category: 'errand',
  initial: { phase: 'none' },
  decide: (command) =>
    ok([{ type: command.type === 'BeginErrand' ? 'ErrandBegun' : 'ErrandDone', schemaVersion: 1, data: {} }]),
  evolve: (_, event) => ({ phase: event.type === 'ErrandBegun' ? 'begun' : 'done' }),
  toResource: ({ phase }) => ({ kind: 'Errand', status: { phase } }),
  stateVersion: 1,
};

const errands: ProcessDefinition = {
  name: 'errands',
  category: 'errand',
  isActive: () => true,
  due: (state, { streamId }) => ({
    wakeAt: null,
    dispatches:
      (state as Errand).phase === 'begun'
        ? [
            {
              key: 'step',
              commandId: uuidFrom(streamId, 'step'),
              subject: 'errand.step',
              type: 'TakeStep',
              streamId,
              data: {},
              timeoutMs: 20_000,
            },
          ]
        : [],
  }),
  record: () => ({ type: 'EndErrand', data: {} }),
};

const definition: ServiceDefinition = {
  name: 'storage',
  kinds: [],
  aggregates: [errand],
  routes: ['BeginErrand', 'EndErrand'].map((type) => ({ type, category: 'errand', schema: z.object({}) })),
  indexes: [],
  processes: [errands],
  reactions: [],
  eventSchemas: { ErrandBegun: z.object({}), ErrandDone: z.object({}) },
};

const listen = ({ log }: LogContext): ServiceDefinition => {
  for (const level of ['warn', 'error'] as const) {
    const say = log[level].bind(log);
    vi.spyOn(log, level).mockImplementation((fields: unknown, message?: unknown) => {
      said.push(String(message));
      say(fields, message as string);
    });
  }
  return definition;
};

let handle: Handle;

beforeAll(async () => {
  [nats, postgres] = await Promise.all([startNats(), startPostgres()]);
  client = await openMessageBus({ natsUrl: nats.url, name: 'client' });
  await client.serve('errand.step', async () => {
    await met();
    return ok({});
  });
  databaseUrl = await postgres.createDatabase();
  await migrateEventStore(databaseUrl);
  port = await freePort();
  handle = new Handle({
    DATABASE_URL: databaseUrl,
    NATS_URL: nats.url,
    HTTP_PORT: String(port),
    LOG_LEVEL: 'error',
    INSTANCE: 'one',
  });
  void runService({ name: 'storage', config: serviceConfig, define: listen }, handle);
  await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200), {
    timeout: 30_000,
  });
});
afterAll(async () => {
  handle.emit('SIGTERM');
  await vi.waitFor(() => expect(handle.codes).toEqual([0]), { timeout: 20_000 });
  await client.close();
  await Promise.all([nats.stop(), postgres.stop()]);
});

const begin = async (name: string): Promise<void> => {
  const commandId = uuidFrom('begin', name);
  const message: CommandMessage = {
    commandId,
    type: 'BeginErrand',
    streamId: uuidFrom(name),
    data: {},
    actor: 'user:test',
    correlationId: commandId,
    causationId: commandId,
    at: Date.now(),
  };
  await expect(client.request('cmd.storage.BeginErrand', message, { timeoutMs: 20_000 })).resolves.toMatchObject({
    ok: true,
  });
};

const defects = async (): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(/^xenolith_defects_total\{[^}]*\} (.+)$/m.exec(text)?.[1]);
};
/** Settles when the service has said that a part of its engine met something. */
const told = (): Promise<unknown> =>
  vi.waitFor(() => expect(said.some((message) => message.startsWith('a part of the engine'))).toBe(true), {
    timeout: 60_000,
  });

const session = async (): Promise<pg.Client> => {
  const opened = new pg.Client({ connectionString: databaseUrl });
  opened.on('error', () => undefined);
  await opened.connect();
  return opened;
};

const phaseOf = async (name: string): Promise<string | undefined> => {
  const reader = await session();
  const { rows } = await reader.query<{ phase: string }>(
    "select body->'status'->>'phase' as phase from es.documents where stream_id = $1 order by version desc limit 1",
    [uuidFrom(name)],
  );
  await reader.end();
  return rows[0]?.phase;
};

const isDone = (name: string): Promise<unknown> =>
  vi.waitFor(async () => expect(await phaseOf(name)).toBe('done'), { timeout: 60_000 });

it('a database that goes away while the outcome of a step is written is no defect, and the step goes on when it is back', async () => {
  const owner = await session();
  met = async () => {
    met = () => Promise.resolve();
    await owner.query('begin');
    await owner.query('lock table es.commands');
  };
  await begin('outage');
  await vi.waitFor(async () => {
    const { rowCount } = await owner.query("select from pg_stat_activity where wait_event_type = 'Lock'");
    expect(rowCount).toBeGreaterThan(0);
  });
  await postgres.kill();
  await told();
  expect(await defects()).toBe(0);
  await postgres.restart();
  await isDone('outage');
  expect(await defects()).toBe(0);
});

it('a statement that the database refuses is a defect', async () => {
  const owner = await session();
  await owner.query(`create function refuse() returns trigger language plpgsql
    as $$ begin raise exception 'not today' using errcode = 'insufficient_privilege'; end $$`);
  met = async () => {
    met = () => Promise.resolve();
    await owner.query('create trigger refuse before insert on es.events execute function refuse()');
  };
  await begin('refused');
  await vi.waitFor(async () => expect(await defects()).toBeGreaterThan(0), { timeout: 60_000 });
  await owner.query('drop trigger refuse on es.events');
  await owner.end();
  await isDone('refused');
});
