import type { PlacementChange, PlacementRequest } from '@xenolith/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainChoice } from './explanation.js';
import { hostFacts as host, TestFleet } from './fleet.spec-fixture.js';
import type { HostFacts } from './host-table.js';
import { PARKINGS } from './parking.js';
import { GIB } from './scheduler.spec-fixture.js';

describe('explaining why no host fits', () => {
  it('counts hosts by the filter that refused them, with the one that came nearest', () => {
    const fleet = new TestFleet(host('host-0001'), host('host-0002'), host('host-0003', { unschedulable: true }));
    fleet.use('host-0001', 7 * GIB);
    fleet.use('host-0002', 6 * GIB);
    expect(fleet.whyNot({ memoryBytes: 9.1 * GIB })).toBe(
      '0/3 hosts: 1 is unschedulable, 2 lack memory (need 9.1Gi, most free 2Gi on host-0002)',
    );
  });

  it('names what is missing: cluster, hypervisor, the host itself, any host', () => {
    const fleet = new TestFleet(host('a', { ready: false }), host('b', { cluster: 'lab' }));
    expect(fleet.whyNot({ cluster: 'prod' })).toBe('0/2 hosts: 2 are not in cluster prod');
    expect(fleet.whyNot({ hypervisor: 'kvm' })).toBe('0/2 hosts: 2 lack hypervisor kvm');
    const old = new TestFleet(host('a', { maxVcpus: { pv: 64, hvm: 64, pvh: 0 } }));
    expect(old.whyNot({ guestType: 'hvm', vcpus: 65 })).toBe('0/1 hosts: 1 runs no hvm guests of 65 virtual CPUs');
    expect(fleet.whyNot({ host: 'a' })).toBe('0/2 hosts: 1 is not ready');
    expect(fleet.whyNot({ host: 'z' })).toBe('0/2 hosts: there is no host z');
    const apart = new TestFleet(host('a', { storageDomains: ['nfs'], networks: ['default/lan'] }));
    expect(apart.whyNot({ storageDomains: ['nfs', 'fc'] })).toBe('0/1 hosts: 1 does not reach storage fc');
    expect(apart.whyNot({ networks: ['dmz', 'lan'] })).toBe('0/1 hosts: 1 does not reach network dmz');
    expect(fleet.whyNot({ hostSelector: { disk: 'ssd' } })).toBe('0/2 hosts: 2 lack labels (need disk=ssd)');
    expect(new TestFleet().whyNot({})).toBe('0/0 hosts: no host has registered yet');
  });

  it('says by how much, and everything that would have to change on the nearest', () => {
    const fleet = new TestFleet(host('a', { taints: [{ key: 'gpu', value: '', effect: 'NoSchedule' }] }));
    fleet.use('a', 7 * GIB, 15);
    expect(fleet.explain({ memoryBytes: 3 * GIB, vcpus: 2 }).refused).toMatchObject([
      {
        filter: 'taints',
        changes: [
          { filter: 'taints', name: 'gpu' },
          { filter: 'memory', amount: 2 * GIB, unit: 'bytes' },
          { filter: 'cpu', amount: 1, unit: 'vcpus' },
        ],
      },
    ]);
  });
});

describe('explaining a choice', () => {
  it('says which score decided, or that any of them would have done', () => {
    const fleet = new TestFleet(host('a'), host('b'));
    const said = (): string | undefined => {
      const choice = fleet.choice({ memoryBytes: 4 * GIB });
      return choice ? explainChoice(choice, 'balance').chosenBy : undefined;
    };
    expect(said()).toBe('balance: one of 2 hosts that fit, all alike');
    fleet.use('a', GIB);
    expect(said()).toBe('balance: the least loaded of 2 hosts that fit');
    fleet.use('a', 4 * GIB);
    expect(said()).toBe('balance: the only one that fits');
  });
});

interface Situation {
  readonly facts: HostFacts;
  readonly asked: Partial<PlacementRequest>;
  readonly used: { readonly memoryBytes: number; readonly vcpus: number };
}

