import type { HostTable } from './host-table.js';

/** What the hosts of a cluster have, and what of it is promised. */
export interface ClusterFigures {
  readonly cluster: string;
  /** Hosts that machines may be placed on, and others. */
  readonly open: number;
  readonly closed: number;
  readonly memoryBytes: number;
  readonly reservedMemoryBytes: number;
  readonly vcpus: number;
  readonly reservedVcpus: number;
}

type Sum = { -readonly [Name in keyof ClusterFigures]: ClusterFigures[Name] };

const nothing = (cluster: string): Sum => ({
  cluster,
  open: 0,
  closed: 0,
  memoryBytes: 0,
  reservedMemoryBytes: 0,
  vcpus: 0,
  reservedVcpus: 0,
});

const isOpen = (table: HostTable, slot: number): boolean =>
  table.ready[slot] === 1 && table.unschedulable[slot] !== 1 && table.maintenance[slot] !== 1;

/** A walk over all hosts: 10,000 take about a millisecond. */
export const clusterFigures = (table: HostTable): readonly ClusterFigures[] => {
  const sums = new Map<string, Sum>();
  for (let slot = 0; slot < table.length; slot += 1) {
    if (table.present[slot] !== 1) continue;
    const cluster = table.clusterOf(slot);
    const sum = sums.get(cluster) ?? nothing(cluster);
    sums.set(cluster, sum);
    sum[isOpen(table, slot) ? 'open' : 'closed'] += 1;
    sum.memoryBytes += table.memory[slot] ?? 0;
    sum.reservedMemoryBytes += table.usedMemory[slot] ?? 0;
    sum.vcpus += table.vcpus[slot] ?? 0;
    sum.reservedVcpus += table.usedVcpus[slot] ?? 0;
  }
  return [...sums.values()];
};
