import { AssertionError, uuidFrom, type LogFeed, type LoggedEvent } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { ReactionRunner } from './reaction-runner.js';

const commandId = uuidFrom('reaction-runner', 'command');

const event: LoggedEvent = {
  position: 1,
  eventId: uuidFrom('reaction-runner', 'event'),
  streamId: uuidFrom('reaction-runner', 'stream'),
  category: 'jar',
  version: 1,
  type: 'SweetsTaken',
  schemaVersion: 1,
  data: {},
  metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'test', at: 0 },
};

describe('a reaction', () => {
  it('reports a defect that it meets, and does not pass the event', async () => {
    const defect = new AssertionError('a jar has sweets');
    const reported: unknown[] = [];
    let bring: ((events: readonly LoggedEvent[]) => Promise<void>) | undefined;
    const subscription = { stop: (): Promise<void> => Promise.resolve() };
    const feed: LogFeed = {
      follow: () => Promise.resolve(subscription),
      followLeased: (follower) => {
        bring = follower.onBatch;
        return Promise.resolve(subscription);
      },
    };
    const clock = new VirtualClock();
    const runner = new ReactionRunner(
      {
        name: 'counter',
        on: 'every',
        react: () => {
          throw defect;
        },
      },
      {
        feed,
        indexes: { caughtUp: () => Promise.resolve() },
        bus: new MemoryBus(clock).connect(),
        clock,
        observer: { defect: (error) => reported.push(error) },
      },
    );
    await runner.start();
    await expect(bring?.([event])).rejects.toBe(defect);
    expect(reported).toEqual([defect]);
  });
});
