import type { PlacementRequest } from '@xenolith/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HostSearch } from './choice.js';
import { isNearer, type Refusal } from './class-verdicts.js';
import { FILTERS, refuses, type Wish } from './filters.js';
import { hostFacts, TestFleet } from './fleet.spec-fixture.js';
import { GIB } from './scheduler.spec-fixture.js';
import { SlotJournal } from './slot-journal.js';

const GPU = 'example.com/gpu';
/** More than are all looked at, so that the indexes are asked. */
const HOSTS = 140;
const names = Array.from({ length: HOSTS }, (_, number) => `host-${number}`);

type Step =
  | { readonly do: 'put'; readonly host: number; readonly gib: number; readonly kind: number; readonly open: boolean }
  | { readonly do: 'use'; readonly host: number; readonly gib: number; readonly vcpus: number; readonly cell: number }
  | { readonly do: 'remove'; readonly host: number }
  | { readonly do: 'machine'; readonly host: number; readonly app: number }
  | { readonly do: 'ask'; readonly asked: number; readonly rule: number; readonly seed: number };

const host = fc.nat(HOSTS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    ...{ do: fc.constant('put' as const), host, gib: fc.integer({ min: 1, max: 8 }) },
    ...{ kind: fc.nat(5), open: fc.boolean() },
  }),
  fc.record({
    ...{ do: fc.constant('use' as const), host, gib: fc.integer({ min: -2, max: 5 }) },
    ...{ vcpus: fc.integer({ min: -4, max: 12 }), cell: fc.nat(1) },
  }),
  fc.record({ do: fc.constant('remove' as const), host }),
  fc.record({ do: fc.constant('machine' as const), host, app: fc.nat(2) }),
  fc.record({ do: fc.constant('ask' as const), asked: fc.nat(6), rule: fc.nat(9), seed: fc.nat(1_000) }),
);

const REQUESTS: readonly Partial<PlacementRequest>[] = [
  { memoryBytes: 6 * GIB },
  { memoryBytes: 7 * GIB, vcpus: 2 },
  { vcpus: 14 },
  { memoryBytes: 4 * GIB, numa: 'single-numa-node' },
  { resources: { [GPU]: 2 } },
  { hostSelector: { zone: 'z1' }, memoryBytes: 5 * GIB },
  { cluster: 'other' },
];

const term = (app: number, topologyKey: string) => ({ labelSelector: { matchLabels: { app: `${app}` } }, topologyKey });

/** What a request asks beside what its class does. */
const RULES: readonly Partial<PlacementRequest>[] = [
  { host: 'host-3' },
  { exceptHost: 'host-5' },
  ...['kubernetes.io/hostname', 'zone'].flatMap((place) => [
    { affinity: { virtualMachineAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term(0, place)] } } },
    { affinity: { virtualMachineAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term(1, place)] } } },
  ]),
];

const put = (fleet: TestFleet, { host, gib, kind, open }: Extract<Step, { do: 'put' }>): void =>
  fleet.put(
    hostFacts(names[host] ?? '', {
      ...{ memoryBytes: gib * GIB, unschedulable: !open, labels: { zone: `z${kind % 3}` } },
      ...(kind === 1 ? { taints: [{ key: 'db', value: '', effect: 'NoSchedule' as const }] } : {}),
      ...(kind === 2 ? { ready: false } : {}),
      ...(kind === 3 ? { maintenance: true } : {}),
      ...(kind > 3 ? { resources: { [GPU]: kind - 3 } } : {}),
      cells: [0, 1].map((cell) => ({ memoryBytes: (gib * GIB) / 2, vcpus: 8, pin: `${cell}` })),
    }),
  );

const wishFor = (fleet: TestFleet, { asked, rule }: Extract<Step, { do: 'ask' }>): Wish => {
  const more: Partial<Wish>[] = [
    { contended: new Set([1, 2, 3]) },
    { antiAffine: new Set([4, 5, 6]) },
    {
      availability: {
        refusal: (slot) => (slot % 2 === 0 ? null : { lost: [], verdict: 'unknown', shortage: { message: '' } }),
      },
    },
  ];
  return fleet.wish({ ...REQUESTS[asked], ...RULES[rule] }, more[rule - RULES.length]);
};

