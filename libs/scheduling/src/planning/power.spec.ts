import { NO_POWER_MANAGEMENT, type PlacementRequest, type PowerManagementPolicy } from '@xenolith/contracts';
import { present } from '@xenolith/kernel';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALWAYS } from '../availability/failover.spec-fixture.js';
import { GIB, requestFor, type TestHost } from '../scheduler.spec-fixture.js';
import { anyRequest, IndexedFleet } from './fleet.spec-fixture.js';
import { planParking } from './park.js';
import { replay } from './replay.spec-fixture.js';
import { planWaking } from './wake.js';
import { WhatIf } from './what-if.js';

const cluster = 'default';
const NONE: PowerManagementPolicy = { ...NO_POWER_MANAGEMENT, mode: 'Automatic', sparePercent: 0 };
const OFF = { ready: false, parked: true, power: { state: 'Off' } } as const;
const STARTING = { ready: false, parked: false, power: { state: 'Starting' } } as const;

/** Hosts of ten GiB and eight threads, and the machines on them: their memory in GiB. */
class Lab {
  readonly fleet: IndexedFleet;
  private readonly hosts = new Map<string, TestHost>();
  private readonly requests = new Map<string, PlacementRequest>();

  constructor(
    layout: Readonly<Record<string, Partial<TestHost> & { readonly machines?: readonly number[] }>>,
    hostFailures = 0,
    private readonly policy: Partial<PowerManagementPolicy> = {},
  ) {
    for (const [name, { machines: _there, ...more }] of Object.entries(layout))
      this.hosts.set(name, { name, memoryBytes: 10 * GIB, threads: 8, ...more });
    const promise = hostFailures === 0 ? undefined : { hostFailures };
    this.fleet = new IndexedFleet([...this.hosts.values()], 'density', promise);
    for (const [host, { machines = [] }] of Object.entries(layout))
      for (const [number, gib] of machines.entries())
        this.put(`${host}${number}`, requestFor(`${host}${number}`, { memoryBytes: gib * GIB, ha: ALWAYS }), host);
  }

  put(name: string, request: PlacementRequest, host: string): void {
    this.requests.set(name, request);
    this.fleet.put(name, request, { host });
  }

  set(name: string, change: Partial<TestHost>): void {
    const host = { ...present(this.hosts.get(name), `there is a host ${name}`), ...change };
    this.hosts.set(name, host);
    this.fleet.setHost(host);
  }

  copy(): WhatIf {
    return WhatIf.of(this.fleet.index);
  }

  asked() {
    return { cluster, policy: { ...NONE, ...this.policy }, waiting: this.fleet.index.waiting() };
  }

  parking(more: { readonly isIdle?: (host: string) => boolean } = {}) {
    return planParking(() => this.copy(), { ...this.asked(), maxMoves: 16, isIdle: () => true, ...more });
  }

  parks(): readonly string[] {
    return this.parking().parks.map(({ host }) => host);
  }

  wakes(): string | undefined {
    return planWaking(this.copy(), this.asked())?.host;
  }

  /** As the platform does: machines move, empty hosts go off, hosts that are woken come up. Whether anything was done. */
  step(): boolean {
    const woken = this.wakes();
    if (woken !== undefined) {
      this.set(woken, { ready: true, parked: false, power: { state: 'On' } });
      return true;
    }
    const { moves, parks } = this.parking();
    if (parks.length === 0) return false;
    const copy = this.copy();
    replay(copy, moves);
    for (const { virtualMachine, to } of moves)
      this.put(virtualMachine.name, present(this.requests.get(virtualMachine.name), 'it was placed'), to);
    for (const { host } of parks) {
      const slot = present(copy.outlook.table.slotNamed(host), `there is a host ${host}`);
      expect(copy.on(slot)).toEqual([]);
      this.set(host, OFF);
    }
    return true;
  }

  state(): string | undefined {
    return this.copy().guard.assessment(cluster)?.state;
  }
}

