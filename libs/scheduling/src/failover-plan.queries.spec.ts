import { failoverPlanKind, querySubject, type FailoverPlanStatus } from '@xenolith/contracts';
import { rootCommand, type JsonObject, type Reply } from '@xenolith/kernel';
import { beforeEach, describe, expect, it } from 'vitest';
import { ALWAYS } from './availability/failover.spec-fixture.js';
import { FailoverPlanQueries, LIST_FAILOVER_PLANS } from './failover-plan.queries.js';
import { IndexedFleet } from './planning/fleet.spec-fixture.js';
import { GIB, requestFor } from './scheduler.spec-fixture.js';
import { MemoryBus, VirtualClock } from '@xenolith/testing';

interface Plan {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly cluster: string; readonly lost: readonly string[] };
  readonly status: FailoverPlanStatus;
}

const bus = new MemoryBus(new VirtualClock());

const asked = async (fleet: IndexedFleet, data: JsonObject = {}): Promise<Reply> => {
  const served = bus.connect('scheduler');
  const waited: number[] = [];
  const caughtUp = (position: number): Promise<void> => {
    waited.push(position);
    return Promise.resolve();
  };
  const queries = new FailoverPlanQueries(fleet.index, { bus: served, caughtUp });
  await queries.start();
  const message = rootCommand({
    commandId: 'id',
    type: LIST_FAILOVER_PLANS,
    streamId: 'any',
    data: { position: 7, ...data },
    actor: 'user:test',
    at: 0,
  });
  const reply = await bus.connect('gateway').request(querySubject('scheduler', LIST_FAILOVER_PLANS), message, {
    timeoutMs: 1_000,
  });
  await queries.stop();
  expect(waited).toEqual([7]);
  return reply;
};

const plansOf = async (fleet: IndexedFleet, data: JsonObject = {}): Promise<readonly Plan[]> => {
  const reply = await asked(fleet, data);
  if (!reply.ok) throw new Error(reply.rejection.message);
  for (const { spec, status } of reply.value['plans'] as unknown as Plan[]) {
    failoverPlanKind.spec.parse(spec);
    failoverPlanKind.status.parse(status);
  }
  return reply.value['plans'] as unknown as Plan[];
};

const brief = ({ status }: Plan): readonly string[] =>
  (status.restarts ?? []).map(
    ({ virtualMachine, to, turn, startsAfterSeconds }) =>
      `${turn}: ${virtualMachine.name} on ${to} +${startsAfterSeconds}`,
  );

describe('failover plans', () => {
  let fleet: IndexedFleet;
  beforeEach(() => {
    const hosts = ['a', 'b', 'c'].map((name) => ({ name, memoryBytes: 8 * GIB, threads: 8 }));
    fleet = new IndexedFleet(hosts, 'balance', { hostFailures: 1 });
  });
  const put = (name: string, host: string, gib: number, ha?: object): void =>
    fleet.put(name, requestFor(name, { memoryBytes: gib * GIB, ...(ha && { ha: { ...ALWAYS, ...ha } }) }), { host });

  it('are one for each loss that the cluster promises to survive', async () => {
    expect((await plansOf(fleet)).map(({ metadata, spec }) => [metadata.name, spec])).toEqual(
      ['a', 'b', 'c'].map((name) => [name, { cluster: 'default', lost: [name] }]),
    );
    expect(await plansOf(new IndexedFleet([{ name: 'a', memoryBytes: GIB, threads: 1 }]))).toEqual([]);
  });

  it('tell who is restarted where, in turns of priority, then order, with the delays between them', async () => {
    put('db', 'a', 2, { priority: 10, startDelaySeconds: 30 });
    put('cache', 'a', 1, { priority: 10 });
    put('web', 'a', 1, { priority: 1, order: 1, startDelaySeconds: 5 });
    put('queue', 'a', 1, { priority: 1 });
    put('full', 'b', 8);
    put('spare', 'a', 1, { restart: 'best-effort' });
    const [plan] = await plansOf(fleet, { name: 'a' });
    expect(plan?.status).toMatchObject({ state: 'Guaranteed', machines: 4, bestEffort: 1, evicted: 0, message: '' });
    expect(plan && brief(plan)).toEqual(['1: cache on c +0', '1: db on c +0', '2: queue on c +30', '3: web on c +30']);
  });

  it('say why there is none', async () => {
    put('db', 'a', 6, {});
    put('one', 'b', 4);
    put('two', 'c', 5);
    const [plan] = await plansOf(fleet, { name: 'a' });
    expect(plan?.status).toEqual({
      state: 'Impossible',
      machines: 1,
      bestEffort: 0,
      evicted: 0,
      message: 'default/db needs 6Gi, the most that is free on another host is 4Gi',
    });
  });

  it('come a page at a time, in the order of their names', async () => {
    expect((await plansOf(fleet, { after: 'a' })).map(({ metadata }) => metadata.name)).toEqual(['b', 'c']);
    expect(await plansOf(fleet, { name: 'd' })).toEqual([]);
    expect(await asked(fleet, { after: 'c' })).toEqual({ ok: true, value: { plans: [], more: false } });
  });
});
