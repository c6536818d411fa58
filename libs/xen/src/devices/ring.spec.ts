import { randomFrom } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  advanceRing,
  createRing,
  createRingIndices,
  ENTRY_BYTES,
  finalCheckForRequests,
  finalCheckForResponses,
  freeRequests,
  hasRequestOverflow,
  hasResponseOverflow,
  isRingFull,
  pushRequests,
  pushResponses,
  putRequest,
  putResponse,
  requestsInFlight,
  ringEntries,
  takeRequest,
  takeResponse,
  unconsumedRequests,
} from './ring.js';
import type { Ring } from './ring.js';

type Entry = { ask: number } | { answer: number };

describe('the size of a ring', () => {
  it('is what the published structures give for one page', () => {
    expect(ringEntries(ENTRY_BYTES.blkif)).toBe(32);
    expect(ringEntries(ENTRY_BYTES.netifTx)).toBe(256);
    expect(ringEntries(ENTRY_BYTES.netifRx)).toBe(256);
  });

  it('doubles with the pages of a multi-page ring', () => {
    expect([1, 2, 4, 8, 16].map((pages) => ringEntries(ENTRY_BYTES.blkif, pages))).toEqual([32, 64, 128, 256, 512]);
  });
});

describe('a ring', () => {
  it('begins with producers at 0 and events at 1', () => {
    expect(createRing(32)).toMatchObject({ reqProd: 0, reqEvent: 1, rspProd: 0, rspEvent: 1 });
  });

  it('refuses a request when it is full, and loses none of those before', () => {
    const ring = createRing<number, number>(4);
    const taken = [1, 2, 3, 4, 5].map((id) => putRequest(ring, id));
    expect(taken).toEqual([true, true, true, true, false]);
    expect(isRingFull(ring)).toBe(true);
    pushRequests(ring);
    expect([takeRequest(ring), takeRequest(ring), takeRequest(ring), takeRequest(ring), takeRequest(ring)]).toEqual([
      1,
      2,
      3,
      4,
      null,
    ]);
  });

  it('is free again only when the front-end took the response, not when the request was read', () => {
    const ring = createRing<number, number>(1);
    putRequest(ring, 7);
    pushRequests(ring);
    takeRequest(ring);
    expect(freeRequests(ring)).toBe(0);
    putResponse(ring, -7);
    pushResponses(ring);
    expect(freeRequests(ring)).toBe(0);
    expect(takeResponse(ring)).toBe(-7);
    expect(freeRequests(ring)).toBe(1);
  });

  it('notifies for the first request of a batch that a sleeping back-end waits for, and not while it is awake', () => {
    const ring = createRing<number, number>(8);
    putRequest(ring, 1);
    expect(pushRequests(ring)).toBe(true);
    putRequest(ring, 2);
    // The back-end has not set its event again: it is awake and will look.
    expect(pushRequests(ring)).toBe(false);
    takeRequest(ring);
    takeRequest(ring);
    expect(finalCheckForRequests(ring)).toBe(false);
    putRequest(ring, 3);
    putRequest(ring, 4);
    expect(pushRequests(ring)).toBe(true);
  });

  it('does not sleep when a request came before its event was set', () => {
    const ring = createRing<number, number>(8);
    putRequest(ring, 1);
    pushRequests(ring);
    expect(finalCheckForRequests(ring)).toBe(true);
  });

  it('knows an ill-behaved front-end, and takes no more than the ring has', () => {
    const ring = createRing<number, number>(4);
    ring.reqProd = 5;
    expect(hasRequestOverflow(ring)).toBe(true);
    expect(unconsumedRequests(ring)).toBe(4);
    ring.reqProd = 4;
    expect(hasRequestOverflow(ring)).toBe(false);
  });

  it('knows an ill-behaved back-end', () => {
    const ring = createRing<number, number>(4);
    ring.rspProd = 5;
    expect(hasResponseOverflow(ring)).toBe(true);
  });

  it('refuses, as a defect, an answer to what was never taken', () => {
    expect(() => putResponse(createRing<number, number>(4), 1)).toThrow('answers only requests');
  });

  it('goes on over the wrap of its 32-bit indices', () => {
    const ring = createRing<number, number>(4, 2 ** 32 - 2);
    for (let id = 0; id < 10; id += 1) {
      expect(putRequest(ring, id)).toBe(true);
      expect(pushRequests(ring)).toBe(true);
      expect(takeRequest(ring)).toBe(id);
      expect(finalCheckForRequests(ring)).toBe(false);
      putResponse(ring, -id);
      expect(pushResponses(ring)).toBe(true);
      expect(takeResponse(ring)).toBe(-id);
      expect(finalCheckForResponses(ring)).toBe(false);
    }
    expect(ring.reqProd).toBe(8);
  });

  it('answers out of order: what comes back names its request itself', () => {
    const ring = createRing<Entry, Entry>(4);
    for (const ask of [1, 2, 3]) putRequest(ring, { ask });
    pushRequests(ring);
    const asked = [takeRequest(ring), takeRequest(ring), takeRequest(ring)].map((entry) =>
      entry !== null && 'ask' in entry ? entry.ask : NaN,
    );
    for (const answer of asked.reverse()) putResponse(ring, { answer });
    pushResponses(ring);
    expect([takeResponse(ring), takeResponse(ring), takeResponse(ring)]).toEqual([
      { answer: 3 },
      { answer: 2 },
      { answer: 1 },
    ]);
  });
});