/** Every host asked by every filter in turn. */
const plainly = (fleet: TestFleet, wish: Wish): Refusal & { readonly fits: readonly number[] } => {
  const { outlook, table } = fleet.fleet;
  const [refused, example] = [new Int32Array(FILTERS.length), new Int32Array(FILTERS.length).fill(-1)];
  const present = names.flatMap((_, slot) => (table.present[slot] === 1 ? [slot] : []));
  const fits = present.filter((slot) => {
    const filter = FILTERS.findIndex((each) => refuses(each, outlook, slot, wish));
    if (filter < 0) return true;
    refused[filter] = (refused[filter] ?? 0) + 1;
    const shown = example[filter] ?? -1;
    if (shown < 0 || isNearer(table, filter, slot, shown)) example[filter] = slot;
    return false;
  });
  return { considered: present.length, refused, example, fits };
};

const check = (fleet: TestFleet, step: Extract<Step, { do: 'ask' }>): void => {
  const { search, outlook } = fleet.fleet;
  const wish = wishFor(fleet, step);
  const { fits, ...plain } = plainly(fleet, wish);
  for (const policy of ['balance', 'density'] as const) {
    const asked = { policy, seed: step.seed, nowMs: 0 };
    const found = search.choose(wish, asked);
    expect(found).toEqual(new HostSearch(outlook).choose(wish, asked));
    if (fits.length === 0) expect(found).toBeNull();
    else expect(fits).toContain(found?.slot);
  }
  expect(search.refusal(wish)).toEqual(plain);
};

const take = (fleet: TestFleet, step: Step, number: number): void => {
  const name = names[step.do === 'ask' ? 0 : step.host] ?? '';
  switch (step.do) {
    case 'put': {
      put(fleet, step);
      return;
    }
    case 'use':
      if (fleet.slot(name) >= 0) fleet.use(name, step.gib * GIB, step.vcpus, { cell: step.cell });
      return;
    case 'remove': {
      fleet.table.remove(`uid-${name}`);
      return;
    }
    case 'machine':
      if (fleet.slot(name) >= 0) fleet.machine(`machine-${number}`, name, { labels: { app: `${step.app}` } });
      return;
    case 'ask': {
      check(fleet, step);
      return;
    }
  }
};

describe('verdicts that are kept for a class', () => {
  it('say what every filter says of every host, whatever changes between two questions', () => {
    const property = fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), fc.boolean(), (steps, full) => {
      const fleet = new TestFleet(...names.map((name) => hostFacts(name)));
      if (full) for (const name of names) fleet.use(name, 5 * GIB, 10, { cell: 0 });
      for (const [number, each] of steps.entries()) take(fleet, each, number);
    });
    fc.assert(property, { numRuns: 150 });
  });

  it('show the host that has most, though the one that was shown has less than before like the next', () => {
    const fleet = new TestFleet(hostFacts('a'), hostFacts('b'), hostFacts('c'));
    const asked = { memoryBytes: 9 * GIB };
    const shown = (): string => fleet.explain(asked).refused[0]?.example ?? '';
    expect(shown()).toBe('a');
    fleet.use('b', GIB);
    fleet.use('a', 5 * GIB);
    expect(shown()).toBe('c');
  });

  it('are made anew once more has changed than is kept', () => {
    const fleet = new TestFleet(hostFacts('a'), hostFacts('b'));
    expect(fleet.whyNot({ memoryBytes: 9 * GIB })).toBe('0/2 hosts: 2 lack memory (need 9Gi, most free 8Gi on a)');
    fleet.use('a', 3 * GIB);
    for (let change = 0; change < 2 ** 16; change += 1) fleet.use('b', change % 2 === 0 ? 4 * GIB : -4 * GIB);
    expect(fleet.whyNot({ memoryBytes: 9 * GIB })).toBe('0/2 hosts: 2 lack memory (need 9Gi, most free 8Gi on b)');
  });
});

describe('the journal of slots', () => {
  it('knows the newest changes, and none of before it began', () => {
    const journal = new SlotJournal(10);
    journal.note(3);
    journal.note(4);
    const seen: number[] = [];
    journal.since(11, (slot) => seen.push(slot));
    expect([seen, journal.revision, journal.knows(10), journal.knows(9)]).toEqual([[4], 12, true, false]);
    for (let change = 0; change < 2 ** 16; change += 1) journal.note(change);
    expect([journal.knows(11), journal.knows(12)]).toEqual([false, true]);
  });
});
