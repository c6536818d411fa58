import { uuidFrom } from '@xenolith/kernel';
import { expect, it } from 'vitest';
import { clusterFigures } from './cluster-figures.js';
import { HostTable } from './host-table.js';

const facts = (name: string, cluster: string, more: { ready?: boolean; maintenance?: boolean } = {}) => ({
  name,
  cluster,
  hypervisor: 'xen' as const,
  ready: true,
  unschedulable: false,
  memoryBytes: 100,
  vcpus: 8,
  revision: 1,
  ...more,
});

it('sums what the hosts of each cluster have and have promised, and passes over hosts that are gone', () => {
  const table = new HostTable();
  const uid = (name: string) => uuidFrom('host', name);
  table.put(uid('a'), facts('a', 'one'));
  table.put(uid('b'), facts('b', 'one', { maintenance: true }));
  table.put(uid('c'), facts('c', 'two', { ready: false }));
  table.put(uid('d'), facts('d', 'two'));
  table.use(uid('a'), { memoryBytes: 40, vcpus: 2 }, 1);
  table.use(uid('b'), { memoryBytes: 10, vcpus: 1 }, 1);
  table.remove(uid('d'));
  expect(clusterFigures(table)).toEqual([
    { cluster: 'one', open: 1, closed: 1, memoryBytes: 200, reservedMemoryBytes: 50, vcpus: 16, reservedVcpus: 3 },
    { cluster: 'two', open: 0, closed: 1, memoryBytes: 100, reservedMemoryBytes: 0, vcpus: 8, reservedVcpus: 0 },
  ]);
});