const size = fc.integer({ min: 1, max: 12 });
const situation: fc.Arbitrary<Situation> = fc
  .record({
    ready: fc.boolean(),
    unschedulable: fc.boolean(),
    maintenance: fc.boolean(),
    parking: fc.constantFrom(...PARKINGS),
    hostCluster: fc.constantFrom('default', 'lab'),
    taints: fc.uniqueArray(fc.constantFrom('t1', 't2'), { maxLength: 2 }),
    disk: fc.constantFrom('ssd', 'hdd'),
    hypervisor: fc.constantFrom('xen' as const, 'kvm' as const),
    features: fc.subarray(['vmx', 'avx2']),
    askedFeatures: fc.subarray(['avx2', 'avx512f']),
    askedHost: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
    exceptHost: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
    storageDomains: fc.option(fc.subarray(['nfs', 'fc']), { nil: undefined }),
    networks: fc.option(fc.subarray(['default/lan', 'default/dmz', 'other/lan']), { nil: undefined }),
    askedStorage: fc.subarray(['nfs', 'fc']),
    askedNetworks: fc.subarray(['lan', 'dmz']),
    things: fc.nat(3),
    memory: size,
    vcpus: size,
    nodes: fc.array(fc.record({ memory: size, vcpus: size }), { maxLength: 3 }),
    usedMemory: fc.nat(8),
    usedVcpus: fc.nat(8),
    askedMemory: size,
    askedVcpus: size,
    askedThings: fc.nat(3),
    cluster: fc.option(fc.constant('default'), { nil: undefined }),
    askedDisk: fc.option(fc.constant('ssd'), { nil: undefined }),
    numa: fc.constantFrom('none' as const, 'single-numa-node' as const),
  })
  .map((drawn) => ({
    facts: host('a', {
      ready: drawn.ready,
      unschedulable: drawn.unschedulable,
      maintenance: drawn.maintenance,
      parking: drawn.parking,
      cluster: drawn.hostCluster,
      taints: drawn.taints.map((key) => ({ key, value: '', effect: 'NoSchedule' })),
      labels: { disk: drawn.disk },
      hypervisor: drawn.hypervisor,
      features: drawn.features,
      storageDomains: drawn.storageDomains,
      networks: drawn.networks,
      resources: { thing: drawn.things },
      memoryBytes: drawn.memory * GIB,
      vcpus: drawn.vcpus,
      cells: drawn.nodes.map((node) => ({ memoryBytes: node.memory * GIB, vcpus: node.vcpus, pin: '' })),
    }),
    used: { memoryBytes: drawn.usedMemory * GIB, vcpus: drawn.usedVcpus },
    asked: {
      memoryBytes: drawn.askedMemory * GIB,
      vcpus: drawn.askedVcpus,
      resources: { thing: drawn.askedThings },
      numa: drawn.numa,
      guestType: 'pv',
      cpuFeatures: drawn.askedFeatures,
      ...(drawn.askedHost === undefined ? {} : { host: drawn.askedHost }),
      ...(drawn.exceptHost === undefined ? {} : { exceptHost: drawn.exceptHost }),
      storageDomains: drawn.askedStorage,
      networks: drawn.askedNetworks,
      ...(drawn.cluster === undefined ? {} : { cluster: drawn.cluster }),
      ...(drawn.askedDisk === undefined ? {} : { hostSelector: { disk: drawn.askedDisk } }),
    },
  }));

const onNode = (facts: HostFacts, change: PlacementChange, amount: number): HostFacts['cells'] => {
  const cells = facts.cells?.length ? facts.cells : [{ memoryBytes: 24 * GIB, vcpus: 12, pin: '' }];
  return cells.map((cell, number) => {
    if (String(number) !== change.name) return cell;
    return change.unit === 'bytes'
      ? { ...cell, memoryBytes: cell.memoryBytes + amount }
      : { ...cell, vcpus: cell.vcpus + amount };
  });
};

/** The situation with a change made; `less`: by so much less than it says. */
const changed = (before: Situation, change: PlacementChange, less = 0): Situation => {
  const { facts, asked } = before;
  const amount = (change.amount ?? 0) - less;
  const withFacts = (more: Partial<HostFacts>): Situation => ({ ...before, facts: { ...facts, ...more } });
  switch (change.filter) {
    case 'cluster':
      return withFacts({ cluster: asked.cluster ?? '' });
    case 'host': {
      const { host: _named, ...anywhere } = asked;
      return { ...before, asked: anywhere };
    }
    case 'exceptHost': {
      const { exceptHost: _left, ...anywhere } = asked;
      return { ...before, asked: anywhere };
    }
    case 'hypervisor':
      return withFacts({ hypervisor: 'xen' });
    case 'cpuFeatures':
      return withFacts({ features: [...(facts.features ?? []), ...(asked.cpuFeatures ?? [])] });
    case 'storage':
      return withFacts({ storageDomains: [...(facts.storageDomains ?? []), change.name ?? ''] });
    case 'network':
      return withFacts({ networks: [...(facts.networks ?? []), `default/${change.name}`] });
    case 'hostAffinity':
      return withFacts({ labels: { ...facts.labels, ...asked.hostSelector } });
    case 'taints': {
      const tolerations = [...(asked.tolerations ?? []), { key: change.name, operator: 'Exists' as const, value: '' }];
      return { ...before, asked: { ...asked, tolerations } };
    }
    case 'ready':
      return withFacts({ ready: true });
    case 'parked':
      return withFacts({ parking: 'none' });
    case 'maintenance':
      return withFacts({ maintenance: false });
    case 'unschedulable':
      return withFacts({ unschedulable: false });
    case 'resources':
      return withFacts({ resources: { thing: (facts.resources?.['thing'] ?? 0) + amount } });
    case 'memory':
      return withFacts({ memoryBytes: facts.memoryBytes + amount });
    case 'cpu':
      return withFacts({ vcpus: facts.vcpus + amount });
    case 'numa':
      return withFacts({ cells: onNode(facts, change, amount) ?? [] });
    default:
      throw new Error(`nothing was drawn that ${change.filter} could refuse`);
  }
};

const outcome = ({ facts, asked, used }: Situation): { fits: boolean; changes: readonly PlacementChange[] } => {
  const fleet = new TestFleet(facts);
  fleet.use('a', used.memoryBytes, used.vcpus);
  const [group] = fleet.explain(asked).refused;
  return { fits: fleet.choose(asked) === 'a', changes: group?.changes ?? [] };
};

describe('the changes that a refusal names', () => {
  it('are enough together, and none of them can be left out or be less', () => {
    fc.assert(
      fc.property(situation, (drawn) => {
        const { fits, changes } = outcome(drawn);
        expect(fits).toBe(changes.length === 0);
        const all = changes.reduce((before, change) => changed(before, change), drawn);
        expect(outcome(all).fits).toBe(true);
        for (const left of changes) {
          const others = changes
            .filter((change) => change !== left)
            .reduce((before, change) => changed(before, change), drawn);
          expect(outcome(others).fits, `without ${left.message}`).toBe(false);
          if (left.amount === undefined) continue;
          expect(outcome(changed(others, left, 1)).fits, `${left.message}, one less`).toBe(false);
        }
      }),
      { numRuns: 500 },
    );
  });
});