describe('hosts that nobody needs', () => {
  it('are parked, the last first, all but those that are to stay on', () => {
    expect(new Lab({ a: { machines: [2] }, b: {}, c: {} }).parks()).toEqual(['c', 'b']);
    expect(new Lab({ a: { machines: [2] }, b: {}, c: {} }, 0, { hostsKept: 2 }).parks()).toEqual(['c']);
    expect(new Lab({ a: {} }).parks()).toEqual([]);
  });

  it('stay on while less than the spare, and a little more, would be free without them', () => {
    const spare = (sparePercent: number) => new Lab({ a: { machines: [7] }, b: {} }, 0, { sparePercent }).parks();
    expect(spare(25)).toEqual(['b']);
    expect(spare(26)).toEqual([]);
  });

  it('stay on for what the cluster promises of the loss of hosts that are on', () => {
    expect(new Lab({ a: { machines: [2] }, b: {}, c: {} }, 1).parks()).toEqual(['c']);
    expect(new Lab({ a: { machines: [6] }, b: { machines: [6] }, c: {} }, 1).parks()).toEqual([]);
  });

  it('stay on for a machine that waits for them', () => {
    const lab = new Lab({ a: { machines: [8] }, b: {} });
    lab.fleet.wait('next', requestFor('next', { memoryBytes: 4 * GIB }));
    expect(lab.parks()).toEqual([]);
  });

  it('stay on until they have been empty for long enough', () => {
    const lab = new Lab({ a: { machines: [2] }, b: {}, c: {} });
    expect(lab.parking({ isIdle: (host) => host === 'b' }).parks).toMatchObject([{ host: 'b' }]);
  });

  it('stay on where a machine has to leave its host, and no other host is of its kind', () => {
    const kvm = { hypervisor: 'kvm' } as const;
    const lab = new Lab({ a: { machines: [1] }, b: kvm, c: { ...kvm, unschedulable: true }, d: {} });
    const inKvm = requestFor('k', { memoryBytes: GIB, hypervisor: 'kvm', guestType: 'hvm' });
    lab.put('k', inKvm, 'c');
    expect(lab.parks()).toEqual(['d']);
  });

  it('are emptied by moves that serve nothing else, and say why', () => {
    const plan = new Lab({ a: { machines: [4] }, b: { machines: [1] } }).parking();
    expect(plan.moves).toMatchObject([{ from: 'b', to: 'a' }]);
    expect(plan.parks).toEqual([
      {
        host: 'b',
        reason: 'its machines go to other hosts; 50 % of the memory and 93 % of the virtual CPUs are free without it',
      },
    ]);
    expect(new Lab({ a: { machines: [4] }, b: { machines: [1] } }, 0, { hostsKept: 2 }).parking()).toMatchObject({
      moves: [],
      parks: [],
    });
  });

  it('are not emptied where that takes longer than they would have to be idle', () => {
    const machines = { a: { machines: [2] }, b: { machines: [3, 3] } };
    expect(new Lab(machines, 0, { idleSeconds: 600 }).parking().parks).toHaveLength(1);
    expect(new Lab(machines, 0, { idleSeconds: 1 }).parking()).toMatchObject({ moves: [], parks: [] });
  });
});

