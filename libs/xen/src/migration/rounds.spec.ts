import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONVERGENCE_SCHEDULES, type PrecopyPolicy } from './policies.js';
import {
  beginTransfer,
  dirtiedByTransfer,
  dirtiedPages,
  downtimeUs,
  forecastPrecopy,
  linkPagesPerSecond,
  retimed,
  sendingUs,
  sentBy,
  shareOfLink,
  transferEndsAtUs,
} from './rounds.js';

const GIBIBYTE_PAGES = 262_144;
const TEN_GIGABITS = 305_176;

/** The reference's table of golden vectors: 1 GiB over 10 Gb/s. */
const GOLDEN = [
  {
    ratio: 0.1,
    v2: [262_144, 26_214, 2_621, 262, 26],
    v2Final: 2,
    v2Ms: 0.01,
    legacy: { sends: 5, factor: 1.11, final: 2 },
  },
  {
    ratio: 0.3,
    v2: [262_144, 78_643, 23_592, 7_077, 2_123],
    v2Final: 636,
    v2Ms: 2.1,
    legacy: { sends: 9, factor: 1.43, final: 5 },
  },
  {
    ratio: 0.5,
    v2: [262_144, 131_072, 65_536, 32_768, 16_384],
    v2Final: 8_192,
    v2Ms: 26.8,
    legacy: { sends: 14, factor: 2.0, final: 16 },
  },
  {
    ratio: 0.8,
    v2: [262_144, 209_715, 167_772, 134_217, 107_373],
    v2Final: 85_898,
    v2Ms: 281,
    legacy: { sends: 5, factor: 3.36, final: 85_898 },
  },
  {
    ratio: 0.95,
    v2: [262_144, 249_036, 236_584, 224_754, 213_516],
    v2Final: 202_840,
    v2Ms: 665,
    legacy: { sends: 4, factor: 3.71, final: 213_516 },
  },
];

const busy = (ratio: number, workingSetPages = GIBIBYTE_PAGES) => ({
  pagesPerSecond: Math.round(TEN_GIGABITS * ratio),
  workingSetPages,
});

const forecast = (policy: PrecopyPolicy, ratio: number, workingSetPages?: number) =>
  forecastPrecopy({
    policy,
    memoryPages: GIBIBYTE_PAGES,
    linkPagesPerSecond: TEN_GIGABITS,
    dirty: busy(ratio, workingSetPages),
  });

