import { clusterFigures, type CapacityIndex, type ClusterFigures } from '@xenolith/scheduling';
import { Gauge, type Registry } from 'prom-client';

const showPlacements = (registry: Registry, capacity: CapacityIndex): void => {
  const placements: Gauge = new Gauge({
    name: 'xenolith_placements',
    help: 'Machines that have their place on a host, and machines that wait for room.',
    labelNames: ['phase'],
    registers: [registry],
    collect: (): void => {
      const pending = capacity.pendingCount();
      placements.set({ phase: 'placed' }, capacity.standing().placements.size - pending);
      placements.set({ phase: 'pending' }, pending);
    },
  });
};

interface Figure {
  readonly name: string;
  readonly help: string;
  readonly of: (figures: ClusterFigures) => number;
}

const FIGURES: readonly Figure[] = [
  {
    name: 'xenolith_cluster_hosts_open',
    help: 'Hosts of a cluster that machines may be placed on.',
    of: ({ open }) => open,
  },
  {
    name: 'xenolith_cluster_hosts_closed',
    help: 'Hosts of a cluster that are not ready, in maintenance or marked unschedulable.',
    of: ({ closed }) => closed,
  },
  {
    name: 'xenolith_cluster_memory_bytes',
    help: 'Memory for machines on the hosts of a cluster.',
    of: ({ memoryBytes }) => memoryBytes,
  },
  {
    name: 'xenolith_cluster_reserved_memory_bytes',
    help: 'Of that, what is promised to machines.',
    of: ({ reservedMemoryBytes }) => reservedMemoryBytes,
  },
  {
    name: 'xenolith_cluster_vcpus',
    help: 'vCPUs that the hosts of a cluster may promise, overcommitment included.',
    of: ({ vcpus }) => vcpus,
  },
  {
    name: 'xenolith_cluster_reserved_vcpus',
    help: 'Of these, what is promised to machines.',
    of: ({ reservedVcpus }) => reservedVcpus,
  },
];

/** What the scheduler holds in memory, at `/metrics`: each scheduler shows all of it. */
export const registerSchedulingMetrics = (registry: Registry, capacity: CapacityIndex): void => {
  showPlacements(registry, capacity);
  for (const { name, help, of } of FIGURES) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: ['cluster'],
      registers: [registry],
      collect: (): void => {
        gauge.reset();
        for (const figures of clusterFigures(capacity.standing().table))
          gauge.set({ cluster: figures.cluster }, of(figures));
      },
    });
  }
};
