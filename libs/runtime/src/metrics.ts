import type { EngineObserver, ProcessLoad } from '@xenolith/engine';
import type { BusObserver } from '@xenolith/messaging';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { SECONDS_BUCKETS } from './buckets.js';
import type { Health } from './health.js';
import { logMetrics, type LogMetrics } from './log-metrics.js';
import { VERSION } from './version.js';

/** The figures of one process, as Prometheus reads them at `/metrics`; docs/metrics.md lists them. */
export interface Metrics extends LogMetrics {
  /** Apps add their own here. */
  readonly registry: Registry;
  readonly bus: BusObserver;
  /** Begins to count what an engine does: once for a process that has one. */
  engine(): EngineObserver;
  /** Lets each scrape ask what the service's processes have to do. */
  watchProcesses(load: () => readonly ProcessLoad[]): void;
  /** Lets each scrape ask what the process lacks to do its work. */
  watchReadiness(readiness: Health): void;
}

export const createMetrics = (labels: { readonly service: string; readonly instance: string }): Metrics => {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry });
  showBuild(registry);
  return {
    registry,
    bus: busMetrics(registry),
    engine: () => engineMetrics(registry),
    ...logMetrics(registry),
    watchProcesses: (load) => showProcesses(registry, load),
    watchReadiness: (readiness) => showReadiness(registry, readiness),
  };
};

const showBuild = (registry: Registry): void => {
  new Gauge({
    name: 'xenolith_build_info',
    help: 'Always 1; tells the version, and that the process is there.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version: VERSION }, 1);
};

const showReadiness = (registry: Registry, readiness: Health): void => {
  const ready: Gauge = new Gauge({
    name: 'xenolith_ready',
    help: '1 for each check of readiness that holds, 0 for one that does not.',
    labelNames: ['check'],
    registers: [registry],
    collect: async () => {
      const checks = await readiness.checks();
      ready.reset();
      for (const [check, holds] of checks) ready.set({ check }, holds ? 1 : 0);
    },
  });
};

const LOADS: readonly { readonly name: string; readonly help: string; readonly of: (load: ProcessLoad) => number }[] = [
  {
    name: 'xenolith_process_active',
    help: 'Instances of a process that go on, in the service that runs them.',
    of: ({ active }) => active,
  },
  {
    name: 'xenolith_process_steps_in_flight',
    help: 'Steps of a process whose command was sent and not answered yet.',
    of: ({ inFlight }) => inFlight,
  },
  {
    name: 'xenolith_process_steps_waiting',
    help: 'Steps of a process that wait until fewer are in flight.',
    of: ({ waiting }) => waiting,
  },
];

const showProcesses = (registry: Registry, load: () => readonly ProcessLoad[]): void => {
  for (const { name, help, of } of LOADS) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: ['process'],
      registers: [registry],
      collect: (): void => {
        for (const each of load()) gauge.set({ process: each.process }, of(each));
      },
    });
  }
};

const busMetrics = (registry: Registry): BusObserver => {
  const registers = [registry];
  const commands = new Histogram({
    name: 'xenolith_command_seconds',
    help: 'Time from taking a command to its reply, by type and outcome.',
    labelNames: ['type', 'outcome'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const requests = new Histogram({
    name: 'xenolith_request_seconds',
    help: 'Time from sending a request to its reply or fault, by type of the command and outcome.',
    labelNames: ['type', 'outcome'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  return {
    handled: (type, outcome, seconds) => commands.observe({ type, outcome }, seconds),
    requested: (type, outcome, seconds) => requests.observe({ type, outcome }, seconds),
  };
};

const engineMetrics = (registry: Registry): EngineObserver => {
  const registers = [registry];
  const decided = new Counter({
    name: 'xenolith_decisions_total',
    help: 'Commands decided, by type, outcome and code of the rejection.',
    labelNames: ['type', 'outcome', 'code'],
    registers,
  });
  const retries = new Counter({
    name: 'xenolith_decision_retries_total',
    help: 'Decisions made again, by type of the command and reason: another process wrote, or a ledger or a claim refused.',
    labelNames: ['type', 'reason'],
    registers,
  });
  const faults = new Counter({
    name: 'xenolith_dispatch_faults_total',
    help: 'Commands of processes and reactions that ended in a fault, by process and kind of fault.',
    labelNames: ['process', 'fault'],
    registers,
  });
  const defects = new Counter({
    name: 'xenolith_defects_total',
    help: 'Failures of our own making that a part of the service met; its log tells them.',
    registers,
  });
  return {
    commandHandled: ({ type, outcome, code }) => decided.inc({ type, outcome, code: code ?? '' }),
    commandRetried: ({ type, reason }) => retries.inc({ type, reason }),
    dispatchFaulted: ({ process: name, fault }) => faults.inc({ process: name, fault }),
    defect: () => defects.inc(),
  };
};