/**
 * Both ends as programs of atomic steps, the way the drivers of Linux use the ring: every read or write of the shared page is a step of its own, so that
 * each order of the two ends' accesses is one path of the exploration. The macros are taken apart here by hand, from public/io/ring.h; that the lib's
 * functions are those macros is what the tests above and the comparison below say.
 */
interface World {
  ring: Ring<number, number>;
  toSend: number;
  /** Program counters. */
  front: 'produce' | 'publish' | 'check' | 'consume' | 'arm' | 'recheck' | 'asleep';
  back: 'consume' | 'publish' | 'check' | 'arm' | 'recheck' | 'asleep';
  frontOld: number;
  backOld: number;
  frontPending: boolean;
  backPending: boolean;
  answered: number;
  got: number;
}

const copy = (world: World): World => ({ ...world, ring: { ...world.ring, slots: [...world.ring.slots] } });
const before = (a: number, b: number): number => (b - a) >>> 0;

const stepFront = (from: World): World[] => {
  const world = copy(from);
  const { ring } = world;
  switch (world.front) {
    case 'produce': {
      // It may publish what it has at any time, so batches of all sizes occur.
      const next: World[] = [];
      const room = ring.size - before(ring.rspCons, ring.reqProdPvt);
      if (world.toSend > 0 && room > 0) {
        const filled = copy(world);
        filled.ring.slots[filled.ring.reqProdPvt % ring.size] = filled.toSend;
        filled.ring.reqProdPvt = (filled.ring.reqProdPvt + 1) >>> 0;
        filled.toSend -= 1;
        next.push(filled);
      }
      next.push({ ...copy(world), front: 'publish' });
      return next;
    }
    case 'publish':
      world.frontOld = ring.reqProd;
      ring.reqProd = ring.reqProdPvt;
      world.front = 'check';
      return [world];
    case 'check':
      if (before(ring.reqEvent, ring.reqProd) < before(world.frontOld, ring.reqProd)) world.backPending = true;
      world.front = 'consume';
      return [world];
    case 'consume': {
      if (ring.rspProd === ring.rspCons) return [{ ...world, front: 'arm' }];
      const slot = ring.rspCons % ring.size;
      if ((ring.slots[slot] ?? 0) >= 0) throw new Error('the front-end found no response where it looked');
      ring.rspCons = (ring.rspCons + 1) >>> 0;
      world.got += 1;
      return [world];
    }
    case 'arm':
      ring.rspEvent = (ring.rspCons + 1) >>> 0;
      world.front = 'recheck';
      return [world];
    case 'recheck': {
      if (ring.rspProd !== ring.rspCons) return [{ ...world, front: 'consume' }];
      const canSend = world.toSend > 0 && before(ring.rspCons, ring.reqProdPvt) < ring.size;
      return [{ ...world, front: canSend ? 'produce' : 'asleep' }];
    }
    case 'asleep':
      return world.frontPending ? [{ ...world, frontPending: false, front: 'consume' }] : [];
  }
};

