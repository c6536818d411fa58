import { describe, expect, it } from 'vitest';
import { COMPARED } from './choice.js';
import { hostFacts as host, TestFleet } from './fleet.spec-fixture.js';
import { GIB } from './scheduler.spec-fixture.js';

describe('choosing a host', () => {
  it('takes the least loaded one to balance, the fullest that fits for density', () => {
    const fleet = new TestFleet(host('a'), host('b'), host('c'));
    fleet.use('a', 4 * GIB, 4);
    fleet.use('b', 2 * GIB, 2);
    expect(fleet.choose({})).toBe('c');
    expect(fleet.choose({}, 'density')).toBe('a');
    expect(fleet.choose({ memoryBytes: 5 * GIB }, 'density')).toBe('b');
  });

  it('breaks ties by the seed, and leans away from hosts that are offered to others just now', () => {
    const fleet = new TestFleet(host('a'), host('b'));
    expect([0, 1].map((seed) => fleet.choose({}, 'balance', seed))).toEqual(['a', 'b']);
    fleet.table.offer(0, { memoryBytes: GIB, vcpus: 1 }, 1);
    expect(fleet.choose({})).toBe('b');
  });

  it('looks at tens of hosts of many, and at all of them before it says no', () => {
    const fleet = new TestFleet(...Array.from({ length: 2_000 }, (_, number) => host(`host-${number}`)));
    expect(fleet.choice({}, 'density')?.looked).toBeLessThanOrEqual(128);
    for (let number = 0; number < 2_000; number += 1) fleet.use(`host-${number}`, GIB);
    for (const policy of ['balance', 'density'] as const)
      expect(fleet.choice({}, policy)?.looked).toBeLessThanOrEqual(2 * COMPARED[policy]);
    fleet.put(host('large', { memoryBytes: 8 * GIB + 1 }));
    expect(fleet.choose({ memoryBytes: 8 * GIB + 1 })).toBe('large');
    fleet.put(host('odd', { labels: { 'kubernetes.io/hostname': 'odd', disk: 'nvme' } }));
    expect(fleet.choose({ hostSelector: { disk: 'nvme' } })).toBe('odd');
    expect(fleet.choose({ hostSelector: { 'kubernetes.io/hostname': 'host-1234' } })).toBe('host-1234');
  });

  it('reuses the slot of a host that is gone once nothing is placed on it', () => {
    const fleet = new TestFleet(host('a'));
    fleet.use('a', GIB);
    fleet.table.remove('uid-a');
    fleet.put(host('b'));
    expect(fleet.table.length).toBe(2);
    fleet.table.use('uid-a', { memoryBytes: GIB, vcpus: 1 }, -1);
    fleet.put(host('c'));
    expect(fleet.table.length).toBe(2);
    expect(fleet.choose({ host: 'c' })).toBe('c');
  });
});

describe('a scheduler among several', () => {
  const loaded = (...gib: readonly number[]): TestFleet => {
    const name = (number: number): string => `host-${String(number).padStart(4, '0')}`;
    const fleet = new TestFleet(...gib.map((_, number) => host(name(number), { memoryBytes: 64 * GIB })));
    gib.forEach((used, number) => fleet.use(name(number), used * GIB));
    return fleet;
  };
  const ofShare = (fleet: TestFleet, place: number): ReadonlySet<string> => {
    const { share, table } = fleet.fleet;
    share.divide(place, 2);
    return new Set(table.names.filter((_, slot) => share.has(table.uids[slot] ?? '')));
  };
  const seeds = Array.from({ length: 64 }, (_, seed) => seed);

  it('keeps to its share of the hosts that are about as good', () => {
    const fleet = loaded(...Array.from({ length: 16 }, (_, number) => 1 + (number % 4)));
    const shares = [0, 1].map((place) => ofShare(fleet, place));
    expect([...(shares[0] ?? []), ...(shares[1] ?? [])].sort()).toEqual([...fleet.fleet.table.names].sort());
    for (const policy of ['balance', 'density'] as const)
      for (const [place, own] of shares.entries()) {
        ofShare(fleet, place);
        const chosen = new Set(seeds.map((seed) => fleet.choose({}, policy, seed)));
        expect([...chosen].filter((name) => !own.has(name ?? ''))).toEqual([]);
      }
  });

  it('takes a host of others where that is clearly better, or the only one that fits', () => {
    const fleet = loaded(...Array.from({ length: 16 }, () => 32));
    const [first, second] = [[...ofShare(fleet, 0)], [...ofShare(fleet, 1)]];
    const other = second[0] ?? '';
    fleet.use(other, -16 * GIB);
    ofShare(fleet, 0);
    expect(fleet.choose({})).toBe(other);
    expect(fleet.choose({ memoryBytes: 40 * GIB })).toBe(other);
    expect(first).toContain(fleet.choose({ exceptHost: other }));
  });
});

