import { uuidFrom } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { RebalancedFleet } from './rebalance.spec-fixture.js';
import { GIB, type TestHost } from './scheduler.spec-fixture.js';

const host = (number: number, more: Partial<TestHost> = {}): TestHost => ({
  name: `host-${number}`,
  memoryBytes: 8 * GIB,
  threads: 8,
  ...more,
});
const clusterUid = uuidFrom('cluster', 'default');
const fleetOf = (...hosts: readonly TestHost[]): Promise<RebalancedFleet> => new RebalancedFleet().start(hosts);
const rest = (fleet: RebalancedFleet, ms = 30_000): Promise<void> => fleet.scheduler.clock.advance(ms);
const phases = (fleet: RebalancedFleet): readonly string[] => fleet.plans().map(({ status }) => status.phase);

describe('the maintenance of a host', () => {
  it('moves its machines away by a plan, wave by wave, and ends when none is left', async () => {
    const fleet = await fleetOf(host(1), host(2), host(3));
    for (const name of ['a', 'b', 'c', 'd', 'e']) await fleet.run(name, 'host-1');
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Completed', cause: 'Maintenance', progress: '5/5' } }]);
    expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0, blocked: [] });
    expect(['a', 'b', 'c', 'd', 'e'].map((name) => fleet.hostOf(name))).not.toContain('host-1');
  });

  it('has nothing to plan on an empty host', async () => {
    const fleet = await fleetOf(host(1), host(2));
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(fleet.plans()).toEqual([]);
    expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0 });
  });

  it('says why a machine can not move, and moves it once it can', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('a', 'host-1');
    await fleet.run('b', 'host-1');
    fleet.show('b', { powerState: 'Paused', allowedOperations: ['unpause'], currentOperations: {} });
    await rest(fleet);
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(fleet.evacuationOf('host-1')).toMatchObject({
      remaining: 1,
      blocked: [{ virtualMachine: { name: 'b' }, message: 'it is paused: only what runs can move' }],
    });
    fleet.free('b');
    await rest(fleet);
    expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0, blocked: [] });
    expect(phases(fleet)).toEqual(['Completed', 'Completed']);
  });

  it.each(['VirtualMachineRebooted', 'VirtualMachineSnapshotTaken', 'VirtualMachineReverted'])(
    'moves a machine that %s has made free: one that was rebooted out of its pause stayed for ever',
    async (event) => {
      const fleet = await fleetOf(host(1), host(2));
      await fleet.run('a', 'host-1');
      fleet.show('a', { powerState: 'Paused', allowedOperations: ['unpause'], currentOperations: {} });
      fleet.setMaintenance('host-1', true);
      await rest(fleet);
      expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 1 });
      fleet.free('a', event);
      await rest(fleet);
      expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0, blocked: [] });
    },
  );

  it('explains a lack of room as placement does, and goes on when there is some', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('large', 'host-1', { memoryBytes: 6 * GIB });
    await fleet.run('other', 'host-2', { memoryBytes: 4 * GIB });
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(fleet.evacuationOf('host-1')).toMatchObject({
      remaining: 1,
      blocked: [{ message: expect.stringContaining('lacks memory (need 6Gi, most free 4Gi on host-2)') as string }],
    });
    const before = fleet.eventTypes().length;
    await fleet.run('small', 'host-2');
    await rest(fleet);
    // Nothing that lets it go has changed: the placement and its machine are all that is new.
    expect(fleet.eventTypes().slice(before)).not.toContain('HostEvacuationProgressed');
    await fleet.end('small');
    await fleet.end('other');
    await rest(fleet);
    expect(fleet.hostOf('large')).toBe('host-2');
    expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0 });
  });

  it('takes machines along that were being started when it began', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('late', 'host-1');
    fleet.show('late', { powerState: 'Halted', allowedOperations: [], currentOperations: { 'late-start': 'start' } });
    await rest(fleet);
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(fleet.evacuationOf('host-1')).toMatchObject({
      blocked: [{ message: 'operation late-start (start) is under way' }],
    });
    fleet.free('late');
    await rest(fleet);
    expect(fleet.hostOf('late')).toBe('host-2');
  });

  it('ends with the wish for it: what has begun ends, nothing else begins', async () => {
    const fleet = await fleetOf(host(1), host(2));
    fleet.atOnce = false;
    for (const name of ['a', 'b', 'c', 'd', 'e']) await fleet.run(name, 'host-1');
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    const begun = fleet.migrations.length;
    expect(begun).toBe(2);
    fleet.setMaintenance('host-1', false);
    await rest(fleet);
    expect(phases(fleet)).toEqual(['Executing']);
    for (const migration of fleet.migrations) await fleet.finish(migration);
    await rest(fleet);
    expect(fleet.plans()).toMatchObject([
      { status: { phase: 'Cancelled', message: 'the maintenance has ended: 2 of 5 moves succeeded, 3 cancelled' } },
    ]);
    expect(fleet.migrations).toHaveLength(begun);
  });

  it('tries again after a pause what failed, with longer pauses', async () => {
    const fleet = await fleetOf(host(1), host(2));
    fleet.atOnce = false;
    await fleet.run('a', 'host-1');
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    for (const failed of [1, 2]) {
      const [migration] = fleet.migrations.slice(-1);
      if (migration) await fleet.finish(migration, { message: 'the link broke', begun: true });
      await rest(fleet);
      expect(phases(fleet)).toHaveLength(failed);
      expect(fleet.evacuationOf('host-1')).toMatchObject({
        remaining: 1,
        blocked: [{ message: 'the link broke; it is tried again' }],
      });
      await rest(fleet, failed * 60_000);
    }
    expect(phases(fleet)).toEqual(['Failed', 'Failed', 'Executing']);
    const [migration] = fleet.migrations.slice(-1);
    if (migration) await fleet.finish(migration);
    await rest(fleet);
    expect(fleet.evacuationOf('host-1')).toMatchObject({ remaining: 0 });
  });

  it('makes one plan, whichever scheduler hears of it first', async () => {
    const fleet = await new RebalancedFleet({ schedulers: 2 }).start([host(1), host(2)]);
    fleet.atOnce = false;
    for (const name of ['a', 'b', 'c']) await fleet.run(name, 'host-1');
    fleet.setMaintenance('host-1', true);
    await rest(fleet);
    expect(phases(fleet)).toEqual(['Executing']);
  });
});

