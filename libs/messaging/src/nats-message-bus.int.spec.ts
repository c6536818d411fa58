import {
  assert,
  BusFault,
  ok,
  reject,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type Reply,
} from '@xenolith/kernel';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { startNats, type TestServer } from '@xenolith/testing';
import { openMessageBus, type BusOptions, type NatsMessageBus } from './index.js';

let nats: TestServer;
const open: NatsMessageBus[] = [];

const bus = async (options: Partial<BusOptions> = {}): Promise<NatsMessageBus> => {
  const opened = await openMessageBus({ natsUrl: nats.url, name: 'test', ...options });
  open.push(opened);
  return opened;
};

beforeAll(async () => {
  nats = await startNats();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((opened) => opened.close()));
});
afterAll(async () => {
  await nats.stop();
});

let made = 0;
const command = (type = 'DoThing', data: JsonObject = {}): CommandMessage => {
  made += 1;
  const commandId = uuidFrom('bus', made);
  return {
    commandId,
    type,
    streamId: uuidFrom('stream', made),
    data,
    actor: 'system:test',
    correlationId: commandId,
    causationId: commandId,
    at: Date.now(),
  };
};

const deferred = <Value>(): { promise: Promise<Value>; resolve: (value: Value) => void } => {
  let settle: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    settle = resolve;
  });
  return { promise, resolve: (value) => settle(value) };
};

const faultOf = async (promise: Promise<unknown>): Promise<BusFault> => {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(BusFault);
  return outcome as BusFault;
};

/** A receiver as services are: it de-duplicates by command id. */
const onceEach = (work: (message: CommandMessage) => Promise<Reply>) => {
  const results = new Map<string, Promise<Reply>>();
  const effects = new Map<string, number>();
  const handle = (message: CommandMessage): Promise<Reply> => {
    const known = results.get(message.commandId);
    if (known) return known;
    effects.set(message.commandId, (effects.get(message.commandId) ?? 0) + 1);
    const result = work(message);
    results.set(message.commandId, result);
    return result;
  };
  return { handle, effects };
};

describe('requests', () => {
  it('answers what the handler answers, and rejections as they were made', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    await server.serve('things.do', (message) =>
      Promise.resolve(
        message.data['refuse'] === true
          ? reject('thing_refused', 'no such thing', {
              causes: [{ field: 'spec.size', reason: 'FieldValueInvalid', message: 'too big' }],
              details: { limit: 3 },
            })
          : ok({ seen: message.data['n'] ?? null, by: message.actor }),
      ),
    );
    await expect(client.request('things.do', command('DoThing', { n: 7 }), { timeoutMs: 2_000 })).resolves.toEqual(
      ok({ seen: 7, by: 'system:test' }),
    );
    await expect(
      client.request('things.do', command('DoThing', { refuse: true }), { timeoutMs: 2_000 }),
    ).resolves.toEqual({
      ok: false,
      rejection: {
        code: 'thing_refused',
        message: 'no such thing',
        causes: [{ field: 'spec.size', reason: 'FieldValueInvalid', message: 'too big' }],
        details: { limit: 3 },
      },
    });
  });

  it('shares the requests of a subject between its servers', async () => {
    const [left, right, client] = await Promise.all([bus(), bus(), bus()]);
    const served = { left: 0, right: 0 };
    await left.serve('shared', () => {
      served.left += 1;
      return Promise.resolve(ok({}));
    });
    await right.serve('shared', () => {
      served.right += 1;
      return Promise.resolve(ok({}));
    });
    await Promise.all(Array.from({ length: 200 }, () => client.request('shared', command(), { timeoutMs: 5_000 })));
    expect(served.left + served.right).toBe(200);
    expect(Math.min(served.left, served.right)).toBeGreaterThan(20);
  });

  it('tells a caller of a fault what happened but not where', async () => {
    const errors: object[] = [];
    const log = { info: () => undefined, warn: () => undefined, error: (fields: object) => void errors.push(fields) };
    const [server, client] = await Promise.all([bus({ log }), bus()]);
    await server.serve('faulty', () => Promise.reject(new Error('the disk is on fire')));
    const fault = await faultOf(client.request('faulty', command(), { timeoutMs: 2_000 }));
    expect(fault.kind).toBe('fault');
    expect(fault.message).toBe('the disk is on fire');
    expect(JSON.stringify(errors)).toContain('commandId');
  });

  it('ends with no_responders at the deadline when nobody ever serves the subject', async () => {
    const client = await bus();
    const started = Date.now();
    const fault = await faultOf(client.request('nobody', command(), { timeoutMs: 300 }));
    expect(fault.kind).toBe('no_responders');
    expect(Date.now() - started).toBeGreaterThanOrEqual(299);
  });

  it('reaches a server that begins to serve while the request waits', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const reply = client.request('late', command(), { timeoutMs: 5_000 });
    await server.serve('late', () => Promise.resolve(ok({ late: true })));
    await expect(reply).resolves.toEqual(ok({ late: true }));
  });

  it('ends with timeout when the handler is too slow, and shows the handler that nobody waits', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const release = deferred<Reply>();
    let aborted = (): boolean => false;
    await server.serve('slow', (_, context) => {
      aborted = () => context.signal.aborted;
      return release.promise;
    });
    const fault = await faultOf(client.request('slow', command(), { timeoutMs: 200 }));
    expect(fault.kind).toBe('timeout');
    await vi.waitFor(() => expect(aborted()).toBe(true));
    release.resolve(ok({}));
  });

  it('refuses a message larger than NATS takes, in both directions', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const big = 'x'.repeat(client.connection.info?.max_payload ?? 0);
    await server.serve('big', () => Promise.resolve(ok({ big })));
    expect((await faultOf(client.request('big', command('DoThing', { big }), { timeoutMs: 2_000 }))).message).toContain(
      'exceeds',
    );
    expect((await faultOf(client.request('big', command(), { timeoutMs: 2_000 }))).message).toContain('at most');
  });
});