describe('levels of scores', () => {
  const rack = (name: string, value: string) => host(name, { labels: { rack: value } });

  it('go by preferred hosts first, then by the rest', () => {
    const fleet = new TestFleet(rack('a', 'r1'), rack('b', 'r2'), rack('c', 'r2'));
    fleet.use('b', 2 * GIB);
    const preference = { matchExpressions: [{ key: 'rack', operator: 'In' as const, values: ['r2'] }] };
    const affinity = {
      hostAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 10, preference }] },
    };
    expect(fleet.choose({ affinity })).toBe('c');
    fleet.use('c', 4 * GIB);
    expect(fleet.choice({ affinity })).toMatchObject({ level: { name: 'balance' }, fitting: 3 });
    expect(fleet.choose({ affinity })).toBe('b');
    expect(fleet.choose({})).toBe('a');
  });

  it('keep away from taints that only advise, and go there when nothing else fits', () => {
    const taints = [{ key: 'old', value: '', effect: 'PreferNoSchedule' as const }];
    const fleet = new TestFleet(host('a', { taints }), host('b'));
    fleet.use('b', 6 * GIB);
    expect(fleet.choice({})).toMatchObject({ level: { name: 'taints' } });
    expect(fleet.choose({})).toBe('b');
    expect(fleet.choose({ tolerations: [{ key: 'old', operator: 'Exists', value: '' }] })).toBe('a');
    expect(fleet.choose({ memoryBytes: 4 * GIB })).toBe('a');
  });

  it('go by liked and disliked machines, as often as there are some', () => {
    const fleet = new TestFleet(host('a'), host('b'), host('c'));
    fleet.machine('web-1', 'a', { labels: { app: 'web' } });
    fleet.machine('web-2', 'b', { labels: { app: 'web' } });
    fleet.machine('web-3', 'b', { labels: { app: 'web' } });
    const term = { labelSelector: { matchLabels: { app: 'web' } }, topologyKey: 'kubernetes.io/hostname' };
    const liked = {
      preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, virtualMachineAffinityTerm: term }],
    };
    expect(fleet.choose({ affinity: { virtualMachineAffinity: liked } })).toBe('b');
    expect(fleet.choose({ affinity: { virtualMachineAntiAffinity: liked } })).toBe('c');
  });

  it('put a machine with those that live as long, once it is known how long they live', () => {
    const fleet = new TestFleet(host('short'), host('long'));
    const { lifetimes } = fleet.fleet;
    const [brief, lasting] = [
      { namespace: 'default', vcpus: 1, memoryBytes: GIB },
      { namespace: 'default', vcpus: 2, memoryBytes: GIB },
    ];
    const hour = 3_600_000;
    const placed = (machine: string, flavour: typeof brief, slot: number): void =>
      lifetimes.placed(machine, { ...flavour, machine, slot, bornAtMs: 0, nowMs: 0 });
    for (let number = 0; number < 20; number += 1) {
      placed(`brief-${number}`, brief, 9);
      placed(`lasting-${number}`, lasting, 9);
    }
    for (let number = 0; number < 20; number += 1) {
      lifetimes.released(`brief-${number}`, hour);
      lifetimes.released(`lasting-${number}`, 1_000 * hour);
    }
    placed('b', brief, fleet.slot('short'));
    placed('l', lasting, fleet.slot('long'));
    expect(fleet.choice({ vcpus: 2 }, 'density')).toMatchObject({
      slot: fleet.slot('long'),
      level: { name: 'lifetime' },
    });
  });

  it('leave what is of most use to the machines that run', () => {
    const fleet = new TestFleet(host('a'), host('b'));
    fleet.use('a', 4 * GIB, 12);
    fleet.use('b', 5 * GIB, 10);
    for (let number = 0; number < 10; number += 1) fleet.fleet.mix.count({ vcpus: 2, memoryBytes: 2 * GIB }, 1);
    // On b one vCPU and 1 GiB fill up what two machines of the mix leave over; on a they take the place of one.
    expect(fleet.choice({ vcpus: 2, memoryBytes: GIB }, 'density')).toMatchObject({
      slot: fleet.slot('b'),
      level: { name: 'fragmentation' },
    });
  });

  it('prefer a host with room on one NUMA node, and reserve that', () => {
    const cell = { memoryBytes: 4 * GIB, vcpus: 8 };
    const cells = [
      { ...cell, pin: '0-1' },
      { ...cell, pin: '2-3' },
    ];
    const fleet = new TestFleet(host('a', { cells }), host('b', { cells }));
    fleet.use('b', 4 * GIB, 1, { cell: 0 });
    fleet.use('b', 2 * GIB, 1, { cell: 1 });
    for (const node of [0, 1]) fleet.use('a', 1.5 * GIB, 1, { cell: node });
    expect(fleet.choose({ memoryBytes: 2 * GIB })).toBe('a');
    expect(fleet.choice({ memoryBytes: 2 * GIB, numa: 'best-effort' })).toMatchObject({ slot: 0, cell: 0 });
    expect(fleet.choice({ memoryBytes: 2 * GIB, numa: 'best-effort' }, 'density')).toMatchObject({ slot: 1, cell: 1 });
    for (const node of [0, 1]) fleet.use('a', GIB, 1, { cell: node });
    expect(fleet.choice({ memoryBytes: 2 * GIB, numa: 'best-effort' })).toMatchObject({
      slot: 1,
      cell: 1,
      level: { name: 'numa' },
    });
  });
});

