import { randomFrom, type Reply } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, TestScheduler, type TestHost } from './scheduler.spec-fixture.js';

const host = (number: number, more: Partial<TestHost> = {}): TestHost => ({
  name: `host-000${number}`,
  memoryBytes: 4 * GIB,
  threads: 4,
  ...more,
});

const started = async (
  options: ConstructorParameters<typeof TestScheduler>[0] = {},
  hosts: readonly TestHost[] = [host(1), host(2)],
): Promise<TestScheduler> => {
  const scheduler = new TestScheduler(options);
  for (const known of hosts) scheduler.putHost(known);
  await scheduler.start();
  return scheduler;
};

const placedOn = (reply: Reply): unknown => (reply.ok ? reply.value['host'] : reply.rejection.code);

describe('the scheduler', () => {
  it('spreads machines over the hosts, also those asked for at the same moment', async () => {
    const scheduler = await started({ latency: { append: () => 4 } });
    const replies = await scheduler.settled(Promise.all(['a', 'b', 'c', 'd'].map((name) => scheduler.place(name))));
    expect(replies.map(placedOn).sort()).toEqual(['host-0001', 'host-0001', 'host-0002', 'host-0002']);
  });

  it('answers the same to a command that comes twice', async () => {
    const scheduler = await started();
    const data = { request: { ...(await import('./scheduler.spec-fixture.js')).requestFor('a') } } as never;
    const first = await scheduler.send('PlaceVirtualMachine', 'a', data, '00000000-0000-4000-8000-000000000001');
    await scheduler.release('a');
    const again = await scheduler.send('PlaceVirtualMachine', 'a', data, '00000000-0000-4000-8000-000000000001');
    expect(again).toEqual(first);
    expect(scheduler.placements()).toEqual([]);
  });

  it('keeps what finds no room pending with its reason, and places it when a host comes', async () => {
    const scheduler = await started({}, [host(1)]);
    const reply = await scheduler.place('big', { memoryBytes: 6 * GIB });
    expect(reply).toMatchObject({
      ok: false,
      rejection: {
        code: 'placement_pending',
        message: '0/1 hosts: 1 lacks memory (need 6Gi, most free 4Gi on host-0001)',
      },
    });
    scheduler.putHost(host(2, { memoryBytes: 16 * GIB }));
    await scheduler.quiet();
    expect(scheduler.placements()).toMatchObject([{ phase: 'Placed', host: 'host-0002' }]);
    expect(placedOn(await scheduler.place('big', { memoryBytes: 6 * GIB }))).toBe('host-0002');
  });

  it('passes over a host whose control plane has died', async () => {
    const scheduler = await started({}, [host(1, { controlPlaneLost: true }), host(2)]);
    expect(placedOn(await scheduler.place('a'))).toBe('host-0002');
    expect(placedOn(await scheduler.place('b'))).toBe('host-0002');
  });

  it('lets in those who wait when room is given back, oldest first', async () => {
    const scheduler = await started({}, [host(1)]);
    await scheduler.place('first', { memoryBytes: 4 * GIB });
    for (const name of ['second', 'third', 'fourth']) await scheduler.place(name, { memoryBytes: 2 * GIB });
    expect(scheduler.placements().filter(({ phase }) => phase === 'Pending')).toHaveLength(3);
    await scheduler.release('first');
    await scheduler.quiet();
    const phases = scheduler.placements().map(({ request, phase }) => `${request.virtualMachine.name} ${phase}`);
    expect(phases.sort()).toEqual(['fourth Pending', 'second Placed', 'third Placed']);
  });

  it('lets in more than one round of those who wait', async () => {
    const scheduler = await started({}, []);
    for (let count = 0; count < 150; count += 1) await scheduler.place(`vm-${count}`, { memoryBytes: GIB });
    scheduler.putHost(host(1, { memoryBytes: 140 * GIB, threads: 64 }));
    await scheduler.quiet();
    expect(scheduler.placements().filter(({ phase }) => phase === 'Placed')).toHaveLength(140);
  });

  it('goes on after a restart with those who wait', async () => {
    const scheduler = await started({}, [host(1)]);
    await scheduler.place('first', { memoryBytes: 4 * GIB });
    await scheduler.place('second', { memoryBytes: 4 * GIB });
    await scheduler.start();
    await scheduler.release('first');
    await scheduler.quiet();
    expect(scheduler.placements()).toMatchObject([{ phase: 'Placed', host: 'host-0001' }]);
  });

  it('keeps machines of one word apart, and places the next when a host is free of the word', async () => {
    const scheduler = await started({ schedulers: 2, latency: { append: () => 5, sequence: () => 50 } });
    const ask = ['a', 'b', 'c'].map((name) => scheduler.place(name, { antiAffinity: 'web' }));
    const replies = await scheduler.settled(Promise.all(ask));
    expect(replies.map(placedOn).sort()).toEqual(['host-0001', 'host-0002', 'placement_pending']);
    const [placed] = scheduler.placements().filter(({ phase }) => phase === 'Placed');
    await scheduler.settled(scheduler.release(placed?.request.virtualMachine.name ?? ''));
    await scheduler.quiet();
    expect(
      scheduler
        .placements()
        .map(({ host: name }) => name)
        .sort(),
    ).toEqual(['host-0001', 'host-0002']);
  });

  it('moves a machine to another host with the hypervisor that it runs under', async () => {
    const scheduler = await started({}, [host(1), host(2, { hypervisor: 'kvm' })]);
    const leaving = { guestType: 'hvm', exceptHost: 'host-0001' } as const;
    const reply = await scheduler.place('a', leaving);
    expect(reply).toMatchObject({
      ok: false,
      rejection: { message: '0/2 hosts: 1 is host host-0001, which it is to leave, 1 lacks hypervisor xen' },
    });
    scheduler.putHost(host(3));
    await scheduler.quiet();
    const placed = await scheduler.place('a', leaving);
    expect(placed).toMatchObject({ value: { host: 'host-0003', hypervisor: 'xen' } });
  });

  it('places nothing new on a host that is unschedulable, lost, parked or under maintenance', async () => {
    const out = [host(1, { unschedulable: true }), host(2, { ready: false }), host(3, { maintenance: true })];
    const hosts = [...out, host(4, { ready: false, parked: true })];
    const scheduler = await started({}, hosts);
    expect(await scheduler.place('a')).toMatchObject({
      rejection: {
        message: '0/4 hosts: 1 is parked (host-0004), 1 is not ready, 1 is under maintenance, 1 is unschedulable',
      },
    });
    scheduler.putHost(host(2));
    await scheduler.quiet();
    expect(scheduler.placements()).toMatchObject([{ host: 'host-0002' }]);
  });

  it('promises no more CPU than a host has, however many virtual CPUs its threads may carry', async () => {
    const scheduler = await started({}, [host(1, { threads: 2 })]);
    const reserving = (name: string, percent: number) =>
      scheduler.settled(scheduler.place(name, { resources: { 'cpu:reserved': percent } }));
    expect(placedOn(await reserving('a', 150))).toBe('host-0001');
    expect(await reserving('b', 51)).toMatchObject({
      rejection: { message: '0/1 hosts: 1 lacks resources (need 51 cpu:reserved, 50 free on host-0001)' },
    });
    expect(placedOn(await reserving('c', 50))).toBe('host-0001');
    expect(placedOn(await scheduler.settled(scheduler.place('d')))).toBe('host-0001');
  });

  it('keeps a machine from hosts that do not reach where its volume is, until one does', async () => {
    const reaching = (...storageDomains: string[]) => host(1, { reach: { storageDomains } });
    const scheduler = await started({}, [reaching('nas')]);
    const volume = { metadata: { name: 'data', namespace: 'default' }, status: { storageDomain: 'san' } };
    scheduler.logged('volume', 'data', 'VolumeCreated', { document: volume });
    const reply = await scheduler.settled(scheduler.place('vm', { volumes: [{ name: 'data', own: false }] }));
    expect(reply).toMatchObject({ rejection: { message: '0/1 hosts: 1 does not reach storage san' } });
    scheduler.putHost(reaching('nas', 'san'));
    await scheduler.quiet();
    expect(scheduler.placements()).toMatchObject([{ phase: 'Placed', host: 'host-0001' }]);
  });
});

