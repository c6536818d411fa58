import { randomFrom, type Reply } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, hostUid, TestScheduler, type TestHost } from './scheduler.spec-fixture.js';

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

  it('places nothing new on a host that is unschedulable or lost', async () => {
    const scheduler = await started({}, [host(1, { unschedulable: true }), host(2, { ready: false })]);
    expect(await scheduler.place('a')).toMatchObject({
      rejection: { message: '0/2 hosts: 1 is not ready, 1 is unschedulable' },
    });
    scheduler.putHost(host(2));
    await scheduler.quiet();
    expect(scheduler.placements()).toMatchObject([{ host: 'host-0002' }]);
  });
});

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('place' as const), vm: fc.nat(11), gib: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), vm: fc.nat(11) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(60) }) },
);

describe('two schedulers at once', () => {
  it('never promise a host twice, lose nothing, and leave nobody waiting who fits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer(), async (steps, seed) => {
        const dice = randomFrom(seed);
        const latency = { append: () => dice.below(20), read: () => dice.below(5), sequence: () => dice.below(40) };
        const scheduler = await started({ schedulers: 2, latency });
        const replies: Promise<unknown>[] = [];
        const runs = new Map<number, number>();
        for (const next of steps) {
          if (next.do === 'wait') await scheduler.clock.advance(next.ms);
          else if (next.do === 'place')
            replies.push(
              scheduler.place(`vm-${next.vm}-${runs.get(next.vm) ?? 0}`, {
                memoryBytes: next.gib * GIB,
                ...(next.vm % 3 === 0 ? { antiAffinity: 'word' } : {}),
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
  const free = new Map(['host-0001', 'host-0002'].map((name) => [name, 4 * GIB]));
  const words = new Set<string>();
  for (const { host: name = '', request } of placed) {
    free.set(name, (free.get(name) ?? 0) - request.memoryBytes);
    if (request.antiAffinity === undefined) continue;
    expect(words.has(name), `${hostUid(name)} runs the word once`).toBe(false);
    words.add(name);
  }
  for (const { phase, request } of placements) {
    if (phase !== 'Pending') continue;
    const fitting = [...free].filter(
      ([name, bytes]) => bytes >= request.memoryBytes && !(request.antiAffinity !== undefined && words.has(name)),
    );
    expect(fitting, `${request.virtualMachine.name} waits though it fits`).toEqual([]);
  }
};
