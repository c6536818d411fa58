import type { ComputeIndexes, HeartbeatMonitor, HostFigures } from '@xenolith/compute';
import { OPERATION_PHASES } from '@xenolith/contracts';
import { Gauge, type Registry } from 'prom-client';
import { showMachines } from './machine-metrics.js';

interface FleetView {
  readonly indexes: ComputeIndexes;
  readonly monitor: HeartbeatMonitor;
}

const CONDITIONS = ['ready', 'not_ready', 'parked'] as const;

/** A host that is powered off, or on its way there or back, is not missed. */
const conditionOf = (host: { readonly ready: boolean; readonly powered: string }): (typeof CONDITIONS)[number] => {
  if (host.powered !== 'On') return 'parked';
  return host.ready ? 'ready' : 'not_ready';
};

const countHosts = (registry: Registry, { indexes }: FleetView): void => {
  const hosts: Gauge = new Gauge({
    name: 'xenolith_hosts',
    help: 'Hosts, by whether they are ready, not ready, or parked: powered off, or on their way there or back.',
    labelNames: ['condition'],
    registers: [registry],
    collect: (): void => {
      for (const condition of CONDITIONS) hosts.set({ condition }, 0);
      for (const host of indexes.hosts.all()) hosts.inc({ condition: conditionOf(host) });
    },
  });
};

const countMachines = (registry: Registry, { indexes }: FleetView): void => {
  const machines: Gauge = new Gauge({
    name: 'xenolith_virtual_machines',
    help: 'Virtual machines, by power state.',
    labelNames: ['power_state'],
    registers: [registry],
    collect: (): void => {
      machines.reset();
      for (const [powerState, count] of indexes.machines.countByPowerState())
        machines.set({ power_state: powerState }, count);
    },
  });
};

const countOperations = (registry: Registry, { indexes }: FleetView): void => {
  const operations: Gauge = new Gauge({
    name: 'xenolith_operations',
    help: 'Operations that can be looked at, by phase; those that need an operator wait for his choice.',
    labelNames: ['phase'],
    registers: [registry],
    collect: (): void => {
      for (const phase of OPERATION_PHASES) operations.set({ phase }, indexes.operations.inPhase(phase));
    },
  });
};

const MS_PER_SECOND = 1_000;

/** The oldest of all heartbeats tells of agents that fall behind before any host is given up. */
const showSilence = (registry: Registry, { monitor }: FleetView): void => {
  const silence: Gauge = new Gauge({
    name: 'xenolith_hosts_longest_silence_seconds',
    help: 'Time since the last heartbeat of the ready host that was heard longest ago.',
    registers: [registry],
    collect: (): void => silence.set(monitor.longestSilenceMs() / MS_PER_SECOND),
  });
};

interface Figure {
  readonly name: string;
  readonly help: string;
  /** Undefined: the host did not say. */
  readonly of: (host: HostFigures) => number | undefined;
}

const FIGURES: readonly Figure[] = [
  { name: 'xenolith_host_cpu_load', help: 'Busy share of the hardware threads, 0 to 1.', of: (host) => host.cpuLoad },
  { name: 'xenolith_host_domains', help: 'Domains on the host, Dom0 left out.', of: (host) => host.domains },
  {
    name: 'xenolith_host_free_memory_bytes',
    help: 'Memory that no domain has.',
    of: (host) => host.freeMemoryBytes,
  },
  {
    name: 'xenolith_host_control_domain_cpu_cores',
    help: 'Hardware threads that Dom0 keeps busy.',
    of: (host) => host.controlDomain?.cpu,
  },
  {
    name: 'xenolith_host_control_domain_memory_used_bytes',
    help: 'Memory of Dom0 that its processes use.',
    of: (host) => host.controlDomain?.usedBytes,
  },
  {
    name: 'xenolith_host_migrations_incoming',
    help: 'Live migrations to the host.',
    of: (host) => host.migrations?.incoming,
  },
  {
    name: 'xenolith_host_migrations_outgoing',
    help: 'Live migrations away from the host.',
    of: (host) => host.migrations?.outgoing,
  },
  {
    name: 'xenolith_host_shared_memory_bytes',
    help: 'Memory that several domains have, where equal pages are merged.',
    of: (host) => host.sharing?.sharedBytes,
  },
  {
    name: 'xenolith_host_saved_memory_bytes',
    help: 'Memory that is saved by that.',
    of: (host) => host.sharing?.savedBytes,
  },
];

/** Figures of each host as its last heartbeat said; a host that sends none shows none. */
const showHeartbeats = (registry: Registry, { monitor }: FleetView): void => {
  for (const { name, help, of } of FIGURES) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: ['host'],
      registers: [registry],
      collect: (): void => {
        gauge.reset();
        for (const host of monitor.figures()) {
          const value = of(host);
          if (value !== undefined) gauge.set({ host: host.name }, value);
        }
      },
    });
  }
};

/** The fleet at `/metrics`: what the indexes hold and what heartbeats say, neither of which is in the log as figures. */
export const registerFleetMetrics = (registry: Registry, view: FleetView, mostMachines: number): void => {
  countHosts(registry, view);
  countMachines(registry, view);
  countOperations(registry, view);
  showSilence(registry, view);
  showHeartbeats(registry, view);
  const { indexes, monitor } = view;
  showMachines(registry, {
    machine: (uid) => indexes.machines.get(uid),
    figures: () => monitor.figures(),
    most: mostMachines,
  });
};
