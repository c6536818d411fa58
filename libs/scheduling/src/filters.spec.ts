import type { PlacementRequest } from '@xenolith/contracts';
import { describe, expect, it } from 'vitest';
import { hostFacts as host, TestFleet } from './fleet.spec-fixture.js';
import type { Filter, Wish } from './filters.js';
import type { HostFacts } from './host-table.js';
import { GIB } from './scheduler.spec-fixture.js';

const gpu = 'example.com/gpu';
const cells = [
  { memoryBytes: 3 * GIB, vcpus: 8, pin: '0-1' },
  { memoryBytes: 5 * GIB, vcpus: 4, pin: '2-3' },
];
const dedicated = { key: 'dedicated', value: 'db', effect: 'NoSchedule' } as const;
const inZone = (operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', ...values: string[]) => ({
  hostAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {
      hostSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator, values }] }],
    },
  },
});

/** What a host is, what is asked, and which filter refuses; null: it fits. */
const CASES: readonly [string, Partial<HostFacts>, Partial<PlacementRequest>, Filter | null][] = [
  ['the host that is asked for', {}, { host: 'a' }, null],
  ['another host than is asked for', {}, { host: 'b' }, 'host'],
  ['the host that is to be left', {}, { exceptHost: 'a' }, 'exceptHost'],
  ['a host beside the one to be left', {}, { exceptHost: 'b' }, null],
  ['the cluster', { cluster: 'prod' }, { cluster: 'prod' }, null],
  ['another cluster', { cluster: 'lab' }, { cluster: 'prod' }, 'cluster'],
  ['a pv guest on Xen', {}, { guestType: 'pv' }, null],
  ['a pv guest on KVM', { hypervisor: 'kvm' }, { guestType: 'pv' }, 'hypervisor'],
  ['a pvh guest on KVM', { hypervisor: 'kvm' }, { guestType: 'pvh' }, 'hypervisor'],
  ['an hvm guest on KVM', { hypervisor: 'kvm' }, { guestType: 'hvm' }, null],
  ['a guest that needs Xen, on KVM', { hypervisor: 'kvm' }, { guestType: 'hvm', hypervisor: 'xen' }, 'hypervisor'],
  ['a guest that needs KVM, on Xen', {}, { guestType: 'hvm', hypervisor: 'kvm' }, 'hypervisor'],
  ['an hvm guest without extensions', { features: ['sse'] }, { guestType: 'hvm' }, 'hypervisor'],
  ['a pv guest without extensions', { features: ['sse'] }, { guestType: 'pv' }, null],
  ['a pvh guest with extensions', { features: ['vmx', 'ept'] }, {}, null],
  ['features that are there', { features: ['svm', 'avx2'] }, { cpuFeatures: ['avx2'] }, null],
  ['features that are not there', { features: ['svm'] }, { cpuFeatures: ['avx2'] }, 'cpuFeatures'],
  ['storage that is reached', { storageDomains: ['nfs'] }, { storageDomains: ['nfs'] }, null],
  ['storage that is not reached', { storageDomains: ['nfs'] }, { storageDomains: ['fc'] }, 'storage'],
  ['storage of a host that reaches all', {}, { storageDomains: ['fc'] }, null],
  ['one of two storages', { storageDomains: ['nfs'] }, { storageDomains: ['nfs', 'fc'] }, 'storage'],
  ['no storage on a host that reaches none', { storageDomains: [] }, {}, null],
  ['a network that is reached', { networks: ['default/lan'] }, { networks: ['lan'] }, null],
  ['a network that is not reached', { networks: ['default/lan'] }, { networks: ['dmz'] }, 'network'],
  ['a network of that name in another namespace', { networks: ['other/lan'] }, { networks: ['lan'] }, 'network'],
  ['a network of a host that reaches all', {}, { networks: ['dmz'] }, null],
  ['labels', { labels: { disk: 'ssd' } }, { hostSelector: { disk: 'ssd' } }, null],
  ['other labels', { labels: { disk: 'hdd' } }, { hostSelector: { disk: 'ssd' } }, 'hostAffinity'],
  ['its own name as a label', {}, { hostSelector: { 'kubernetes.io/hostname': 'a' } }, null],
  ['another name as a label', {}, { hostSelector: { 'kubernetes.io/hostname': 'b' } }, 'hostAffinity'],
  ['a zone among several', { labels: { zone: 'z1' } }, { affinity: inZone('In', 'z1', 'z2') }, null],
  ['a zone not among several', { labels: { zone: 'z3' } }, { affinity: inZone('In', 'z1', 'z2') }, 'hostAffinity'],
  ['no zone where one is excluded', {}, { affinity: inZone('NotIn', 'z1') }, null],
  ['no zone where one must be', {}, { affinity: inZone('Exists') }, 'hostAffinity'],
  ['a zone where none may be', { labels: { zone: 'z1' } }, { affinity: inZone('DoesNotExist') }, 'hostAffinity'],
  ['a taint', { taints: [dedicated] }, {}, 'taints'],
  ['a taint that only advises', { taints: [{ ...dedicated, effect: 'PreferNoSchedule' }] }, {}, null],
  [
    'a tolerated taint',
    { taints: [dedicated] },
    { tolerations: [{ key: 'dedicated', operator: 'Equal', value: 'db' }] },
    null,
  ],
  [
    'a taint of another value',
    { taints: [dedicated] },
    { tolerations: [{ key: 'dedicated', operator: 'Equal', value: 'web' }] },
    'taints',
  ],
  ['every taint tolerated', { taints: [dedicated] }, { tolerations: [{ operator: 'Exists', value: '' }] }, null],
  ['as many vCPUs as its release gives a guest', { maxVcpus: { pv: 2, hvm: 2, pvh: 2 } }, { vcpus: 2 }, null],
  ['a vCPU more than its release gives a guest', { maxVcpus: { pv: 9, hvm: 9, pvh: 2 } }, { vcpus: 3 }, 'hypervisor'],
  ['a host that is lost', { ready: false }, {}, 'ready'],
  ['a host that is parked', { parking: 'parked' }, {}, 'parked'],
  ['a host that wakes', { parking: 'starting' }, {}, 'parked'],
  ['a host under maintenance', { maintenance: true }, {}, 'maintenance'],
  ['an unschedulable host', { unschedulable: true }, {}, 'unschedulable'],
  ['counted things that are there', { resources: { [gpu]: 2 } }, { resources: { [gpu]: 2 } }, null],
  ['more counted things than are there', { resources: { [gpu]: 1 } }, { resources: { [gpu]: 2 } }, 'resources'],
  ['counted things that nobody has', {}, { resources: { [gpu]: 1 } }, 'resources'],
  ['all the memory', {}, { memoryBytes: 8 * GIB }, null],
  ['a byte more than the memory', {}, { memoryBytes: 8 * GIB + 1 }, 'memory'],
  ['all the vCPUs of the over-commitment', {}, { vcpus: 16 }, null],
  ['one vCPU more', {}, { vcpus: 17 }, 'cpu'],
  ['what fits on one NUMA node', { cells }, { numa: 'single-numa-node', memoryBytes: 5 * GIB, vcpus: 4 }, null],
  ['what fits on several only', { cells }, { numa: 'single-numa-node', memoryBytes: 5 * GIB, vcpus: 5 }, 'numa'],
  ['one node on a host that tells of none', {}, { numa: 'single-numa-node' }, 'numa'],
  ['best effort on several', { cells }, { numa: 'best-effort', memoryBytes: 8 * GIB }, null],
];