describe('limits of a server', () => {
  it('answers overloaded at once when its queue is full, and refuses what expired in the queue', async () => {
    const server = await bus({ settings: { waitingLimit: 2 } });
    const client = await bus();
    const release = deferred<Reply>();
    const handled: string[] = [];
    await server.serve(
      'narrow',
      (message) => {
        handled.push(message.type);
        return release.promise;
      },
      { concurrency: 1 },
    );
    const first = client.request('narrow', command('First'), { timeoutMs: 5_000 });
    await vi.waitFor(() => expect(handled).toEqual(['First']));
    const expiring = faultOf(client.request('narrow', command('Expiring'), { timeoutMs: 100 }));
    const second = client.request('narrow', command('Second'), { timeoutMs: 5_000 });
    const refused = await faultOf(client.request('narrow', command('Refused'), { timeoutMs: 5_000 }));
    expect(refused.kind).toBe('overloaded');
    expect((await expiring).kind).toBe('timeout');
    release.resolve(ok({}));
    await Promise.all([first, second]);
    expect(handled).toEqual(['First', 'Second']);
  });

  it('handles no more than its concurrency at once', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    let [running, most] = [0, 0];
    await server.serve(
      'counted',
      async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return ok({});
      },
      { concurrency: 4 },
    );
    await Promise.all(Array.from({ length: 100 }, () => client.request('counted', command(), { timeoutMs: 5_000 })));
    expect(most).toBe(4);
  });

  it('refuses to send more requests than may wait for replies', async () => {
    const client = await bus({ settings: { requestLimit: 1 } });
    const waiting = faultOf(client.request('nobody', command(), { timeoutMs: 300 }));
    expect((await faultOf(client.request('nobody', command(), { timeoutMs: 300 }))).kind).toBe('overloaded');
    await waiting;
  });

  it('refuses a malformed command and goes on', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    await server.serve('strict', () => Promise.resolve(ok({})));
    const answer = await client.connection.request('strict', '{"type": 3', { timeout: 2_000 });
    expect(answer.headers?.get('Xenolith-Frame')).toBe('fault');
    expect(answer.string()).toContain('malformed');
    await expect(client.request('strict', command(), { timeoutMs: 2_000 })).resolves.toEqual(ok({}));
  });
});