describe('a rebalance plan', () => {
  it('is a proposal until it is approved', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('a', 'host-1');
    const spec = { hosts: ['host-1'] };
    expect(await fleet.plan('try', spec)).toMatchObject({ ok: true });
    await rest(fleet);
    expect(fleet.plans()).toMatchObject([
      { status: { phase: 'Proposed', cause: 'User', moves: [{ from: 'host-1', to: 'host-2', phase: 'Pending' }] } },
    ]);
    expect(fleet.migrations).toEqual([]);
    expect(await fleet.plan('try', { ...spec, approved: true }, 'update')).toMatchObject({ ok: true });
    await rest(fleet);
    expect(fleet.plans()).toMatchObject([
      { status: { phase: 'Completed', approvedBy: 'user:test', message: '1 of 1 move succeeded' } },
    ]);
    expect(fleet.hostOf('a')).toBe('host-2');
  });

  it('skips what has changed since it was made, and says so', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('gone', 'host-1');
    await fleet.run('stays', 'host-1', { memoryBytes: 4 * GIB });
    await fleet.run('goes', 'host-1');
    await fleet.plan('try', { hosts: ['host-1'] });
    await fleet.end('gone');
    await fleet.run('new', 'host-2', { memoryBytes: 5 * GIB });
    await fleet.plan('try', { hosts: ['host-1'], approved: true }, 'update');
    await rest(fleet);
    const [plan] = fleet.plans();
    expect(plan).toMatchObject({ status: { phase: 'Completed', message: '1 of 3 moves succeeded, 2 skipped' } });
    const messages = new Map(plan?.status.moves.map((move) => [move.virtualMachine.name, move.message]));
    expect(messages.get('gone')).toBe('no such machine');
    expect(messages.get('stays')).toMatch(/lacks memory/);
  });

  it('fails when a migration fails, after the others', async () => {
    const fleet = await fleetOf(host(1), host(2));
    fleet.atOnce = false;
    await fleet.run('a', 'host-1');
    await fleet.run('b', 'host-1');
    await fleet.plan('try', { hosts: ['host-1'], approved: true });
    await rest(fleet);
    const [first, second] = fleet.migrations;
    if (first) await fleet.finish(first, { message: 'the link broke', begun: true });
    if (second) await fleet.finish(second);
    await rest(fleet);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Failed', message: '1 of 2 moves succeeded, 1 failed' } }]);
  });

  it('ends what is under way when it is deleted, and is gone then', async () => {
    const fleet = await fleetOf(host(1), host(2));
    fleet.atOnce = false;
    for (const name of ['a', 'b', 'c', 'd']) await fleet.run(name, 'host-1');
    await fleet.plan('try', { hosts: ['host-1'], approved: true });
    await rest(fleet);
    await fleet.scheduler.send('DeleteRebalancePlan', 'try', {});
    await rest(fleet);
    expect(phases(fleet)).toEqual(['Executing']);
    for (const migration of fleet.migrations) await fleet.finish(migration);
    await rest(fleet);
    expect(fleet.plans()).toEqual([]);
    expect(fleet.migrations).toHaveLength(2);
    expect([...fleet.scheduler.log.allClaims().keys()].filter((key) => key.includes('RebalancePlan'))).toEqual([]);
  });

  it('goes by itself an hour after its end', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.plan('try', { hosts: ['host-1'], approved: true });
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Completed', message: 'there was nothing to move' } }]);
    await rest(fleet, 3_610_000);
    expect(fleet.plans()).toEqual([]);
  });

  it.each([
    [{ mode: 'evacuate' as const }, 'spec.hosts', 'FieldValueRequired'],
    [{ hosts: ['host-9'] }, 'spec.hosts[0]', 'FieldValueNotFound'],
    [{ cluster: 'other', hosts: ['host-1'] }, 'spec.cluster', 'FieldValueNotFound'],
  ])('refuses what makes no sense: %j', async (spec, field, reason) => {
    const fleet = await fleetOf(host(1));
    expect(await fleet.plan('try', spec)).toMatchObject({
      ok: false,
      rejection: { code: 'object_invalid', causes: [{ field, reason }] },
    });
  });

  it('does not change once it is made, but for its approval', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('a', 'host-1');
    await fleet.plan('try', { hosts: ['host-1'] });
    const code = { ok: false, rejection: { code: 'object_invalid' } };
    expect(await fleet.plan('try', { hosts: ['host-2'] }, 'update')).toMatchObject(code);
    await fleet.plan('try', { hosts: ['host-1'], approved: true }, 'update');
    expect(await fleet.plan('try', { hosts: ['host-1'], approved: false }, 'update')).toMatchObject(code);
  });
});

