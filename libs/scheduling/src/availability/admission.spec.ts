import { commandSubject } from '@xenolith/contracts';
import { ok, type JsonObject } from '@xenolith/kernel';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIB, requestFor, TestScheduler } from '../scheduler.spec-fixture.js';
import { ALWAYS } from './failover.spec-fixture.js';

const gib = (count: number) => ({ memoryBytes: count * GIB, ha: ALWAYS });

/** The same machine on its way to another host. */
const machineOf = (name: string) => ({ virtualMachine: requestFor(name).virtualMachine });

const CLUSTER = 'cluster-default';

/** Hosts of 8Gi in a cluster that promises to survive the loss of so many. */
const guarded = async (hosts: number, hostFailures: number, schedulers = 1): Promise<TestScheduler> => {
  const scheduler = new TestScheduler({ schedulers });
  promise(scheduler, hostFailures);
  for (let number = 1; number <= hosts; number += 1)
    scheduler.putHost({ name: `host-${number}`, memoryBytes: 8 * GIB, threads: 8 });
  await scheduler.start();
  await scheduler.quiet();
  return scheduler;
};

const promise = (scheduler: TestScheduler, hostFailures: number): void => {
  scheduler.logged('cluster', CLUSTER, 'ClusterSpecChanged', {
    document: {
      kind: 'Cluster',
      metadata: { name: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: { cpuOvercommit: 4, highAvailability: { hostFailures, eviction: 'Never' } },
      status: {},
    },
  });
};

const phases = (scheduler: TestScheduler): Record<string, string> =>
  Object.fromEntries(scheduler.placements().map(({ request, phase }) => [request.virtualMachine.name, phase]));

describe('admission to a cluster that promises to survive the loss of hosts', () => {
  it('lets machines in until a loss could not be covered, and says which and why', async () => {
    const scheduler = await guarded(2, 1);
    const first = await scheduler.settled(scheduler.place('one', gib(6)));
    expect(first.ok).toBe(true);
    const second = await scheduler.settled(scheduler.place('two', gib(6)));
    expect(second.ok ? '' : second.rejection.message).toMatch(
      /^0\/2 hosts: 1 lacks memory .*, 1 is kept free for failovers \(with it on host-\d the loss of host-\d could not be covered: default\/(one|two) needs 6Gi, the most that is free on another host is 2Gi\)$/u,
    );
    const small = await scheduler.settled(scheduler.place('three', gib(2)));
    expect(small.ok).toBe(true);
  });

  it('keeps room free from machines that are not to be restarted, too', async () => {
    const scheduler = await guarded(2, 1);
    await scheduler.settled(scheduler.place('one', gib(6)));
    const { memoryBytes } = gib(3);
    const other = await scheduler.settled(scheduler.place('batch', { memoryBytes }));
    expect(other.ok ? '' : other.rejection.message).toContain('kept free for failovers');
  });

  it('lets in who waited when room has come anywhere in the cluster', async () => {
    const scheduler = await guarded(2, 1);
    await scheduler.settled(scheduler.place('one', gib(6)));
    await scheduler.settled(scheduler.place('two', gib(5)));
    await scheduler.settled(scheduler.place('three', gib(5)));
    expect(phases(scheduler)).toEqual({ one: 'Placed', two: 'Pending', three: 'Pending' });
    scheduler.putHost({ name: 'host-3', memoryBytes: 8 * GIB, threads: 8 });
    await scheduler.quiet();
    // Two of them: the third host is what covers the loss of either.
    expect(Object.values(phases(scheduler)).sort()).toEqual(['Pending', 'Placed', 'Placed']);
    await scheduler.settled(scheduler.release('one'));
    await scheduler.quiet();
    expect(phases(scheduler)).toEqual({ two: 'Placed', three: 'Placed' });
  });

  it('lets in who waited when the cluster promises less', async () => {
    const scheduler = await guarded(2, 1);
    await scheduler.settled(scheduler.place('one', gib(6)));
    await scheduler.settled(scheduler.place('two', gib(6)));
    promise(scheduler, 0);
    await scheduler.quiet();
    expect(phases(scheduler)).toEqual({ one: 'Placed', two: 'Placed' });
  });

  it('counts machines that are asked for at the same moment', async () => {
    const scheduler = await guarded(4, 1);
    const names = Array.from({ length: 8 }, (_, number) => `m${number}`);
    await scheduler.settled(Promise.all(names.map((name) => scheduler.place(name, gib(4)))));
    await scheduler.quiet();
    // Three of four hosts' worth, two machines on each.
    expect(Object.values(phases(scheduler)).filter((phase) => phase === 'Placed')).toHaveLength(6);
  });

  it('keeps room for two hosts where that is promised', async () => {
    const scheduler = await guarded(4, 2);
    for (let number = 0; number < 6; number += 1)
      await scheduler.settled(scheduler.place(`m${number}`, { ...gib(4), ha: ALWAYS }));
    expect(Object.values(phases(scheduler)).filter((phase) => phase === 'Placed')).toHaveLength(4);
  });

  it('lets a machine go where every loss is covered once it is there', async () => {
    const scheduler = await guarded(2, 1);
    await scheduler.settled(scheduler.place('one', { ...gib(6), host: 'host-1' }));
    const moved = await scheduler.settled(scheduler.place('one', { ...gib(6), exceptHost: 'host-1' }));
    expect(moved.ok).toBe(true);
  });

  const crowded = async (): Promise<TestScheduler> => {
    const scheduler = await guarded(3, 1);
    // As a migration does: one that only names its host is bound to it.
    const on = (host: string) => ({ host, exceptHost: 'host-0' });
    await scheduler.settled(scheduler.place('big', { ...gib(6), ...on('host-1') }));
    for (const name of ['one', 'two']) await scheduler.settled(scheduler.place(name, { ...gib(4), ...on('host-2') }));
    return scheduler;
  };
  const migration = { ...gib(4), exceptHost: 'host-2', host: 'host-3' };

  it('refuses a migration after which a loss could not be covered, and says which', async () => {
    const scheduler = await crowded();
    const moved = await scheduler.settled(scheduler.place('one>', { ...migration, ...machineOf('one') }));
    expect(moved.ok ? '' : moved.rejection.message).toContain(
      'with it on host-3 the loss of host-1 could not be covered: default/big needs 6Gi, the most that is free on another host is 4Gi',
    );
  });

  it('lets a migration through that is to be made all the same', async () => {
    const scheduler = await crowded();
    const asked = { ...migration, ...machineOf('one'), allowOvercommit: true };
    expect(await scheduler.settled(scheduler.place('one>', asked))).toMatchObject({ ok: true });
  });

  const say = async (scheduler: TestScheduler, name: string, ha: JsonObject): Promise<void> => {
    const { uid } = requestFor(name).virtualMachine;
    const spec = { ha, placement: {}, guest: { pvDrivers: true } };
    const status = { powerState: 'Running', allowedOperations: [], currentOperations: {} };
    scheduler.logged('virtualmachine', uid, 'VirtualMachineSpecChanged', { document: { spec, status } });
    await scheduler.quiet();
  };

  it('counts at once that a machine which runs is to be restarted otherwise', async () => {
    const scheduler = await crowded();
    for (const name of ['big', 'one']) await say(scheduler, name, ALWAYS);
    const asked = { memoryBytes: 4 * GIB, host: 'host-3' };
    expect(await scheduler.settled(scheduler.place('new', asked))).toMatchObject({ ok: false });
    for (const name of ['big', 'one']) await say(scheduler, name, { restart: 'never', priority: 0 });
    expect(phases(scheduler)).toMatchObject({ new: 'Placed' });
  });

  it('tells the cluster whether its promise holds, when that changes', async () => {
    const scheduler = await guarded(2, 1);
    const told: unknown[] = [];
    await scheduler.bus.connect('compute').serve(commandSubject('compute', 'RecordClusterAvailability'), (message) => {
      told.push(message.data);
      return Promise.resolve(ok({}));
    });
    await scheduler.settled(scheduler.place('one', gib(6)));
    await scheduler.quiet();
    expect(told.at(-1)).toEqual({ hostFailures: 1, tolerates: 1, state: 'Protected', message: '' });
    const [placed] = scheduler.placements();
    const other = placed?.host === 'host-1' ? 'host-2' : 'host-1';
    scheduler.putHost({ name: other, memoryBytes: 8 * GIB, threads: 8, ready: false });
    await scheduler.quiet();
    expect(told.at(-1)).toEqual({
      hostFailures: 1,
      tolerates: 0,
      state: 'Overcommitted',
      uncovered: [placed?.host],
      message: 'default/one could be restarted nowhere: no other host is allowed',
    });
  });

  it('keeps every loss covered, whatever is asked at once and in whatever order', async () => {
    await fc.assert(
      fc.asyncProperty(asks, async (rounds) => {
        const scheduler = await guarded(3, 1);
        for (const [round, asked] of rounds.entries()) {
          const names = asked.map((_, number) => `m${round}-${number}`);
          await scheduler.settled(Promise.all(asked.map((ask, number) => doAsk(scheduler, names[number] ?? '', ask))));
          await scheduler.quiet();
          // Others may have been let in when it counted where it was to go (decision 9).
          if (await anyStayed(scheduler, names)) return;
          expect(uncovered(scheduler)).toEqual([]);
        }
      }),
      { numRuns: 12 },
    );
  });
});

interface Ask {
  readonly what: 'place' | 'release' | 'move';
  readonly gib: number;
  readonly always: boolean;
  readonly pick: number;
}

const asks = fc.array(
  fc.array(
    fc.record({
      what: fc.constantFrom('place', 'place', 'release', 'move'),
      gib: fc.integer({ min: 1, max: 5 }),
      always: fc.boolean(),
      pick: fc.nat(),
    }),
    { minLength: 1, maxLength: 5 },
  ),
  { minLength: 1, maxLength: 5 },
);

const doAsk = async (scheduler: TestScheduler, name: string, { what, gib: size, always, pick }: Ask): Promise<void> => {
  if (what === 'place') {
    await scheduler.place(name, { memoryBytes: size * GIB, ...(always && { ha: ALWAYS }) });
    return;
  }
  const there = scheduler.placements().filter(({ host }) => host !== undefined);
  const machine = there[pick % Math.max(1, there.length)];
  if (!machine) return;
  const own = machine.request.virtualMachine.name;
  const known = runs.get(scheduler) ?? new Map<string, string>();
  runs.set(scheduler, known);
  const run = known.get(own) ?? own;
  // Something is being done with it already.
  if (run === BUSY) return;
  known.set(own, BUSY);
  if (what === 'release' || machine.host === undefined) {
    await scheduler.release(run);
    return;
  }
  const { request, host } = machine;
  const moved = await scheduler.place(name, { ...request, exceptHost: host });
  await scheduler.release(moved.ok ? run : name);
  known.set(own, moved.ok ? name : run);
};

const BUSY = '';

/** Under which name each machine's present placement was asked for. */
const runs = new WeakMap<TestScheduler, Map<string, string>>();

/** Whether a machine that was to move stayed, as it was refused, or let in only when that had been given up. */
const anyStayed = async (scheduler: TestScheduler, names: readonly string[]): Promise<boolean> => {
  for (const name of names) {
    const [first] = await scheduler.settled(scheduler.history(name));
    const { exceptHost } = (first?.data['request'] ?? {}) as { readonly exceptHost?: string };
    if (exceptHost !== undefined) return true;
  }
  return false;
};

/** Hosts whose loss nobody survives, by trying every way. */
const uncovered = (scheduler: TestScheduler): string[] => {
  const hosts = ['host-1', 'host-2', 'host-3'];
  const placed = scheduler.placements().filter(({ host }) => host !== undefined);
  const gibOf = ({ request }: (typeof placed)[number]): number => request.memoryBytes / GIB;
  return hosts.filter((lost) => {
    const rooms = hosts
      .filter((host) => host !== lost)
      .map((host) => 8 - placed.filter((one) => one.host === host).reduce((sum, one) => sum + gibOf(one), 0));
    const must = placed.filter((one) => one.host === lost && one.request.ha !== undefined).map(gibOf);
    const seat = ([size, ...others]: readonly number[], left: readonly number[]): boolean =>
      size === undefined || left.some((room, at) => room >= size && seat(others, left.with(at, room - size)));
    return !seat(must, rooms);
  });
};
