import { commandSubject, timestamp } from '@xenolith/contracts';
import { uuidFrom, type Uuid } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { FinishedOperations } from './finished-operations.index.js';
import { LONGEST_OPERATION_LIFE_MS, OperationSweeper } from './operation-sweeper.js';

const operation = (index: number): Uuid => uuidFrom('operation', index);

const documentOf = (endedAt: number | null) => ({
  metadata: { name: 'op' },
  status: endedAt === null ? { phase: 'Running' } : { completionTime: timestamp(endedAt) },
});

const event = (streamId: Uuid, document: ReturnType<typeof documentOf> | null) => ({
  eventId: uuidFrom(streamId, 'event'),
  streamId,
  category: 'operation',
  version: 1,
  type: 'OperationChanged',
  schemaVersion: 1,
  data: {},
  metadata: { commandId: streamId, correlationId: streamId, causationId: streamId, actor: 'user:test', at: 0 },
  document,
});

const world = async (retention: { readonly keep: number; readonly lifeMs: number }) => {
  const clock = new VirtualClock();
  const bus = new MemoryBus(clock);
  const finished = new FinishedOperations();
  const removed: Uuid[] = [];
  const most = { atOnce: 0 };
  let underWay = 0;
  const refused = new Set<Uuid>();
  await bus.connect('compute').serve(commandSubject('compute', 'RemoveOperation'), async (message) => {
    underWay += 1;
    most.atOnce = Math.max(most.atOnce, underWay);
    await clock.sleep(1);
    underWay -= 1;
    if (refused.has(message.streamId)) return { ok: false, rejection: { code: 'not_over', message: 'not over' } };
    removed.push(message.streamId);
    finished.apply(event(message.streamId, null));
    return { ok: true, value: {} };
  });
  const sweeper = new OperationSweeper(finished, { bus: bus.connect('sweeper'), clock }, retention);
  const end = (index: number, at = clock.now()) => finished.apply(event(operation(index), documentOf(at)));
  return { clock, finished, removed, refused, most, sweeper, end };
};

describe('finished operations', () => {
  it('are kept up to a number, and the oldest go first, a few at a time', async () => {
    const { clock, finished, removed, most, sweeper, end } = await world({
      keep: 100,
      lifeMs: LONGEST_OPERATION_LIFE_MS,
    });
    finished.load([]);
    sweeper.start();
    for (let index = 0; index < 300; index += 1) end(index);
    finished.apply(event(operation(1000), documentOf(null)));
    await clock.advance(10_000);
    expect(finished.size).toBe(100);
    expect(removed).toEqual(Array.from({ length: 200 }, (_, index) => operation(index)));
    expect(most.atOnce).toBeLessThanOrEqual(4);
    sweeper.stop();
  });

  it('go when their time is over, those from before a restart too', async () => {
    const { clock, finished, removed, sweeper, end } = await world({ keep: 100, lifeMs: 60_000 });
    const start = clock.now();
    const stored = [5_000, 1_000].map((after, index) => ({
      streamId: operation(index),
      category: 'operation',
      version: 1,
      position: 1,
      document: documentOf(start + after),
    }));
    finished.load(stored);
    sweeper.start();
    end(2, start + 30_000);
    await clock.advance(start + 62_000 - clock.now());
    expect(removed).toEqual([operation(1)]);
    await clock.advance(start + 66_000 - clock.now());
    expect(removed).toEqual([operation(1), operation(0)]);
    await clock.advance(start + 91_000 - clock.now());
    expect(finished.size).toBe(0);
    sweeper.stop();
  });

  it('that can not go are asked again only after a pause', async () => {
    const { clock, finished, removed, refused, sweeper, end } = await world({ keep: 0, lifeMs: 60_000 });
    refused.add(operation(0));
    sweeper.start();
    end(0);
    await clock.advance(4_000);
    refused.clear();
    expect(removed).toEqual([]);
    await clock.advance(2_000);
    expect([removed, finished.size]).toEqual([[operation(0)], 0]);
    sweeper.stop();
  });
});