const HOST = 'kubernetes.io/hostname';
const far = (app: string, topologyKey: string) => {
  const term = { labelSelector: { matchLabels: { app } }, topologyKey };
  return { virtualMachineAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } };
};
const near = (app: string, topologyKey: string) => {
  const term = { labelSelector: { matchLabels: { app } }, topologyKey };
  return { virtualMachineAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } };
};

describe('what several schedulers decide at the same moment', () => {
  const slow = { schedulers: 3, latency: { append: () => 5, sequence: () => 50 } };
  const asked = async (
    hosts: readonly TestHost[],
    names: readonly string[],
    more: Parameters<TestScheduler['place']>[1],
  ): Promise<{ scheduler: TestScheduler; where: string[] }> => {
    const scheduler = await started(slow, hosts);
    await scheduler.settled(Promise.all(names.map((name) => scheduler.place(name, more))));
    // Who lost a host to another waits until all has been heard of.
    await scheduler.quiet();
    return {
      scheduler,
      where: scheduler
        .placements()
        .map(({ host: name }) => name ?? 'waits')
        .sort(),
    };
  };

  it('puts no two machines on one NUMA node that has room for one', async () => {
    const hosts = [host(1, { nodes: 2, memoryBytes: 8 * GIB, threads: 8 })];
    const { scheduler, where } = await asked(hosts, ['a', 'b', 'c'], {
      numa: 'single-numa-node',
      memoryBytes: 2.5 * GIB,
    });
    expect(where).toEqual(['host-0001', 'host-0001', 'waits']);
    expect(
      scheduler
        .placements()
        .map(({ numaNode }) => numaNode ?? 'none')
        .sort(),
    ).toEqual([0, 1, 'none']);
  });

  it('puts no machine on a NUMA node that machines of no node have taken', async () => {
    const hosts = [host(1, { nodes: 2, memoryBytes: 8 * GIB, threads: 8 })];
    const { scheduler, where } = await asked(hosts, ['spread'], { memoryBytes: 4 * GIB });
    expect(where).toEqual(['host-0001']);
    await scheduler.settled(scheduler.place('whole', { numa: 'single-numa-node', memoryBytes: 2.5 * GIB }));
    expect(scheduler.placements().map(({ host: name }) => name ?? 'waits')).toEqual(['host-0001', 'waits']);
  });

  it('promises no counted thing twice', async () => {
    const hosts = [host(1, { resources: { gpu: 2 } }), host(2)];
    const { where } = await asked(hosts, ['a', 'b', 'c'], { resources: { gpu: 1 } });
    expect(where).toEqual(['host-0001', 'host-0001', 'waits']);
  });

  it('keeps replicas far from each other, by host and by rack', async () => {
    const rack = (number: number, value: string) => host(number, { labels: { rack: value } });
    const hosts = [rack(1, 'r1'), rack(2, 'r1'), rack(3, 'r2')];
    const labels = { app: 'web' };
    const names = ['a', 'b', 'c', 'd'];
    const { where: byHost } = await asked(hosts, names, { labels, affinity: far('web', HOST) });
    expect(byHost).toEqual(['host-0001', 'host-0002', 'host-0003', 'waits']);
    const { where: byRack } = await asked(hosts, names, { labels, affinity: far('web', 'rack') });
    expect(byRack.filter((name) => name === 'waits')).toHaveLength(2);
    expect(byRack).toContain('host-0003');
  });

  it('brings those together that want to be', async () => {
    const together = { labels: { app: 'web' }, affinity: near('web', HOST) };
    const { where } = await asked([host(1), host(2), host(3)], ['a', 'b', 'c'], together);
    expect(new Set(where).size).toBe(1);
    expect(where[0]).toMatch(/^host-/);
  });
});