/** `used`: by machines of no node; half of it is on each node, as long as both have room. */
const ON_NODES: readonly (readonly [what: string, used: number, asked: Partial<PlacementRequest>, Filter | null])[] = [
  ['what others leave of a node', 3, { memoryBytes: 3.5 * GIB }, null],
  ['a byte more than others leave of a node', 3, { memoryBytes: 3.5 * GIB + 1 }, 'numa'],
  ['what fits on several only, when others are there', 3, { memoryBytes: 5 * GIB, numa: 'none' }, null],
];

describe('the filter of NUMA nodes', () => {
  it.each(ON_NODES)('%s', (_what, used, asked, filter) => {
    const fleet = new TestFleet(host('a', { cells }));
    fleet.use('a', used * GIB);
    const wish = { numa: 'single-numa-node' as const, vcpus: 1, ...asked };
    expect(fleet.refusal('a', wish)).toBe(filter);
    expect(fleet.fits('a', wish)).toBe(filter === null);
  });
});

describe('filters', () => {
  it.each(CASES)('%s', (_what, facts, asked, filter) => {
    const fleet = new TestFleet(host('a', facts));
    expect(fleet.refusal('a', asked)).toBe(filter);
    expect(fleet.fits('a', asked)).toBe(filter === null);
    expect(fleet.choose(asked)).toBe(filter === null ? 'a' : undefined);
  });

  it('look anew at what hosts reach when that has changed', () => {
    const fleet = new TestFleet(host('a'));
    const asked = { networks: ['lan'], storageDomains: ['nfs'] };
    expect(fleet.refusal('a', asked)).toBeNull();
    fleet.put(host('b', { networks: ['default/dmz'] }));
    expect(fleet.refusal('b', asked)).toBe('network');
    expect(fleet.refusal('b', { ...asked, networks: ['dmz'] })).toBeNull();
    expect(fleet.refusal('a', asked)).toBeNull();
  });

  it('refuse hosts of the same word, and those that were just taken by others', () => {
    const fleet = new TestFleet(host('a'));
    const taken = { has: (slot: number) => slot === 0 };
    const more = (wish: Partial<Wish>) => fleet.refusal('a', { antiAffinity: 'web' }, wish);
    expect(more({ antiAffine: taken })).toBe('antiAffinity');
    expect(more({ contended: taken })).toBe('contended');
    expect(more({})).toBeNull();
  });
});