describe('a request that is asked again', () => {
  it('is not handled twice while it is in hand', async () => {
    const server = await bus({ settings: { keepAliveMs: 60_000 } });
    // The client takes its silent server for dead and asks again, several times.
    const client = await bus({ settings: { silenceMs: 50 } });
    const release = deferred<Reply>();
    let handled = 0;
    await server.serve('patient', () => {
      handled += 1;
      return release.promise;
    });
    const reply = client.request('patient', command(), { timeoutMs: 10_000 });
    await vi.waitFor(() => expect(server.connection.stats().inMsgs).toBeGreaterThan(4));
    // Once it is answered, an ask that was on its way is one of its own: the handler tells by the command's id.
    expect(handled).toBe(1);
    release.resolve(ok({ done: true }));
    await expect(reply).resolves.toEqual(ok({ done: true }));
  });

  it('is kept from being asked again by a server that says it is alive', async () => {
    const server = await bus({ settings: { keepAliveMs: 20 } });
    const client = await bus({ settings: { silenceMs: 200 } });
    const release = deferred<Reply>();
    await server.serve('alive', () => release.promise);
    const reply = client.request('alive', command(), { timeoutMs: 10_000 });
    // Thirty keep-alives are three times the silence after which the client would ask again.
    await vi.waitFor(() => expect(client.connection.stats().inMsgs).toBeGreaterThan(30), { timeout: 5_000 });
    release.resolve(ok({}));
    await reply;
    expect(server.connection.stats().inMsgs).toBe(1);
  });

  it('reaches another server when the first one dies with the request in hand', async () => {
    const first = await bus({ settings: { drainMs: 10 } });
    const second = await bus();
    const client = await bus({ settings: { silenceMs: 100 } });
    const taken = deferred<string>();
    await first.serve('mortal', (message) => {
      taken.resolve(message.commandId);
      return new Promise(() => undefined);
    });
    const message = command();
    const reply = client.request('mortal', message, { timeoutMs: 10_000 });
    expect(await taken.promise).toBe(message.commandId);
    // Closing the connection under the server is what its death looks like from outside.
    await first.connection.close();
    await second.serve('mortal', (again) => Promise.resolve(ok({ by: 'second', commandId: again.commandId })));
    await expect(reply).resolves.toEqual(ok({ by: 'second', commandId: message.commandId }));
  });
});

describe('draining', () => {
  it('finishes what is in hand, hands back what waits, and takes no more', async () => {
    const [stopping, other, client] = await Promise.all([bus(), bus(), bus()]);
    const release = deferred<Reply>();
    const inHand: string[] = [];
    const served = await stopping.serve(
      'moved',
      (message) => {
        inHand.push(message.type);
        return release.promise;
      },
      { concurrency: 1 },
    );
    const first = client.request('moved', command('InHand'), { timeoutMs: 5_000 });
    await vi.waitFor(() => expect(inHand).toEqual(['InHand']));
    const second = client.request('moved', command('Waiting'), { timeoutMs: 5_000 });
    await vi.waitFor(() => expect(stopping.connection.stats().inMsgs).toBe(2));
    const stopped = served.stop();
    await other.serve('moved', () => Promise.resolve(ok({ by: 'other' })));
    await expect(second).resolves.toEqual(ok({ by: 'other' }));
    release.resolve(ok({ by: 'stopping' }));
    await expect(first).resolves.toEqual(ok({ by: 'stopping' }));
    await stopped;
    expect(inHand).toEqual(['InHand']);
  });

  it('gives up what does not end in time, and its sender asks another server', async () => {
    const stopping = await bus({ settings: { drainMs: 50 } });
    const [other, client] = await Promise.all([bus(), bus()]);
    let signal: { readonly aborted: boolean } | undefined;
    await stopping.serve('stuck', (_, context) => {
      signal = context.signal;
      return new Promise(() => undefined);
    });
    const reply = client.request('stuck', command(), { timeoutMs: 10_000 });
    await vi.waitFor(() => expect(signal).toBeDefined());
    await other.serve('stuck', () => Promise.resolve(ok({ by: 'other' })));
    await stopping.close();
    expect(signal?.aborted).toBe(true);
    await expect(reply).resolves.toEqual(ok({ by: 'other' }));
  });
});