describe('who waits for other machines', () => {
  it('is placed when the one to be near to has come, or the one to be far from has gone', async () => {
    const racks = [host(1, { labels: { rack: 'r1' } }), host(2, { labels: { rack: 'r1' } })];
    const scheduler = await started({}, racks);
    await scheduler.place('near', { affinity: near('db', HOST) });
    await scheduler.place('db', { labels: { app: 'db' } });
    await scheduler.quiet();
    const phases = () => scheduler.placements().map(({ request, phase }) => `${request.virtualMachine.name} ${phase}`);
    expect(phases().sort()).toEqual(['db Placed', 'near Placed']);
    await scheduler.place('far', { affinity: far('db', 'rack') });
    expect(phases()).toContain('far Pending');
    await scheduler.release('db');
    await scheduler.quiet();
    expect(phases()).toContain('far Placed');
  });
});

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('place' as const),
      vm: fc.nat(11),
      gib: fc.integer({ min: 1, max: 4 }),
      rule: fc.constantFrom('none' as const, 'word' as const, 'far' as const, 'node' as const, 'thing' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), vm: fc.nat(11) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(60) }) },
);

const RULES = {
  none: {},
  word: { antiAffinity: 'word' },
  far: { labels: { app: 'web' }, affinity: far('web', HOST) },
  node: { numa: 'single-numa-node' },
  thing: { resources: { thing: 1 } },
} as const;
const NODES = 2;
const THINGS = 1;