describe('pre-copy of Xen', () => {
  it.each(GOLDEN)('migration v2 sends the golden rounds at a dirty ratio of $ratio', ({ ratio, v2, v2Final, v2Ms }) => {
    const { rounds, outcome, finalPages } = forecast({ name: 'xen-v2' }, ratio);
    expect(rounds.map(({ pages }) => pages)).toEqual(v2);
    expect(outcome).toBe('stopAndCopy');
    expect(finalPages).toBe(v2Final);
    const copyMs = sendingUs(finalPages, TEN_GIGABITS) / 1000;
    expect(Math.abs(copyMs - v2Ms)).toBeLessThanOrEqual(v2Ms < 1 ? 0.005 : v2Ms < 100 ? 0.05 : 0.5);
  });

  it.each(GOLDEN)('the legacy migration sends the golden rounds at a dirty ratio of $ratio', ({ ratio, legacy }) => {
    const { rounds, finalPages } = forecast({ name: 'xen-legacy' }, ratio);
    expect(rounds).toHaveLength(legacy.sends);
    expect(finalPages).toBe(legacy.final);
    const live = rounds.reduce((sum, { pages }) => sum + pages, 0);
    expect(Number((live / GIBIBYTE_PAGES).toFixed(2))).toBe(legacy.factor);
  });

  it('the legacy migration stops after 29 rounds of a guest that writes to a small set for ever', () => {
    const { rounds, finalPages } = forecast({ name: 'xen-legacy' }, 1.5, 100);
    expect(rounds).toHaveLength(29);
    expect(finalPages).toBe(100);
  });

  it('sends a guest that writes nothing in one round', () => {
    const { rounds, finalPages } = forecast({ name: 'xen-v2' }, 0);
    expect(rounds).toHaveLength(1);
    expect(finalPages).toBe(0);
  });

  it('never sends more than the writable working set after the first round', () => {
    const { rounds, finalPages } = forecastPrecopy({
      policy: { name: 'xen-v2' },
      memoryPages: GIBIBYTE_PAGES,
      linkPagesPerSecond: 100_000,
      dirty: { pagesPerSecond: 95_000, workingSetPages: 5_000 },
    });
    expect(rounds.map(({ pages }) => pages)).toEqual([262_144, 5_000, 4_750, 4_512, 4_286]);
    expect(finalPages).toBe(4_071);
  });

  it('lets usual guests stand still for 60 to 300 ms', () => {
    for (const ratio of [0.1, 0.3, 0.5, 0.6, 0.7, 0.75]) {
      const { downtimeUs: still } = forecast({ name: 'xen-v2' }, ratio);
      expect(still).toBeGreaterThanOrEqual(60_000);
      expect(still).toBeLessThanOrEqual(300_000);
    }
  });

  it('ends like a plain reading of the two loops, for any guest and link', () => {
    // Xen's loops as a reader would simulate them with a calculator: fractions of time, no policy objects.
    const readLoop = (policy: 'xen-v2' | 'xen-legacy', numbers: readonly [number, number, number, number]) => {
      const [memory, link, rate, set] = numbers;
      const writes = (sent: number): number =>
        Math.min(memory, set, Number((BigInt(sent) * BigInt(rate)) / BigInt(link)));
      const sends: number[] = [];
      let dirty = memory;
      for (let total = 0; ;) {
        const few = policy === 'xen-v2' && sends.length > 0 && dirty < 50;
        if (few && dirty === 0) return { sends, final: 0 };
        sends.push(dirty);
        total += dirty;
        const sent = dirty;
        dirty = writes(sent);
        const end =
          policy === 'xen-v2' ? few || sends.length === 5 : sent < 50 || sends.length === 29 || total > 3 * memory;
        if (end) return { sends, final: dirty };
      }
    };
    fc.assert(
      fc.property(
        fc.constantFrom('xen-v2' as const, 'xen-legacy' as const),
        fc.tuple(
          fc.integer({ min: 1, max: 300_000_000 }),
          fc.integer({ min: 1, max: 4_000_000 }),
          fc.integer({ min: 0, max: 8_000_000 }),
          fc.integer({ min: 0, max: 300_000_000 }),
        ),
        (name, numbers) => {
          const [memoryPages, link, pagesPerSecond, workingSetPages] = numbers;
          const dirty = { pagesPerSecond, workingSetPages };
          const got = forecastPrecopy({ policy: { name }, memoryPages, linkPagesPerSecond: link, dirty });
          const { sends, final } = readLoop(name, numbers);
          expect(got.rounds.map(({ pages }) => pages)).toEqual(sends);
          expect(got.finalPages).toBe(final);
        },
      ),
    );
  });
});