describe('a restart of NATS', () => {
  it('loses no request and does none twice', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const { handle, effects } = onceEach(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return ok({ done: true });
    });
    await server.serve('durable', handle);
    const replies: Promise<Reply>[] = [];
    const outage = deferred<undefined>();
    const ask = async (): Promise<void> => {
      // Requests keep coming before, during and after the outage.
      for (let n = 0; n < 1_500; n += 1) {
        replies.push(client.request('durable', command(), { timeoutMs: 30_000 }));
        if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
        if (n === 500) outage.resolve(undefined);
      }
    };
    const asking = ask();
    await outage.promise;
    await nats.kill();
    await nats.restart();
    await asking;
    const settled = await Promise.all(replies);
    expect(settled.every((reply) => reply.ok)).toBe(true);
    expect(effects.size).toBe(1_500);
    expect([...effects.values()].every((count) => count === 1)).toBe(true);
  });

  it('delivers the reply of a request that was in hand all the while', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const release = deferred<Reply>();
    const { handle, effects } = onceEach(() => release.promise);
    await server.serve('across', handle);
    const message = command();
    const reply = client.request('across', message, { timeoutMs: 30_000 });
    await vi.waitFor(() => expect(effects.size).toBe(1));
    await nats.kill();
    await nats.restart();
    release.resolve(ok({ survived: true }));
    await expect(reply).resolves.toEqual(ok({ survived: true }));
    expect(effects).toEqual(new Map([[message.commandId, 1]]));
  });

  it('ends a request with disconnected when NATS does not come back in time', async () => {
    const client = await bus();
    await nats.kill();
    try {
      await vi.waitFor(() => expect(client.connected).toBe(false));
      expect((await faultOf(client.request('durable', command(), { timeoutMs: 200 }))).kind).toBe('disconnected');
    } finally {
      await nats.kill();
      await nats.restart();
    }
  });
});

describe('the end of a bus', () => {
  it('comes while NATS is away, and fails what still waits', async () => {
    const [server, client] = await Promise.all([bus(), bus()]);
    const served = await server.serve('ending', () => Promise.resolve(ok({})));
    await nats.kill();
    try {
      await vi.waitFor(() => expect(client.connected || server.connected).toBe(false));
      const waiting = faultOf(client.request('ending', command(), { timeoutMs: 60_000 }));
      await served.stop();
      await Promise.all([client.close(), server.close()]);
      expect((await waiting).kind).toBe('disconnected');
      expect((await faultOf(client.request('ending', command(), { timeoutMs: 100 }))).kind).toBe('disconnected');
    } finally {
      await nats.restart();
    }
  });

  it('is not disturbed by a handler that ends after it', async () => {
    const server = await bus({ settings: { drainMs: 10 } });
    const client = await bus();
    const release = deferred<Reply>();
    const ended = deferred<undefined>();
    await server.serve('outlasting', async () => {
      const reply = await release.promise;
      setImmediate(() => ended.resolve(undefined));
      return reply;
    });
    const reply = faultOf(client.request('outlasting', command(), { timeoutMs: 500 }));
    await vi.waitFor(() => expect(server.connection.stats().inMsgs).toBe(1));
    const closing = server.close();
    server.publish('late.signal', {});
    await closing;
    server.publish('late.signal', {});
    // An exception here would be nobody's, and fail the whole run.
    release.resolve(ok({}));
    await ended.promise;
    expect((await reply).kind).toBe('no_responders');
  });

  it('is asked for when a handler meets a defect, after its sender was told', async () => {
    const defects: string[] = [];
    const server = await bus({ onDefect: (defect) => void defects.push(defect.message) });
    const client = await bus();
    await server.serve('broken', () => {
      assert(false, 'two hosts hold one machine');
      return Promise.resolve(ok({}));
    });
    expect((await faultOf(client.request('broken', command(), { timeoutMs: 2_000 }))).kind).toBe('fault');
    expect(defects).toEqual(['two hosts hold one machine']);
  });
});

describe('signals', () => {
  it('reach every subscriber by wild card, and nobody after stop', async () => {
    const [left, right, sender] = await Promise.all([bus(), bus(), bus()]);
    const seen: string[] = [];
    const subscription = await left.subscribe('telemetry.*', (payload, subject) => {
      seen.push(`left ${subject} ${JSON.stringify(payload['load'])}`);
    });
    await right.subscribe('telemetry.>', (_, subject) => void seen.push(`right ${subject}`));
    sender.publish('telemetry.host-1', { load: 3 });
    await vi.waitFor(() => expect(seen.sort()).toEqual(['left telemetry.host-1 3', 'right telemetry.host-1']));
    await subscription.stop();
    sender.publish('telemetry.host-2', { load: 4 });
    await vi.waitFor(() => expect(seen).toContain('right telemetry.host-2'));
    expect(seen.some((line) => line.startsWith('left telemetry.host-2'))).toBe(false);
  });
});

it('says that NATS cannot be reached', async () => {
  const fault = await faultOf(openMessageBus({ natsUrl: 'nats://127.0.0.1:1', name: 'test' }));
  expect(fault.kind).toBe('disconnected');
  expect(fault.message).toContain('cannot be reached');
});
