import { computeCompanions, computeService, type ComputeService } from '@xenolith/compute';
import { runService, serviceConfig } from '@xenolith/runtime';
import { registerFleetMetrics } from './fleet-metrics.js';

const isCompute = (definition: object): definition is ComputeService => 'computeIndexes' in definition;

/** The compute service: clusters, hosts, virtual machines, the operations on them, and fault rules. */
await runService({
  name: 'compute',
  config: serviceConfig,
  define: () => computeService(),
  start: async ({ engine, bus, clock, lifecycle, metrics }) => {
    const { definition } = engine;
    if (!isCompute(definition)) return;
    const companions = computeCompanions(definition, { bus, clock });
    await companions.start();
    lifecycle.onStop('companions', () => companions.stop());
    registerFleetMetrics(metrics.registry, { indexes: definition.computeIndexes, monitor: companions.monitor });
  },
});