const stepBack = (from: World): World[] => {
  const world = copy(from);
  const { ring } = world;
  switch (world.back) {
    case 'consume': {
      const next: World[] = [];
      if (ring.reqProd !== ring.reqCons) {
        const taken = copy(world);
        if ((taken.ring.slots[taken.ring.reqCons % ring.size] ?? 0) <= 0) throw new Error('no request, or one twice');
        taken.ring.reqCons = (taken.ring.reqCons + 1) >>> 0;
        next.push(taken);
      }
      if (ring.rspProdPvt !== ring.reqCons) {
        const answers = copy(world);
        const slot = answers.ring.rspProdPvt % ring.size;
        answers.ring.slots[slot] = -Math.abs(answers.ring.slots[slot] ?? 0);
        answers.ring.rspProdPvt = (answers.ring.rspProdPvt + 1) >>> 0;
        answers.answered += 1;
        next.push(answers);
      }
      if (ring.rspProdPvt !== ring.rspProd) next.push({ ...copy(world), back: 'publish' });
      if (next.length === 0) next.push({ ...world, back: 'arm' });
      return next;
    }
    case 'publish':
      world.backOld = ring.rspProd;
      ring.rspProd = ring.rspProdPvt;
      world.back = 'check';
      return [world];
    case 'check':
      if (before(ring.rspEvent, ring.rspProd) < before(world.backOld, ring.rspProd)) world.frontPending = true;
      world.back = 'consume';
      return [world];
    case 'arm':
      ring.reqEvent = (ring.reqCons + 1) >>> 0;
      world.back = 'recheck';
      return [world];
    case 'recheck':
      return [{ ...world, back: ring.reqProd === ring.reqCons ? 'asleep' : 'consume' }];
    case 'asleep':
      return world.backPending ? [{ ...world, backPending: false, back: 'consume' }] : [];
  }
};

interface Ends {
  front: (world: World) => World[];
  back: (world: World) => World[];
}

const byAccesses: Ends = { front: stepFront, back: stepBack };

/** The same two ends, by the functions of the ring: a whole function is one step. */
const byFunctions: Ends = {
  front: (from) => {
    const world = copy(from);
    const { ring } = world;
    if (world.front === 'asleep')
      return world.frontPending ? [{ ...world, frontPending: false, front: 'consume' }] : [];
    const next: World[] = [];
    const filled = copy(world);
    if (world.toSend > 0 && putRequest(filled.ring, world.toSend)) next.push({ ...filled, toSend: world.toSend - 1 });
    if (ring.reqProdPvt !== ring.reqProd) {
      const pushed = copy(world);
      if (pushRequests(pushed.ring)) pushed.backPending = true;
      return [...next, pushed];
    }
    const taken = copy(world);
    if (takeResponse(taken.ring) !== null) next.push({ ...taken, got: world.got + 1 });
    if (next.length > 0) return next;
    return finalCheckForResponses(ring) ? [world] : [{ ...world, front: 'asleep' }];
  },
  back: (from) => {
    const world = copy(from);
    const { ring } = world;
    if (world.back === 'asleep') return world.backPending ? [{ ...world, backPending: false, back: 'consume' }] : [];
    const next: World[] = [];
    const taken = copy(world);
    if (takeRequest(taken.ring) !== null) next.push(taken);
    if (ring.rspProdPvt !== ring.reqCons) {
      const answers = copy(world);
      putResponse(answers.ring, -1);
      next.push({ ...answers, answered: world.answered + 1 });
    }
    if (ring.rspProdPvt !== ring.rspProd) {
      const pushed = copy(world);
      if (pushResponses(pushed.ring)) pushed.frontPending = true;
      next.push(pushed);
    }
    if (next.length > 0) return next;
    return finalCheckForRequests(ring) ? [world] : [{ ...world, back: 'asleep' }];
  },
};

