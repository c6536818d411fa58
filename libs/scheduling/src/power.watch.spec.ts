import type { PowerManagementPolicy } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { RebalancedFleet } from './rebalance.spec-fixture.js';
import { GIB, type TestHost } from './scheduler.spec-fixture.js';

const host = (number: number, more: Partial<TestHost> = {}): TestHost => ({
  name: `host-${number}`,
  memoryBytes: 10 * GIB,
  threads: 8,
  ...more,
});

const fleetOf = (...hosts: readonly TestHost[]): Promise<RebalancedFleet> => new RebalancedFleet().start(hosts);

const manage = (fleet: RebalancedFleet, power: Partial<PowerManagementPolicy>): void =>
  fleet.scheduler.logged('cluster', uuidFrom('cluster'), 'ClusterSpecChanged', {
    document: {
      metadata: { name: 'default', creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: {
        cpuOvercommit: 4,
        powerManagement: { mode: 'Automatic', hostsKept: 1, sparePercent: 20, idleSeconds: 60, ...power },
      },
    },
  });

const rest = (fleet: RebalancedFleet, ms: number): Promise<unknown> => fleet.scheduler.clock.advance(ms);

const on = (fleet: RebalancedFleet, names: readonly string[]): ReadonlySet<string> =>
  new Set(names.map((name) => fleet.hostOf(name)));

describe('automatic power management', () => {
  it('parks what is empty for long enough, each with its reason, and then leaves all as it is', async () => {
    const fleet = await fleetOf(host(1), host(2), host(3));
    await fleet.run('a', 'host-1');
    manage(fleet, {});
    await rest(fleet, 50_000);
    expect(fleet.power).toEqual([]);
    await rest(fleet, 30_000);
    expect(fleet.power.map(({ type, host: name }) => `${type} ${name}`)).toEqual([
      'ParkHost host-3',
      'ParkHost host-2',
    ]);
    expect(fleet.power[0]?.reason).toMatch(/^plan park-default-\S+: it is empty; \d+ % of the memory/);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Completed', cause: 'PowerManagement' } }]);
    const before = fleet.eventTypes().length;
    await rest(fleet, 1_000_000);
    expect(fleet.eventTypes()).toHaveLength(before);
  });

  it('empties hosts by a plan, and parks them once it has been carried out', async () => {
    const fleet = await fleetOf(host(1), host(2));
    for (const [name, where] of Object.entries({ a: 'host-1', b: 'host-2' })) await fleet.run(name, where);
    manage(fleet, {});
    await rest(fleet, 150_000);
    expect(on(fleet, ['a', 'b']).size).toBe(1);
    expect(fleet.power).toMatchObject([{ type: 'ParkHost' }]);
    expect(fleet.power[0]?.reason).toContain('its machines go to other hosts');
  });

  it('wakes one host for a machine that fits nowhere, which is placed there when it is up', async () => {
    const fleet = await fleetOf(host(1), host(2), host(3));
    await fleet.run('a', 'host-1', { memoryBytes: 6 * GIB });
    manage(fleet, {});
    await rest(fleet, 100_000);
    expect(fleet.power).toHaveLength(2);
    expect(await fleet.scheduler.place('b', { memoryBytes: 6 * GIB })).toMatchObject({
      rejection: { message: expect.stringContaining('2 are parked') as string },
    });
    await rest(fleet, 10_000);
    expect(fleet.power.slice(2)).toMatchObject([
      { type: 'WakeHost', host: 'host-2', reason: 'virtual machine default/b fits on no host that is on' },
    ]);
    await rest(fleet, 600_000);
    expect(fleet.scheduler.placements().find(({ request }) => request.virtualMachine.name === 'b')).toMatchObject({
      phase: 'Placed',
      host: 'host-2',
    });
    expect(fleet.power).toHaveLength(3);
  });

  it('wakes another host where one does not come up', async () => {
    const fleet = await fleetOf(host(1), host(2), host(3));
    await fleet.run('a', 'host-1', { memoryBytes: 6 * GIB });
    manage(fleet, {});
    await rest(fleet, 100_000);
    fleet.comesUp = false;
    await fleet.scheduler.place('b', { memoryBytes: 6 * GIB });
    await rest(fleet, 30_000);
    fleet.comesUp = true;
    await rest(fleet, 60_000);
    expect(fleet.power.slice(2).map(({ host: name }) => name)).toEqual(['host-2', 'host-3']);
  });

  it('is said once by several schedulers', async () => {
    const fleet = await new RebalancedFleet({ schedulers: 2 }).start([host(1), host(2), host(3)]);
    await fleet.run('a', 'host-1', { memoryBytes: 6 * GIB });
    manage(fleet, {});
    await rest(fleet, 200_000);
    expect(fleet.power.map(({ type }) => type)).toEqual(['ParkHost', 'ParkHost']);
    await fleet.scheduler.place('b', { memoryBytes: 6 * GIB });
    await rest(fleet, 100_000);
    expect(fleet.power.slice(2)).toMatchObject([{ type: 'WakeHost', host: 'host-2' }]);
  });
});

describe('manual power management', () => {
  it('proposes a plan that says which hosts it would park, and does so once it is approved', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('a', 'host-1');
    manage(fleet, { mode: 'Manual' });
    await rest(fleet, 300_000);
    const [plan] = fleet.plans();
    expect(fleet.plans()).toMatchObject([
      { status: { phase: 'Proposed', message: 'nothing to move; parks host-2', parks: [{ host: 'host-2' }] } },
    ]);
    expect(fleet.power).toEqual([]);
    const message = { mode: 'consolidate', park: true, maxMoves: 16, approved: true } as const;
    expect(plan && (await fleet.approve(plan, message))).toMatchObject({ ok: true });
    await rest(fleet, 10_000);
    expect(fleet.power).toMatchObject([{ type: 'ParkHost', host: 'host-2' }]);
  });

  it('wakes nobody', async () => {
    const fleet = await fleetOf(host(1), host(2, { ready: false, parked: true, power: { state: 'Off' } }));
    await fleet.run('a', 'host-1', { memoryBytes: 9 * GIB });
    manage(fleet, { mode: 'Manual' });
    await fleet.scheduler.place('b', { memoryBytes: 6 * GIB });
    await rest(fleet, 300_000);
    expect(fleet.power).toEqual([]);
  });
});

describe('a plan that parks', () => {
  it('is of mode consolidate', async () => {
    const fleet = await fleetOf(host(1), host(2));
    expect(await fleet.plan('odd', { mode: 'balance', park: true })).toMatchObject({
      rejection: { message: expect.stringContaining('spec.park: is of mode consolidate, not of balance') as string },
    });
  });

  it('leaves a host on that is needed by the time that it is carried out', async () => {
    const fleet = await fleetOf(host(1), host(2));
    await fleet.run('a', 'host-1', { memoryBytes: 6 * GIB });
    expect(await fleet.plan('later', { mode: 'consolidate', park: true })).toMatchObject({ ok: true });
    expect(fleet.plans()).toMatchObject([{ status: { parks: [{ host: 'host-2' }] } }]);
    await fleet.scheduler.place('b', { memoryBytes: 6 * GIB });
    await fleet.plan('later', { mode: 'consolidate', park: true, approved: true }, 'update');
    await rest(fleet, 10_000);
    expect(fleet.plans()).toMatchObject([{ status: { phase: 'Completed' } }]);
    expect(fleet.power).toEqual([]);
  });
});
