import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { StatusError } from '../http/status.js';
import { FairShare, type EndTurn, type Shares } from './fair-share.js';

const user = (name: string, groups: readonly string[] = []) => ({ name, groups });

const shares = (more: Partial<Shares> = {}): Shares => ({
  active: 4,
  activePerUser: 3,
  waitingPerUser: 10,
  waiting: 100,
  patienceMs: 60_000,
  ...more,
});

/** Asks for a turn and says in `order` when it came. */
const queue = (fair: FairShare, name: string, order: string[], ends: EndTurn[]): Promise<void> =>
  fair.turn(user(name)).then((end) => {
    order.push(name);
    ends.push(end);
  });

/** Lets everything that is due happen. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('turns', () => {
  // Whoever still waits when a test ends waits for ever, and is not sent away while others run.
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('go round among users, however many requests one of them sends', async () => {
    const fair = new FairShare(shares());
    const order: string[] = [];
    const ends: EndTurn[] = [];
    for (let index = 0; index < 8; index += 1) void queue(fair, 'greedy', order, ends);
    for (let index = 0; index < 2; index += 1) void queue(fair, 'modest', order, ends);
    await settled();
    expect(order).toEqual(['greedy', 'greedy', 'greedy', 'modest']);
    ends[0]?.();
    await settled();
    ends[1]?.();
    await settled();
    expect(order.slice(4).toSorted()).toEqual(['greedy', 'modest']);
  });

  it('leave a place for others, and let administrators pass', async () => {
    const fair = new FairShare(shares());
    const order: string[] = [];
    const ends: EndTurn[] = [];
    for (let index = 0; index < 5; index += 1) void queue(fair, 'greedy', order, ends);
    await settled();
    expect(order).toHaveLength(3);
    await queue(fair, 'modest', order, ends);
    const end = await fair.turn(user('ada', ['system:masters']));
    end();
  });

  it('are refused with 429 when too much waits, of one user or of all, or for too long', async () => {
    const fair = new FairShare(shares({ active: 1, waitingPerUser: 1, waiting: 2, patienceMs: 500 }));
    await fair.turn(user('a'));
    const waiting = fair.turn(user('a'));
    await expect(fair.turn(user('a'))).rejects.toMatchObject({ code: 429, source: { reason: 'TooManyRequests' } });
    const other = fair.turn(user('b'));
    await expect(fair.turn(user('c'))).rejects.toBeInstanceOf(StatusError);
    const both = Promise.allSettled([waiting, other]);
    await vi.advanceTimersByTimeAsync(501);
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const last = fair.turn(user('b'));
    const refused = expect(last).rejects.toThrow(/no place within 500 ms/);
    await vi.advanceTimersByTimeAsync(501);
    await refused;
  });

  it('that end twice count once, and nothing is kept of who is gone', async () => {
    const fair = new FairShare(shares({ active: 1 }));
    const first = await fair.turn(user('a'));
    const order: string[] = [];
    const ends: EndTurn[] = [];
    void queue(fair, 'b', order, ends);
    void queue(fair, 'c', order, ends);
    first();
    first();
    await settled();
    expect(order).toHaveLength(1);
    ends[0]?.();
    await settled();
    ends[1]?.();
    expect(order).toEqual(['b', 'c']);
    expect(fair).toMatchObject({ active: 0, waiting: 0, tenants: new Map() });
  });
});
