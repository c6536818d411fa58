import {
  ok,
  reject,
  uuidFrom,
  type Aggregate,
  type CommandMessage,
  type JsonObject,
  type NewEvent,
  type Reply,
  type StoredEvent,
  type Uuid,
} from '@xenolith/kernel';
import { MemoryBus, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  CommandHandler,
  ServiceEngine,
  type CommandRoute,
  type ProcessDefinition,
  type ServiceDefinition,
} from './index.js';

interface Jar {
  readonly sweets: number;
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** A jar of sweets: enough of a domain to need claims, other streams and refusals. */
const jar: Aggregate<Jar> = {
  category: 'jar',
  initial: { sweets: 0 },
  stateVersion: 1,
  snapshotEvery: 3,
  decide: (command, state) => {
    const amount = Number(command.data['amount']);
    if (command.type === 'TakeSweets' && state.sweets < amount)
      return reject('jar_empty', `${amount} asked, ${state.sweets} there`);
    return ok([
      {
        type: command.type === 'TakeSweets' ? 'SweetsTaken' : 'SweetsAdded',
        schemaVersion: 1,
        data: { ...command.data },
      },
    ]);
  },
  evolve: (state, event) => ({
    sweets: state.sweets + (event.type === 'SweetsTaken' ? -1 : 1) * Number(event.data['amount']),
  }),
  toResource: (state) => ({ sweets: state.sweets }),
  consequences: (event, _before, command) => ({
    ...(event.data['label'] === undefined
      ? {}
      : { claims: [{ op: 'claim', scope: 'label', value: textOf(event.data['label']), holder: command.streamId }] }),
    ...(event.data['into'] === undefined
      ? {}
      : {
          also: [
            {
              category: 'jar',
              streamId: textOf(event.data['into']),
              type: 'AddSweets',
              data: { amount: Number(event.data['amount']) },
            },
          ],
        }),
  }),
};

interface Errand {
  readonly phase: 'none' | 'asked' | 'done' | 'failed';
  readonly jar: Uuid;
  readonly attempts: number;
}

const errand: Aggregate<Errand> = {
  category: 'errand',
  initial: { phase: 'none', jar: '', attempts: 0 },
  stateVersion: 1,
  decide: (command) => ok([{ type: command.type, schemaVersion: 1, data: command.data }]),
  evolve: (state, event) => {
    switch (event.type) {
      case 'AskErrand':
        return { ...state, phase: 'asked', jar: textOf(event.data['jar']) };
      case 'EndErrand':
        return { ...state, phase: event.data['ok'] === true ? 'done' : 'failed' };
      default:
        return state;
    }
  },
  toResource: (state) => ({ phase: state.phase }),
};

const errands: ProcessDefinition = {
  name: 'errands',
  category: 'errand',
  isActive: (document) => document['phase'] === 'asked',
  due: (state, { streamId }) => {
    const { phase, jar: from } = state as Errand;
    if (phase !== 'asked') return { dispatches: [], wakeAt: null };
    const dispatch = {
      key: 'take',
      commandId: uuidFrom(streamId, 'take'),
      subject: 'cmd.storage.TakeSweets',
      type: 'TakeSweets',
      streamId: from,
      data: { amount: 1 },
      timeoutMs: 1000,
    };
    return { dispatches: [dispatch], wakeAt: null };
  },
  record: (_dispatch, outcome) =>
    outcome.kind === 'fault' ? null : { type: 'EndErrand', data: { ok: outcome.reply.ok } },
};

const anything = z.record(z.string(), z.unknown());
const route = (type: string, category: string, more: Partial<CommandRoute> = {}): CommandRoute => ({
  type,
  category,
  schema: anything,
  ...more,
});

const service = (more: Partial<ServiceDefinition> = {}): ServiceDefinition => ({
  name: 'storage',
  kinds: [],
  aggregates: [jar, errand],
  routes: [
    route('AddSweets', 'jar'),
    route('TakeSweets', 'jar'),
    route('AskErrand', 'errand'),
    route('EndErrand', 'errand'),
  ],
  indexes: [],
  processes: [],
  reactions: [],
  eventSchemas: { SweetsAdded: anything, SweetsTaken: anything, AskErrand: anything, EndErrand: anything },
  ...more,
});

const JAR = uuidFrom('jar', 1);
const OTHER = uuidFrom('jar', 2);

let serial = 0;
const message = (type: string, data: JsonObject, more: Partial<CommandMessage> = {}): CommandMessage => {
  const commandId = more.commandId ?? uuidFrom('message', (serial += 1));
  return {
    commandId,
    type,
    streamId: JAR,
    data,
    actor: 'user:test',
    correlationId: commandId,
    causationId: commandId,
    at: 0,
    ...more,
  };
};

const setUp = (definition: ServiceDefinition = service()): { log: MemoryEventLog; handler: CommandHandler } => {
  const log = new MemoryEventLog(new VirtualClock());
  return { log, handler: new CommandHandler(definition, log.connect(), { indexes: { applyOwn: () => undefined } }) };
};

const code = (reply: Reply): string => (reply.ok ? 'ok' : reply.rejection.code);

describe('command handler', () => {
  it('answers the document and version that the command left', async () => {
    const { handler } = setUp();
    await handler.handle(message('AddSweets', { amount: 5 }));
    const reply = await handler.handle(message('TakeSweets', { amount: 2 }));
    expect(reply).toMatchObject({ ok: true, value: { streamId: JAR, version: 2, document: { sweets: 3 } } });
  });

  it('gives a repeated command id the stored answer and does nothing twice', async () => {
    const { handler, log } = setUp();
    const first = message('AddSweets', { amount: 5 });
    const replies = [await handler.handle(first), await handler.handle(first)];
    expect(replies[1]).toEqual(replies[0]);
    expect(log.log).toHaveLength(1);
  });

  it('knows the streams anew after a command that another process had done', async () => {
    const { handler, log } = setUp();
    const other = new CommandHandler(service(), log.connect(), { indexes: { applyOwn: () => undefined } });
    await handler.handle(message('AddSweets', { amount: 5 }));
    const taken = message('TakeSweets', { amount: 2 });
    await other.handle(taken);
    await handler.handle(taken);
    expect(await handler.streams.load(jar, JAR)).toEqual({ state: { sweets: 3 }, version: 2 });
  });

  it('records a refusal, so that the same id is refused again although it would be accepted now', async () => {
    const { handler } = setUp();
    const early = message('TakeSweets', { amount: 1 });
    expect(code(await handler.handle(early))).toBe('jar_empty');
    await handler.handle(message('AddSweets', { amount: 5 }));
    expect(code(await handler.handle(early))).toBe('jar_empty');
  });

  it('refuses a command id that comes back with another request', async () => {
    const { handler } = setUp();
    const commandId = uuidFrom('reused');
    await handler.handle(message('AddSweets', { amount: 5 }, { commandId }));
    expect(code(await handler.handle(message('AddSweets', { amount: 6 }, { commandId })))).toBe('command_id_reused');
  });

  it('refuses a do that comes after its undo', async () => {
    const { handler, log } = setUp();
    const late = message('AddSweets', { amount: 5 });
    await handler.handle(message('AddSweets', { amount: 0 }, { undoes: late.commandId }));
    expect(code(await handler.handle(late))).toBe('command_cancelled');
    expect(log.log).toHaveLength(1);
  });

  it('writes the streams that an event moves along in the same append, or nothing', async () => {
    const { handler, log } = setUp();
    await handler.handle(message('AddSweets', { amount: 5 }));
    const reply = await handler.handle(message('TakeSweets', { amount: 2, into: OTHER }));
    expect(reply).toMatchObject({
      value: {
        versions: [
          { streamId: JAR, version: 2 },
          { streamId: OTHER, version: 1 },
        ],
      },
    });
    expect(log.documents(undefined).documents.map((stored) => stored.document)).toEqual([{ sweets: 3 }, { sweets: 2 }]);
  });

  it('decides nothing on a stream that a newer release wrote to, and answers once it is upgraded itself', async () => {
    const { handler, log } = setUp();
    await handler.handle(message('AddSweets', { amount: 5 }));
    const older = new CommandHandler(service({ eventSchemas: { SweetsTaken: anything } }), log.connect(), {
      indexes: { applyOwn: () => undefined },
    });
    const asked = message('TakeSweets', { amount: 1 });
    older.streams.remember(JAR, { state: { sweets: 0 }, version: 0 });
    for (const event of log.log) older.follow(event);
    await expect(older.handle(asked)).rejects.toThrow('this release knows no event SweetsAdded');
    expect(await handler.handle(asked)).toMatchObject({ value: { document: { sweets: 4 } } });
  });

  it('retries a conflict with another process, but not when the user stated the version', async () => {
    const { handler, log } = setUp();
    const elsewhere = new CommandHandler(service(), log.connect(), { indexes: { applyOwn: () => undefined } });
    await handler.handle(message('AddSweets', { amount: 5 }));
    await elsewhere.handle(message('TakeSweets', { amount: 1 }));
    expect(code(await handler.handle(message('TakeSweets', { amount: 1 }, { expectedVersion: 1 })))).toBe(
      'version_conflict',
    );
    expect(await handler.handle(message('TakeSweets', { amount: 1 }))).toMatchObject({
      value: { document: { sweets: 3 } },
    });
  });

  it('reads nothing of a stream that a command begins, and finds out when it was begun already', async () => {
    const routes = [
      route('AddSweets', 'jar', { begins: () => true }),
      route('TakeSweets', 'jar', { begins: () => true }),
    ];
    const log = new MemoryEventLog(new VirtualClock());
    const reads: Uuid[] = [];
    const started = (): CommandHandler => {
      const connection = log.connect();
      const read = connection.readStream.bind(connection);
      connection.readStream = (streamId, afterVersion) => {
        reads.push(streamId);
        return read(streamId, afterVersion);
      };
      return new CommandHandler(service({ routes }), connection, { indexes: { applyOwn: () => undefined } });
    };
    expect(await started().handle(message('AddSweets', { amount: 5 }))).toMatchObject({ value: { version: 1 } });
    expect(reads).toEqual([]);
    const wrong = [
      [message('AddSweets', { amount: 2 }), { value: { version: 2, document: { sweets: 7 } } }],
      [message('TakeSweets', { amount: 3 }), { value: { version: 3, document: { sweets: 4 } } }],
      [message('TakeSweets', { amount: 9 }), { rejection: { code: 'jar_empty', message: '9 asked, 4 there' } }],
      [message('TakeSweets', { amount: 3 }, { dryRun: true }), { value: { version: 4, document: { sweets: 1 } } }],
      [message('TakeSweets', { amount: 1 }, { expectedVersion: 3 }), { value: { version: 4 } }],
      [message('TakeSweets', { amount: 1 }, { expectedVersion: 2 }), { rejection: { code: 'version_conflict' } }],
    ] as const;
    for (const [asked, answer] of wrong) expect(await started().handle(asked)).toMatchObject(answer);
    expect(log.log).toHaveLength(4);
  });

  it('refuses a claim that another stream holds, and lets the holder claim again', async () => {
    const { handler } = setUp();
    await handler.handle(message('AddSweets', { amount: 1, label: 'mint' }));
    expect(code(await handler.handle(message('AddSweets', { amount: 1, label: 'mint' }, { streamId: OTHER })))).toBe(
      'claim_taken',
    );
    expect(code(await handler.handle(message('AddSweets', { amount: 1, label: 'mint' })))).toBe('ok');
  });

  it('prepares again when a claim is taken and the route says so', async () => {
    const labels = ['mint', 'lemon'];
    const picky = service({
      routes: [
        route('AddSweets', 'jar', {
          prepare: (asked, attempt) => ok({ ...asked.data, label: labels[attempt - 1] ?? 'none' }),
          onClaimTaken: () => null,
        }),
      ],
    });
    const { handler, log } = setUp(picky);
    await handler.handle(message('AddSweets', { amount: 1 }));
    await handler.handle(message('AddSweets', { amount: 1 }, { streamId: OTHER }));
    expect(log.claimHolder('label', 'mint')).toBe(JAR);
    expect(log.claimHolder('label', 'lemon')).toBe(OTHER);
  });

  it('writes nothing on a dry run, and tells a taken claim all the same', async () => {
    const { handler, log } = setUp();
    expect(await handler.handle(message('AddSweets', { amount: 4 }, { dryRun: true }))).toMatchObject({
      value: { document: { sweets: 4 } },
    });
    expect(log.log).toHaveLength(0);
    await handler.handle(message('AddSweets', { amount: 1, label: 'mint' }));
    expect(
      code(await handler.handle(message('AddSweets', { amount: 1, label: 'mint' }, { streamId: OTHER, dryRun: true }))),
    ).toBe('claim_taken');
  });

  it('refuses malformed and unknown commands', async () => {
    const { handler } = setUp(
      service({ routes: [{ type: 'AddSweets', category: 'jar', schema: z.strictObject({ amount: z.number() }) }] }),
    );
    expect(code(await handler.handle(message('AddSweets', { amount: 'many' })))).toBe('command_malformed');
    expect(code(await handler.handle(message('EatSweets', {})))).toBe('command_unknown');
  });

  it('loads from a snapshot what a restart had forgotten', async () => {
    const { handler, log } = setUp();
    for (let count = 0; count < 7; count += 1) await handler.handle(message('AddSweets', { amount: 1 }));
    expect(log.snapshot(JAR, 1)).toMatchObject({ version: 6, state: { sweets: 6 } });
    const restarted = new CommandHandler(service(), log.connect(), { indexes: { applyOwn: () => undefined } });
    expect(await restarted.handle(message('AddSweets', { amount: 1 }))).toMatchObject({
      value: { version: 8, document: { sweets: 8 } },
    });
  });
});

describe('indexes', () => {
  it('see every event once, own ones at once, and the others from the log', async () => {
    const clock = new VirtualClock();
    const log = new MemoryEventLog(clock, { sequence: () => 50 });
    const bus = new MemoryBus(clock);
    const seen: StoredEvent[] = [];
    const index = {
      name: 'seen',
      categories: ['jar'],
      load: () => undefined,
      apply: (event: StoredEvent) => void seen.push(event),
    };
    const mine = new ServiceEngine(service({ indexes: [index] }), {
      log: log.connect(),
      feed: log.connect(),
      bus: bus.connect(),
      clock,
    });
    await mine.start();
    const other = new CommandHandler(service(), log.connect(), { indexes: { applyOwn: () => undefined } });
    await mine.handler.handle(message('AddSweets', { amount: 1 }));
    expect(seen.map((event) => event.version)).toEqual([1]);
    await other.handle(message('AddSweets', { amount: 1 }));
    await clock.advance(200);
    expect(seen.map((event) => event.version)).toEqual([1, 2]);
  });

  it('four schedulers decided every fifth placement twice, as they learned of each other’s writes by conflicts only', async () => {
    const clock = new VirtualClock();
    const log = new MemoryEventLog(clock, { sequence: () => 50 });
    const bus = new MemoryBus(clock);
    const retried: string[] = [];
    const index = { name: 'jars', categories: ['jar'], load: () => undefined, apply: () => undefined };
    const ports = { log: log.connect(), feed: log.connect(), bus: bus.connect(), clock };
    const observer = { commandRetried: ({ reason }: { reason: string }) => void retried.push(reason) };
    const mine = new ServiceEngine(service({ indexes: [index] }), { ...ports, observer });
    await mine.start();
    const other = new CommandHandler(service(), log.connect(), { indexes: { applyOwn: () => undefined } });
    await mine.handler.handle(message('AddSweets', { amount: 1 }));
    await other.handle(message('AddSweets', { amount: 1 }));
    await clock.advance(200);
    await mine.handler.handle(message('AddSweets', { amount: 1 }));
    expect(retried).toEqual([]);
  });
});

describe('process runner', () => {
  const start = async (): Promise<{
    log: MemoryEventLog;
    bus: MemoryBus;
    clock: VirtualClock;
    engine: ServiceEngine;
    kill: () => void;
  }> => {
    const clock = new VirtualClock();
    const log = new MemoryEventLog(clock, { append: () => 2, read: () => 1, sequence: () => 3 });
    const bus = new MemoryBus(clock, () => [1]);
    const { engine, kill } = await launch(clock, log, bus);
    return { log, bus, clock, engine, kill };
  };
  const launch = async (
    clock: VirtualClock,
    log: MemoryEventLog,
    bus: MemoryBus,
  ): Promise<{ engine: ServiceEngine; kill: () => void }> => {
    const connection = log.connect();
    const line = bus.connect();
    const engine = new ServiceEngine(service({ processes: [errands] }), {
      log: connection,
      feed: connection,
      bus: line,
      clock,
    });
    const started = engine.start();
    await clock.advanceUntil(() => started.then(() => true), 100);
    return {
      engine,
      kill: () => {
        line.kill();
        connection.kill();
      },
    };
  };
  const phaseOf = (log: MemoryEventLog, streamId: Uuid): unknown =>
    log.documents(['errand']).documents.find((stored) => stored.streamId === streamId)?.document['phase'];

  it('sends what is due, records the answer and ends', async () => {
    const { log, clock, engine } = await start();
    const asked = uuidFrom('errand', 1);
    void engine.handler.handle(message('AddSweets', { amount: 3 }));
    void engine.handler.handle(message('AskErrand', { jar: JAR }, { streamId: asked }));
    expect(await clock.advanceUntil(() => phaseOf(log, asked) === 'done', 5_000)).toBe(true);
    expect(log.readStream(JAR, 0).map((event: NewEvent) => event.type)).toEqual(['SweetsAdded', 'SweetsTaken']);
  });

  it('goes on after a crash at any moment and never takes twice', async () => {
    for (let crashAt = 0; crashAt <= 40; crashAt += 1) {
      const { log, bus, clock, engine, kill } = await start();
      const asked = uuidFrom('errand', 2);
      void engine.handler.handle(message('AddSweets', { amount: 3 }));
      void engine.handler.handle(message('AskErrand', { jar: JAR }, { streamId: asked }));
      await clock.advance(crashAt);
      kill();
      const second = await launch(clock, log, bus);
      // What the crash swallowed before it was accepted is asked again by its sender.
      void second.engine.handler.handle(message('AddSweets', { amount: 3 }));
      if (phaseOf(log, asked) === undefined)
        void second.engine.handler.handle(message('AskErrand', { jar: JAR }, { streamId: asked }));
      expect(
        await clock.advanceUntil(() => phaseOf(log, asked) === 'done' || phaseOf(log, asked) === 'failed', 10_000),
        `crash at ${crashAt}`,
      ).toBe(true);
      expect(log.readStream(JAR, 0).filter((event) => event.type === 'SweetsTaken').length, `crash at ${crashAt}`).toBe(
        phaseOf(log, asked) === 'done' ? 1 : 0,
      );
    }
  });
});