describe('convergence in the style of oVirt', () => {
  const schedule = CONVERGENCE_SCHEDULES['minimal-downtime'];
  const without = { ...schedule, autoConverge: false };

  it('stops the guest as soon as the rest fits into the first allowed downtime', () => {
    const { rounds, outcome, finalPages } = forecast({ name: 'convergence', schedule: without }, 0.3);
    // 100 ms at 305,176 pages a second are 30,517 pages: 78,643 are too many, 23,592 are not.
    expect(rounds.map(({ pages }) => pages)).toEqual([262_144, 78_643]);
    expect(outcome).toBe('stopAndCopy');
    expect(finalPages).toBe(23_592);
  });

  it('allows longer standstills round by round, and then gives up', () => {
    const { rounds, outcome, downtimeUs: still } = forecast({ name: 'convergence', schedule: without }, 1.2);
    // 150 ms after the 2nd round, 200 after the 3rd, 300, 400 after the 5th, 500 after the 7th, abort after the 8th.
    expect(rounds).toHaveLength(8);
    expect(outcome).toBe('abort');
    expect(still).toBe(0);
  });

  it('suspends the workload for up to 5 s before it gives up', () => {
    const policy = {
      name: 'convergence' as const,
      schedule: { ...CONVERGENCE_SCHEDULES['suspend-workload-if-needed'], autoConverge: false },
    };
    const { rounds, outcome, finalPages } = forecast(policy, 1.2);
    expect(rounds).toHaveLength(8);
    expect(outcome).toBe('stopAndCopy');
    expect(finalPages).toBe(GIBIBYTE_PAGES);
  });

  it('turns to post-copy after two raised downtimes', () => {
    const policy = {
      name: 'convergence' as const,
      schedule: { ...CONVERGENCE_SCHEDULES['post-copy'], autoConverge: false },
    };
    const { rounds, outcome, downtimeUs: still } = forecast(policy, 1.2);
    expect(rounds).toHaveLength(4);
    expect(outcome).toBe('postcopy');
    expect(still).toBe(downtimeUs(0, TEN_GIGABITS));
  });

  it('throttles a guest that dirties more than half of what is sent, by 20 % and then 10 % more each second round', () => {
    const slowed = forecast({ name: 'convergence', schedule }, 1.2);
    expect(slowed.throttlePercent).toBeGreaterThanOrEqual(20);
    expect(slowed.throttlePercent % 10).toBe(0);
    // 1.2 times 262,144 are 314,572 pages; less 20 % they are 251,657.
    expect(slowed.rounds.slice(0, 3).map(({ dirtied }) => dirtied)).toEqual([262_144, 262_144, 251_657]);
  });
});

describe('a transfer over a shared link', () => {
  const rate = busy(0.5);
  const guest = { profile: rate, memoryPages: GIBIBYTE_PAGES };

  it('shares a 10 Gb/s link evenly', () => {
    expect(linkPagesPerSecond(10_000_000_000)).toBe(305_175);
    expect(shareOfLink(305_176, 2)).toBe(152_588);
    expect(shareOfLink(3, 8)).toBe(1);
  });

  it('takes as long, and lets as much become dirty, as its pieces at their own speeds', () => {
    const begun = beginTransfer(100_000, 100_000, 0);
    const slower = retimed(begun, 50_000, 400_000, guest);
    expect(sentBy(slower, 400_000)).toBe(40_000);
    expect(transferEndsAtUs(slower)).toBe(1_600_000);
    // 0.4 s and 1.2 s of 152,588 pages a second.
    expect(dirtiedByTransfer(slower, guest)).toBe(61_035 + 183_105);
  });

  it('never counts more dirty pages than the working set has', () => {
    const small = { profile: { ...rate, workingSetPages: 1_000 }, memoryPages: GIBIBYTE_PAGES };
    const slower = retimed(beginTransfer(100_000, 100_000, 0), 50_000, 400_000, small);
    expect(dirtiedByTransfer(slower, small)).toBe(1_000);
  });

  it('adds up the stretches of a guest that changes its behaviour', () => {
    const stretches = [
      { untilUs: 1_000_000, rate: { pagesPerSecond: 1_000, workingSetPages: 400 } },
      { untilUs: 2_000_000, rate: { pagesPerSecond: 10, workingSetPages: 400 } },
      { untilUs: 0, rate: { pagesPerSecond: 2_000, workingSetPages: 5_000 } },
    ];
    const sending = { fromUs: 500_000, pages: 2_000, pagesPerSecond: 1_000 };
    expect(dirtiedPages(stretches, 100_000, sending)).toBe(400 + 10 + 1_000);
    expect(dirtiedPages(stretches, 800, sending)).toBe(800);
  });
});
