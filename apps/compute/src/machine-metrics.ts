import type { HostFigures } from '@xenolith/compute';
import type { DomainFiguresReport } from '@xenolith/contracts';
import { Counter, Gauge, type Registry } from 'prom-client';

export interface MachinesView {
  readonly machine: (
    uid: string,
  ) => { readonly name: string; readonly namespace: string; readonly host: string | null } | undefined;
  /** What hosts said last. */
  readonly figures: () => readonly HostFigures[];
  /** Machines beyond so many show no series of their own: a scrape has to end. */
  readonly most: number;
}

interface Series {
  readonly name: string;
  readonly help: string;
  /** Counters begin anew with each domain, as they do when a process starts. */
  readonly type: 'gauge' | 'counter';
  /** Undefined: the host did not say. */
  readonly of: (domain: DomainFiguresReport) => number | undefined;
}

const sum = <Item>(items: readonly Item[] | undefined, of: (item: Item) => number): number | undefined =>
  items?.reduce((total, item) => total + of(item), 0);

const SERIES: readonly Series[] = [
  { name: 'cpu_cores', type: 'gauge', help: 'Hardware threads that it keeps busy.', of: ({ cpu }) => cpu },
  { name: 'steal_cores', type: 'gauge', help: 'Threads that it could use and does not get.', of: ({ steal }) => steal },
  { name: 'cpu_seconds_total', type: 'counter', help: 'CPU time of its domain.', of: ({ cpuSeconds }) => cpuSeconds },
  {
    name: 'steal_seconds_total',
    type: 'counter',
    help: 'Time that it waited for a thread.',
    of: ({ stealSeconds }) => stealSeconds,
  },
  {
    name: 'memory_bytes',
    type: 'gauge',
    help: 'Memory of its domain, overhead included.',
    of: ({ memoryBytes }) => memoryBytes,
  },
  {
    name: 'shared_memory_bytes',
    type: 'gauge',
    help: 'Of that, what it has in common with others.',
    of: ({ sharedBytes }) => sharedBytes,
  },
  {
    name: 'balloon_target_bytes',
    type: 'gauge',
    help: 'Memory that its balloon is to leave it.',
    of: ({ balloon }) => balloon?.targetBytes,
  },
  {
    name: 'disk_read_bytes_total',
    type: 'counter',
    help: 'Bytes read from its disks.',
    of: ({ disks }) => sum(disks, ({ readBytes }) => readBytes),
  },
  {
    name: 'disk_written_bytes_total',
    type: 'counter',
    help: 'Bytes written to its disks.',
    of: ({ disks }) => sum(disks, ({ writtenBytes }) => writtenBytes),
  },
  {
    name: 'network_received_bytes_total',
    type: 'counter',
    help: 'Bytes that its interfaces received.',
    of: ({ nics }) => sum(nics, ({ receivedBytes }) => receivedBytes),
  },
  {
    name: 'network_sent_bytes_total',
    type: 'counter',
    help: 'Bytes that its interfaces sent.',
    of: ({ nics }) => sum(nics, ({ sentBytes }) => sentBytes),
  },
  {
    name: 'ring_full_seconds_total',
    type: 'counter',
    help: 'Time that it found the rings of its disks and interfaces full.',
    of: ({ disks = [], nics = [] }) => {
      const rings = [...disks, ...nics].flatMap((device) => device.rings ?? []);
      return rings.length === 0 ? undefined : sum(rings, ({ fullSeconds }) => fullSeconds);
    },
  },
];

interface Shown {
  readonly labels: { readonly namespace: string; readonly vm: string; readonly host: string };
  readonly domain: DomainFiguresReport;
}

/** Machines by their names, in the order of their hosts, as far as the limit goes. Strays have no name, and no series. */
const shownOf = ({ machine: machineOf, figures, most }: MachinesView): { shown: readonly Shown[]; leftOut: number } => {
  const all = figures().flatMap(({ name: host, domainFigures }) =>
    domainFigures.flatMap((domain): Shown[] => {
      const machine = machineOf(domain.uid);
      if (machine?.host !== host) return [];
      return [{ labels: { namespace: machine.namespace, vm: machine.name, host }, domain }];
    }),
  );
  return { shown: all.slice(0, most), leftOut: Math.max(0, all.length - most) };
};

const LABELS = ['namespace', 'vm', 'host'] as const;

/** Figures of each machine at `/metrics`, as its host said lately. */
export const showMachines = (registry: Registry, view: MachinesView): void => {
  for (const { name, help, type, of } of SERIES) {
    const options = { name: `xenolith_vm_${name}`, help, labelNames: LABELS, registers: [registry] };
    const fill = (metric: Counter<(typeof LABELS)[number]> | Gauge<(typeof LABELS)[number]>): void => {
      metric.reset();
      for (const { labels, domain } of shownOf(view).shown) {
        const value = of(domain);
        if (value !== undefined) metric.inc(labels, value);
      }
    };
    const metric: Counter<(typeof LABELS)[number]> | Gauge<(typeof LABELS)[number]> =
      type === 'counter'
        ? new Counter({ ...options, collect: () => fill(metric) })
        : new Gauge({ ...options, collect: () => fill(metric) });
  }
  const leftOut: Gauge = new Gauge({
    name: 'xenolith_vm_figures_left_out',
    help: 'Running machines beyond the limit, which show no figures of their own.',
    registers: [registry],
    collect: (): void => leftOut.set(shownOf(view).leftOut),
  });
};