describe('a cluster’s policy', () => {
  const policy = (fleet: RebalancedFleet, rebalancing: object): void =>
    fleet.scheduler.logged('cluster', clusterUid, 'ClusterSpecChanged', {
      document: {
        kind: 'Cluster',
        metadata: { name: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
        spec: {
          cpuOvercommit: 4,
          rebalancing: { mode: 'balance', execution: 'automatic', intervalSeconds: 60, maxMoves: 16, ...rebalancing },
        },
      },
    });
  const crowded = async (): Promise<RebalancedFleet> => {
    const fleet = await fleetOf(host(1), host(2));
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await fleet.run(name, 'host-1');
    return fleet;
  };

  it('moves machines where that gains more than it costs, and nothing once the hosts are even', async () => {
    const fleet = await crowded();
    policy(fleet, {});
    await rest(fleet, 150_000);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Completed', cause: 'Schedule' } }]);
    const there = ['a', 'b', 'c', 'd', 'e', 'f'].filter((name) => fleet.hostOf(name) === 'host-2');
    expect(there).toHaveLength(3);
    const before = fleet.eventTypes().length;
    await rest(fleet, 600_000);
    expect(fleet.eventTypes()).toHaveLength(before);
  });

  it('waits for approval where it says so, with one proposal at a time', async () => {
    const fleet = await crowded();
    policy(fleet, { execution: 'manual' });
    await rest(fleet, 300_000);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Proposed', cause: 'Schedule' } }]);
    expect(fleet.migrations).toEqual([]);
  });

  it('leaves hosts empty and names them', async () => {
    const fleet = await fleetOf(host(1), host(2), host(3));
    for (const [name, where] of Object.entries({ a: 'host-1', b: 'host-2', c: 'host-3' })) await fleet.run(name, where);
    policy(fleet, { mode: 'consolidate' });
    await rest(fleet, 150_000);
    const [plan] = fleet.plans();
    expect(plan).toMatchObject({ status: { phase: 'Completed', after: { emptyHosts: 2 } } });
    expect(new Set(['a', 'b', 'c'].map((name) => fleet.hostOf(name))).size).toBe(1);
  });

  it('goes by what machines do, not by what they have reserved', async () => {
    const fleet = await fleetOf(host(1), host(2));
    for (const name of ['a', 'b']) await fleet.run(name, 'host-1');
    for (const name of ['c', 'd']) await fleet.run(name, 'host-2');
    policy(fleet, {});
    const beat = (): void => {
      const busy = (name: string): { name: string; cpu: number } => ({ name, cpu: 4 });
      const idle = (name: string): { name: string; cpu: number } => ({ name, cpu: 0.1 });
      for (const where of ['host-1', 'host-2']) {
        const there = ['a', 'b', 'c', 'd'].filter((name) => fleet.hostOf(name) === where);
        fleet.beat(
          where,
          there.map((name) => (name === 'a' || name === 'b' ? busy(name) : idle(name))),
        );
      }
    };
    for (let passed = 0; passed < 200_000; passed += 10_000) {
      beat();
      await rest(fleet, 10_000);
    }
    expect(fleet.hostOf('a')).not.toBe(fleet.hostOf('b'));
  });

  it('does nothing once it is off', async () => {
    const fleet = await crowded();
    policy(fleet, { mode: 'off' });
    await rest(fleet, 300_000);
    expect(fleet.plans()).toEqual([]);
  });

  it('carries out one plan of a cluster at a time', async () => {
    const fleet = await crowded();
    fleet.atOnce = false;
    const spec = { mode: 'balance' as const, approved: true };
    expect(await fleet.plan('one', spec)).toMatchObject({ ok: true });
    await rest(fleet);
    expect(await fleet.plan('two', spec)).toMatchObject({ rejection: { code: 'operation_in_progress' } });
    expect(await fleet.plan('dry', { mode: 'balance' })).toMatchObject({ ok: true });
  });
});