const explore = (
  ends: Ends,
  { size, requests, start }: { size: number; requests: number; start: number },
): { states: number; finished: number } => {
  const first: World = {
    ring: createRing<number, number>(size, start),
    toSend: requests,
    front: 'produce',
    back: 'asleep',
    frontOld: start,
    backOld: start,
    frontPending: false,
    backPending: false,
    answered: 0,
    got: 0,
  };
  const seen = new Set<string>([JSON.stringify(first)]);
  const stack = [first];
  let finished = 0;
  for (let world = stack.pop(); world !== undefined; world = stack.pop()) {
    const { ring } = world;
    if (before(ring.rspCons, ring.reqProdPvt) > size) throw new Error(`over-full: ${JSON.stringify(world)}`);
    if (world.got > world.answered || world.answered > requests) throw new Error('a request was answered twice');
    const next = [...ends.front(world), ...ends.back(world)];
    if (next.length === 0) {
      // Both sleep and nobody will wake them: all must be done.
      if (world.toSend > 0 || world.answered < requests || world.got < requests)
        throw new Error(`a wake-up was lost: ${JSON.stringify(world)}`);
      finished += 1;
    }
    for (const state of next) {
      const key = JSON.stringify(state);
      if (seen.has(key)) continue;
      seen.add(key);
      stack.push(state);
    }
  }
  return { states: seen.size, finished };
};

const sleepAtOnce = (worlds: World[]): World[] =>
  worlds.map((world) => ({
    ...world,
    front: world.front === 'recheck' && world.toSend === 0 ? 'asleep' : world.front,
    back: world.back === 'recheck' ? 'asleep' : world.back,
  }));

describe('all interleavings of both ends', () => {
  it.each([
    { ends: byAccesses, by: 'accesses', size: 1, requests: 3, start: 0 },
    { ends: byAccesses, by: 'accesses', size: 2, requests: 4, start: 0 },
    { ends: byAccesses, by: 'accesses', size: 2, requests: 4, start: 2 ** 32 - 2 },
    { ends: byAccesses, by: 'accesses', size: 4, requests: 5, start: 2 ** 32 - 3 },
    { ends: byFunctions, by: 'functions', size: 1, requests: 3, start: 0 },
    { ends: byFunctions, by: 'functions', size: 2, requests: 5, start: 2 ** 32 - 2 },
    { ends: byFunctions, by: 'functions', size: 4, requests: 6, start: 2 ** 32 - 3 },
  ])('lose no wake-up and no request: by $by, $size entries, $requests requests, from index $start', (example) => {
    const { states, finished } = explore(example.ends, example);
    expect(states).toBeGreaterThan(50);
    expect(finished).toBeGreaterThan(0);
  });

  it.each([
    ['a back-end', { ...byAccesses, back: (world: World) => sleepAtOnce(stepBack(world)) }],
    ['a front-end', { ...byAccesses, front: (world: World) => sleepAtOnce(stepFront(world)) }],
  ])('find that %s which does not look again before it sleeps loses a wake-up', (_who, ends) => {
    expect(() => explore(ends, { size: 2, requests: 3, start: 0 })).toThrow('a wake-up was lost');
  });
});