describe('hosts that most machines may not use', () => {
  it('are not gone through by those machines, however empty they are', () => {
    const taints = [{ key: 'dedicated', value: 'db', effect: 'NoSchedule' }] as const;
    const fleet = new TestFleet(
      ...Array.from({ length: 400 }, (_, number) => host(`db-${number}`, { taints })),
      ...Array.from({ length: 200 }, (_, number) => host(`web-${number}`)),
    );
    for (let number = 0; number < 200; number += 1) fleet.use(`web-${number}`, GIB);
    expect(fleet.choice({})).toMatchObject({ looked: COMPARED.balance, fitting: COMPARED.balance });
    const tolerations = [{ key: 'dedicated', operator: 'Exists' as const, value: '' }];
    expect(fleet.choose({ tolerations })).toMatch(/^db-/);
  });

  it('are found emptiest first over all partitions', () => {
    const fleet = new TestFleet(
      ...Array.from({ length: 300 }, (_, number) =>
        host(`host-${number}`, { hypervisor: number % 2 === 0 ? 'xen' : 'kvm', memoryBytes: 400 * GIB }),
      ),
    );
    for (let number = 0; number < 300; number += 1) if (number !== 151) fleet.use(`host-${number}`, (number + 2) * GIB);
    expect(fleet.choose({ guestType: 'hvm' })).toBe('host-151');
    expect(fleet.choose({ guestType: 'hvm', hypervisor: 'xen' })).toBe('host-0');
  });
});
