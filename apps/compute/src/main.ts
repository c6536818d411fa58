import { computeCompanions, computeService, type ComputeService } from '@xenolith/compute';
import { runService } from '@xenolith/runtime';
import { computeConfig } from './settings.js';
import { registerFleetMetrics } from './fleet-metrics.js';

const isCompute = (definition: object): definition is ComputeService => 'computeIndexes' in definition;

/** The compute service: clusters, hosts, virtual machines, the operations on them, and fault rules. */
await runService({
  name: 'compute',
  config: computeConfig,
  define: () => computeService(),
  start: async ({ engine, bus, clock, config, lifecycle, metrics }) => {
    const { definition } = engine;
    if (!isCompute(definition)) return;
    const retention = { keep: config.OPERATIONS_KEPT, lifeMs: 1000 * config.OPERATION_LIFE_SECONDS };
    const companions = computeCompanions(definition, { bus, clock }, retention);
    await companions.start();
    lifecycle.onStop('companions', () => companions.stop());
    registerFleetMetrics(
      metrics.registry,
      { indexes: definition.computeIndexes, monitor: companions.monitor },
      config.METRICS_MACHINES,
    );
  },
});