describe('two schedulers at once', () => {
  it('never promise a host twice, lose nothing, and leave nobody waiting who fits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer(), async (steps, seed) => {
        const dice = randomFrom(seed);
        const latency = { append: () => dice.below(20), read: () => dice.below(5), sequence: () => dice.below(40) };
        const both = [1, 2].map((number) => host(number, { nodes: NODES, resources: { thing: THINGS } }));
        const scheduler = await started({ schedulers: 2, latency }, both);
        const replies: Promise<unknown>[] = [];
        const runs = new Map<number, number>();
        for (const next of steps) {
          if (next.do === 'wait') await scheduler.clock.advance(next.ms);
          else if (next.do === 'place')
            replies.push(
              scheduler.place(`vm-${next.vm}-${runs.get(next.vm) ?? 0}`, {
                memoryBytes: next.gib * GIB,
                ...RULES[next.rule],
              }),
            );
          else {
            const run = runs.get(next.vm) ?? 0;
            runs.set(next.vm, run + 1);
            replies.push(scheduler.release(`vm-${next.vm}-${run}`));
          }
        }
        await scheduler.settled(Promise.all(replies));
        await scheduler.quiet();
        expectSound(scheduler);
      }),
      { numRuns: 150 },
    );
  });
});

/** What holds at rest: no host is promised beyond its memory, ledgers equal placements, words are apart, and who waits fits nowhere. */
const expectSound = (scheduler: TestScheduler): void => {
  const ledger = new Map<string, Map<string, number>>();
  for (const { type, streamId, data } of scheduler.log.log) {
    const reservations = ledger.get(streamId) ?? new Map<string, number>();
    const { placement, memoryBytes } = data as { placement: string; memoryBytes: number };
    if (type === 'HostCapacityReserved') ledger.set(streamId, reservations.set(placement, memoryBytes));
    if (type === 'HostCapacityReleased') expect(reservations.delete(placement)).toBe(true);
    const promised = [...reservations.values()].reduce((sum, bytes) => sum + bytes, 0);
    expect(promised).toBeLessThanOrEqual(4 * GIB);
  }
  const placements = scheduler.placements();
  const placed = placements.filter(({ phase }) => phase === 'Placed');
  expect([...ledger.values()].reduce((sum, reservations) => sum + reservations.size, 0)).toBe(placed.length);
  for (const name of HOSTS) expectUnbroken(placed.filter((placement) => placement.host === name));
  for (const waiting of placements)
    if (waiting.phase === 'Pending')
      for (const name of HOSTS)
        expect(
          keptOff(
            waiting,
            placed.filter((placement) => placement.host === name),
          ),
          `${waiting.request.virtualMachine.name} waits though it fits on ${name}`,
        ).toBe(true);
};

type Placed = ReturnType<TestScheduler['placements']>;
const HOSTS = ['host-0001', 'host-0002'];

const memoryOf = (placements: Placed): number => placements.reduce((sum, { request }) => sum + request.memoryBytes, 0);
const onNode = (placements: Placed, node: number): Placed => placements.filter(({ numaNode }) => numaNode === node);
const withWord = (placements: Placed): Placed => placements.filter(({ request }) => request.antiAffinity !== undefined);
const farApart = (placements: Placed): Placed => placements.filter(({ request }) => request.affinity !== undefined);
const withThing = (placements: Placed): Placed => placements.filter(({ request }) => request.resources !== undefined);

/** Memory of a node that is neither reserved there nor of machines of no node, which have as much of each node as it has room for. */
const freeOn = (placed: Placed, node: number): number => {
  const rooms = Array.from({ length: NODES }, (_, number) => (4 * GIB) / NODES - memoryOf(onNode(placed, number)));
  const spread = memoryOf(placed.filter(({ numaNode }) => numaNode === undefined));
  const [here = 0, other = 0] = node === 0 ? rooms : rooms.toReversed();
  return here - Math.max(spread / 2, spread - other);
};

/** No rule of one host is broken. */
const expectUnbroken = (placed: Placed): void => {
  expect(memoryOf(placed)).toBeLessThanOrEqual(4 * GIB);
  for (let node = 0; node < NODES; node += 1)
    expect(memoryOf(onNode(placed, node))).toBeLessThanOrEqual((4 * GIB) / NODES);
  expect(withWord(placed).length).toBeLessThanOrEqual(1);
  expect(farApart(placed).length).toBeLessThanOrEqual(1);
  expect(withThing(placed).length).toBeLessThanOrEqual(THINGS);
};

/** Whether something on a host keeps a waiting machine away. */
const keptOff = ({ request }: Placed[number], placed: Placed): boolean =>
  4 * GIB - memoryOf(placed) < request.memoryBytes ||
  (request.antiAffinity !== undefined && withWord(placed).length > 0) ||
  (request.affinity !== undefined && farApart(placed).length > 0) ||
  (request.resources !== undefined && withThing(placed).length >= THINGS) ||
  (request.numa !== undefined &&
    Array.from({ length: NODES }, (_, node) => freeOn(placed, node)).every((free) => free < request.memoryBytes));
