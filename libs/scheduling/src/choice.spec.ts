import { describe, expect, it } from 'vitest';
import { chooseHost, type SchedulingPolicy, type Wish } from './choice.js';
import { deferralMessage, explain } from './explanation.js';
import { HostTable, type HostFacts } from './host-table.js';
import { GIB, requestFor } from './scheduler.spec-fixture.js';

const facts = (name: string, more: Partial<HostFacts> = {}): HostFacts => ({
  name,
  cluster: 'default',
  hypervisor: 'xen',
  ready: true,
  unschedulable: false,
  memoryBytes: 8 * GIB,
  vcpus: 16,
  revision: 1,
  ...more,
});

const tableOf = (...hosts: readonly HostFacts[]): HostTable => {
  const table = new HostTable();
  for (const host of hosts) table.put(`uid-${host.name}`, host);
  return table;
};

const choose = (table: HostTable, wish: Wish, policy: SchedulingPolicy = 'balance', seed = 0): string | undefined =>
  table.names[chooseHost(table, wish, { policy, seed }).slot];

const whyNot = (table: HostTable, wish: Wish): string =>
  deferralMessage(explain(table, wish, chooseHost(table, wish, { policy: 'balance', seed: 0 }), 'balance'), wish);

describe('choosing a host', () => {
  it('takes the least loaded one to balance, the fullest that fits to pack', () => {
    const table = tableOf(facts('a'), facts('b'), facts('c'));
    table.use('uid-a', { memoryBytes: 4 * GIB, vcpus: 4 }, 1);
    table.use('uid-b', { memoryBytes: 2 * GIB, vcpus: 2 }, 1);
    expect(choose(table, { request: requestFor('vm') })).toBe('c');
    expect(choose(table, { request: requestFor('vm') }, 'pack')).toBe('a');
    expect(choose(table, { request: requestFor('vm', { memoryBytes: 5 * GIB }) }, 'pack')).toBe('b');
  });

  it('breaks ties by the seed, and leans away from hosts that are offered to others just now', () => {
    const table = tableOf(facts('a'), facts('b'));
    expect([0, 1].map((seed) => choose(table, { request: requestFor('vm') }, 'balance', seed))).toEqual(['a', 'b']);
    table.offer(0, { memoryBytes: GIB, vcpus: 1 }, 1);
    expect(choose(table, { request: requestFor('vm') })).toBe('b');
  });

  it('counts memory exactly and CPU up to the over-commitment', () => {
    const table = tableOf(facts('a', { memoryBytes: GIB, vcpus: 2 }));
    expect(choose(table, { request: requestFor('vm', { memoryBytes: GIB, vcpus: 2 }) })).toBe('a');
    expect(choose(table, { request: requestFor('vm', { memoryBytes: GIB + 1 }) })).toBeUndefined();
    expect(choose(table, { request: requestFor('vm', { vcpus: 3 }) })).toBeUndefined();
  });

  it('puts paravirtual guests on Xen only', () => {
    const table = tableOf(facts('a', { hypervisor: 'kvm' }));
    for (const guestType of ['pv', 'pvh'] as const)
      expect(choose(table, { request: requestFor('vm', { guestType }) })).toBeUndefined();
    expect(choose(table, { request: requestFor('vm', { guestType: 'hvm' }) })).toBe('a');
  });

  it('reuses the slot of a host that is gone once nothing is placed on it', () => {
    const table = tableOf(facts('a'));
    table.use('uid-a', { memoryBytes: GIB, vcpus: 1 }, 1);
    table.remove('uid-a');
    table.put('uid-b', facts('b'));
    expect(table.length).toBe(2);
    table.use('uid-a', { memoryBytes: GIB, vcpus: 1 }, -1);
    table.put('uid-c', facts('c'));
    expect(table.length).toBe(2);
    expect(choose(table, { request: requestFor('vm', { host: 'c' }) })).toBe('c');
  });
});

describe('explaining why no host fits', () => {
  it('counts hosts by the filter that refused them, with the one that came nearest', () => {
    const table = tableOf(facts('host-0001'), facts('host-0002'), facts('host-0003', { unschedulable: true }));
    table.use('uid-host-0001', { memoryBytes: 7 * GIB, vcpus: 1 }, 1);
    table.use('uid-host-0002', { memoryBytes: 6 * GIB, vcpus: 1 }, 1);
    expect(whyNot(table, { request: requestFor('vm', { memoryBytes: 9.1 * GIB }) })).toBe(
      '0/3 hosts: 1 is unschedulable, 2 lack memory (need 9.1Gi, most free 2Gi on host-0002)',
    );
  });

  it('names what is missing: cluster, hypervisor, the host itself, any host', () => {
    const table = tableOf(facts('a', { ready: false }), facts('b', { cluster: 'lab' }));
    expect(whyNot(table, { request: requestFor('vm', { cluster: 'prod' }) })).toBe(
      '0/2 hosts: 2 are not in cluster prod',
    );
    expect(whyNot(table, { request: requestFor('vm', { hypervisor: 'kvm' }) })).toBe(
      '0/2 hosts: 2 lack hypervisor kvm',
    );
    expect(whyNot(table, { request: requestFor('vm', { host: 'a' }) })).toBe('0/2 hosts: 1 is not ready');
    expect(whyNot(table, { request: requestFor('vm', { host: 'z' }) })).toBe('0/2 hosts: there is no host z');
    expect(whyNot(new HostTable(), { request: requestFor('vm') })).toBe('0/0 hosts: no host has registered yet');
  });
});