const term = (app: string, topologyKey: string) => ({ labelSelector: { matchLabels: { app } }, topologyKey });
const required = (...terms: ReturnType<typeof term>[]) => ({ requiredDuringSchedulingIgnoredDuringExecution: terms });
const HOST = 'kubernetes.io/hostname';

describe('rules between machines', () => {
  const fleet = (): TestFleet => {
    const made = new TestFleet(
      host('a', { labels: { rack: 'r1' } }),
      host('b', { labels: { rack: 'r1' } }),
      host('c', { labels: { rack: 'r2' } }),
      host('d'),
    );
    made.machine('db-1', 'a', { labels: { app: 'db' } });
    return made;
  };
  const verdicts = (made: TestFleet, asked: Partial<PlacementRequest>) =>
    ['a', 'b', 'c', 'd'].map((name) => made.refusal(name, asked));

  it('keep a machine near to others, by host and by rack', () => {
    const near = 'machineAffinity';
    const byHost = { affinity: { virtualMachineAffinity: required(term('db', HOST)) } };
    expect(verdicts(fleet(), byHost)).toEqual([null, near, near, near]);
    const byRack = { affinity: { virtualMachineAffinity: required(term('db', 'rack')) } };
    expect(verdicts(fleet(), byRack)).toEqual([null, null, near, near]);
    expect(fleet().choose(byHost)).toBe('a');
  });

  it('let the first of a group be anywhere', () => {
    const together = { labels: { app: 'web' }, affinity: { virtualMachineAffinity: required(term('web', HOST)) } };
    expect(verdicts(fleet(), together)).toEqual([null, null, null, null]);
    expect(verdicts(fleet(), { ...together, labels: {} })).toEqual(Array(4).fill('machineAffinity'));
  });

  it('keep a machine far from others, by host and by rack', () => {
    const far = 'machineAntiAffinity';
    const byHost = { affinity: { virtualMachineAntiAffinity: required(term('db', HOST)) } };
    expect(verdicts(fleet(), byHost)).toEqual([far, null, null, null]);
    const byRack = { affinity: { virtualMachineAntiAffinity: required(term('db', 'rack')) } };
    expect(verdicts(fleet(), byRack)).toEqual([far, far, null, null]);
  });

  it('keep away a machine that those which are there want far', () => {
    const made = fleet();
    made.machine('proud', 'c', { far: [term('web', 'rack')] });
    expect(verdicts(made, { labels: { app: 'web' } })).toEqual([null, null, 'machineAntiAffinity', null]);
    expect(verdicts(made, { labels: { app: 'db' } })).toEqual([null, null, null, null]);
    made.fleet.affinity.remove('proud');
    expect(verdicts(made, { labels: { app: 'web' } })).toEqual([null, null, null, null]);
  });

  it('count machines that come and go after the rule was first asked for', () => {
    const made = fleet();
    const byHost = { affinity: { virtualMachineAntiAffinity: required(term('db', HOST)) } };
    expect(verdicts(made, byHost)[1]).toBeNull();
    made.machine('db-2', 'b', { labels: { app: 'db' } });
    expect(verdicts(made, byHost)[1]).toBe('machineAntiAffinity');
    made.fleet.affinity.remove('db-2');
    expect(verdicts(made, byHost)[1]).toBeNull();
  });

  it('see a host move to another rack', () => {
    const made = fleet();
    const byRack = { affinity: { virtualMachineAntiAffinity: required(term('db', 'rack')) } };
    expect(verdicts(made, byRack)[2]).toBeNull();
    made.put(host('a', { labels: { rack: 'r2' } }));
    made.fleet.affinity.relabelled();
    expect(verdicts(made, byRack).slice(0, 3)).toEqual(['machineAntiAffinity', null, 'machineAntiAffinity']);
  });

  it('do not hold of a machine and itself while it moves', () => {
    const made = fleet();
    const self = { labels: { app: 'web' }, affinity: { virtualMachineAntiAffinity: required(term('web', 'rack')) } };
    const { uid } = made.wish({}).request.virtualMachine;
    made.machine('vm', 'a', { uid, labels: { app: 'web' }, far: [term('web', 'rack')] });
    expect(verdicts(made, self)).toEqual([null, null, null, null]);
  });

  it('took a machine that moves within a rack for one of those that it is to be near to, or far from', () => {
    const made = fleet();
    const { uid } = made.wish({}).request.virtualMachine;
    made.machine('vm', 'b', { uid, labels: { app: 'web' } });
    const byRack = required(term('db', 'rack'));
    const [near, far] = ['machineAffinity', 'machineAntiAffinity'];
    expect(verdicts(made, { affinity: { virtualMachineAffinity: byRack } })).toEqual([null, null, near, near]);
    expect(verdicts(made, { affinity: { virtualMachineAntiAffinity: byRack } })).toEqual([far, far, null, null]);
  });

  it('let the only machine of those that are to be together move anywhere', () => {
    const made = fleet();
    const together = { labels: { app: 'lone' }, affinity: { virtualMachineAffinity: required(term('lone', HOST)) } };
    const { uid } = made.wish({}).request.virtualMachine;
    made.machine('vm', 'a', { uid, labels: { app: 'lone' } });
    expect(verdicts(made, together)).toEqual([null, null, null, null]);
    made.machine('another', 'b', { labels: { app: 'lone' } });
    expect(verdicts(made, together)).toEqual(['machineAffinity', null, 'machineAffinity', 'machineAffinity']);
  });
});