describe('a random history through the functions of the ring', () => {
  it('answers every request once, in a bounded ring, with wake-ups only by notification', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8),
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.integer(),
        (size, start, seed) => {
          const random = randomFrom(seed);
          const ring = createRing<number, number>(size, start);
          let [sent, answered, frontAwake, backAwake] = [0, 0, true, false];
          const held: number[] = [];
          const total = 40;
          let steps = 0;
          const got: number[] = [];
          while (got.length < total) {
            steps += 1;
            expect(frontAwake || backAwake, 'somebody is awake until all is done').toBe(true);
            expect(steps).toBeLessThan(10_000);
            if (frontAwake && (!backAwake || random.chance(0.5))) {
              while (sent < total && random.chance(0.7) && putRequest(ring, sent + 1)) sent += 1;
              if (pushRequests(ring)) backAwake = true;
              for (let answer = takeResponse(ring); answer !== null; answer = takeResponse(ring)) got.push(answer);
              frontAwake = finalCheckForResponses(ring) || (sent < total && !isRingFull(ring));
            } else if (backAwake) {
              for (let ask = takeRequest(ring); ask !== null; ask = takeRequest(ring)) held.push(ask);
              while (held.length > 0 && random.chance(0.8)) {
                putResponse(ring, held.splice(random.below(held.length), 1)[0] ?? NaN);
                answered += 1;
              }
              if (pushResponses(ring)) frontAwake = true;
              backAwake = finalCheckForRequests(ring) || held.length > 0;
            }
          }
          expect(answered).toBe(total);
          expect([...got].sort((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, index) => index + 1));
        },
      ),
    );
  });
});

describe('counts moved at once', () => {
  it('fill the ring behind a stalled back-end and then push back', () => {
    const ring = createRingIndices(32);
    expect(advanceRing(ring, { requests: 20, responses: 0 })).toEqual({ accepted: 20, heldBack: 0, answered: 0 });
    expect(advanceRing(ring, { requests: 20, responses: 0 })).toEqual({ accepted: 12, heldBack: 8, answered: 0 });
    expect(isRingFull(ring)).toBe(true);
    expect(advanceRing(ring, { requests: 5, responses: 0 })).toEqual({ accepted: 0, heldBack: 5, answered: 0 });
    expect(requestsInFlight(ring)).toBe(32);
    expect(advanceRing(ring, { requests: 8, responses: 100 })).toEqual({ accepted: 8, heldBack: 0, answered: 40 });
    expect(requestsInFlight(ring)).toBe(0);
  });

  it('are the counts that single steps give, and conserve requests', () => {
    const moves = fc.array(fc.record({ requests: fc.nat(50), responses: fc.nat(50) }), { maxLength: 20 });
    fc.assert(
      fc.property(fc.constantFrom(1, 4, 32), moves, (size, offers) => {
        const whole = createRingIndices(size);
        let [accepted, answered] = [0, 0];
        const single = createRing<number, number>(size);
        for (const offer of offers) {
          const moved = advanceRing(whole, offer);
          accepted += moved.accepted;
          answered += moved.answered;
          expect(moved.accepted + moved.heldBack).toBe(offer.requests);
          expect(requestsInFlight(whole)).toBe(accepted - answered);
          expect(requestsInFlight(whole)).toBeLessThanOrEqual(size);
          // The same by single steps: the back-end answers whenever it may and there is something.
          let [toAsk, toAnswer, stuck] = [offer.requests, offer.responses, false];
          while (!stuck) {
            stuck = true;
            if (toAsk > 0 && putRequest(single, 1)) [toAsk, stuck] = [toAsk - 1, false];
            pushRequests(single);
            if (toAnswer > 0 && takeRequest(single) !== null) {
              putResponse(single, 1);
              pushResponses(single);
              takeResponse(single);
              [toAnswer, stuck] = [toAnswer - 1, false];
            }
          }
          expect(requestsInFlight(single)).toBe(requestsInFlight(whole));
          expect(single.reqProd).toBe(whole.reqProd);
        }
      }),
    );
  });
});