describe('a parked host', () => {
  const waits = (lab: Lab, name: string, gib: number) =>
    lab.fleet.wait(name, requestFor(name, { memoryBytes: gib * GIB }));

  it('is woken for a machine that fits on no host that is on, one alone', () => {
    const lab = new Lab({ a: { machines: [8] }, b: OFF, c: OFF });
    expect(lab.wakes()).toBeUndefined();
    waits(lab, 'next', 4);
    expect(planWaking(lab.copy(), lab.asked())).toEqual({
      host: 'b',
      reason: 'virtual machine default/next fits on no host that is on',
    });
    lab.set('b', STARTING);
    expect(lab.wakes()).toBeUndefined();
    waits(lab, 'another', 5);
    expect(lab.wakes()).toBeUndefined();
    waits(lab, 'third', 5);
    expect(lab.wakes()).toBe('c');
  });

  it('is passed over where the machine would not fit on it either', () => {
    const lab = new Lab({ a: { machines: [8] }, b: { ...OFF, memoryBytes: 4 * GIB }, c: OFF });
    waits(lab, 'next', 6);
    expect(lab.wakes()).toBe('c');
    waits(new Lab({ a: {}, b: OFF }), 'giant', 50);
    const giant = new Lab({ a: {}, b: OFF });
    waits(giant, 'giant', 50);
    expect(giant.wakes()).toBeUndefined();
  });

  it('is woken instead of one that did not come up', () => {
    const lab = new Lab({
      a: { machines: [8] },
      b: { ...OFF, parked: false, power: { state: 'Off', failures: 1 } },
      c: OFF,
    });
    waits(lab, 'next', 4);
    expect(lab.wakes()).toBe('c');
  });

  it('is left off while people keep it out', () => {
    const lab = new Lab({ a: { machines: [8] }, b: { ...OFF, maintenance: true }, c: { ...OFF, unschedulable: true } });
    waits(lab, 'next', 4);
    expect(lab.wakes()).toBeUndefined();
  });

  it('is first one that has not gone off yet', () => {
    const lab = new Lab({ a: { machines: [8] }, b: OFF, c: { parked: true, power: { state: 'On' } } });
    waits(lab, 'next', 4);
    expect(lab.wakes()).toBe('c');
  });

  it('is woken where less is free than is wanted, or fewer hosts are on', () => {
    const lab = (policy: Partial<PowerManagementPolicy>) => new Lab({ a: { machines: [7] }, b: OFF }, 0, policy);
    expect(lab({ sparePercent: 30 }).wakes()).toBeUndefined();
    expect(lab({ sparePercent: 31 }).wakes()).toBe('b');
    expect(lab({ hostsKept: 2 }).wakes()).toBe('b');
  });

  it('is woken where what the cluster promises of the loss of hosts does not hold, if that helps', () => {
    expect(new Lab({ a: { machines: [2] }, b: OFF }, 1).wakes()).toBe('b');
    expect(new Lab({ a: { machines: [2] }, b: { ...OFF, memoryBytes: GIB } }, 1).wakes()).toBeUndefined();
  });

  it('is woken for a machine that waits because a loss would not be covered', () => {
    const lab = new Lab({ a: { machines: [5] }, b: { machines: [5] }, c: OFF }, 1);
    lab.fleet.wait('next', requestFor('next', { memoryBytes: 2 * GIB, ha: ALWAYS }));
    expect(lab.wakes()).toBe('c');
  });
});

describe('power management as a whole', () => {
  const anyLab = fc
    .tuple(
      fc.array(
        fc.record({
          memoryBytes: fc.constantFrom(8, 10, 16).map((gib) => gib * GIB),
          off: fc.boolean(),
          machines: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }),
        }),
        { minLength: 2, maxLength: 6 },
      ),
      fc.array(anyRequest, { maxLength: 3 }),
      fc.record({
        hostFailures: fc.constantFrom(0, 1),
        hostsKept: fc.integer({ min: 1, max: 3 }),
        sparePercent: fc.constantFrom(0, 20, 50),
      }),
    )
    .map(([hosts, waiting, { hostFailures, ...policy }]) => {
      const layout = hosts.map(({ off, machines, ...host }, number): [string, Partial<TestHost>] => [
        `h${number}`,
        { ...host, ...(off ? OFF : { machines: fitting(machines, host.memoryBytes) }) },
      ]);
      const lab = new Lab(Object.fromEntries(layout), hostFailures, policy);
      for (const [number, request] of waiting.entries())
        lab.fleet.wait(`w${number}`, requestFor(`w${number}`, request));
      return lab;
    });
  const fitting = (machines: readonly number[], memoryBytes: number): readonly number[] =>
    machines.filter((_gib, at) => machines.slice(0, at + 1).reduce((sum, gib) => sum + gib, 0) * GIB <= memoryBytes);

  it('comes to rest under constant load, and keeps the promise with the hosts that are on', () => {
    fc.assert(
      fc.property(anyLab, (lab) => {
        const kept = lab.state();
        const before = lab.wakes();
        let steps = 0;
        let held = kept === 'Protected';
        while (lab.step()) {
          // Each host is woken once at most, then parked once at most: more would be to and fro.
          expect((steps += 1)).toBeLessThanOrEqual(12);
          if (held) expect(lab.state()).toBe('Protected');
          held ||= lab.state() === 'Protected';
        }
        if (before === undefined && steps === 0) expect(lab.state()).toBe(kept);
        const { table } = lab.copy().outlook;
        for (const { slot } of lab.copy().machines()) expect(table.isOpen(slot)).toBe(true);
      }),
    );
  });
});
