import { setFlagsFromString } from 'node:v8';
import { runService, serviceConfig } from '@xenolith/runtime';
import {
  FailoverPlanQueries,
  LifetimeHistory,
  Membership,
  Rebalancer,
  schedulingService,
  type SchedulingService,
} from '@xenolith/scheduling';
import { z } from 'zod';
import { registerSchedulingMetrics } from './scheduling-metrics.js';

const config = serviceConfig.extend({
  SCHEDULING_POLICY: z
    .enum(['balance', 'density'])
    .default('balance')
    .describe(
      'how a host is chosen among those that fit: the least loaded, or so that others stay empty; clusters may say otherwise',
    ),
});

/**
 * Its heap may double before it is collected whole, where other processes' grows by two fifths: what is placed lives long and is gone through in vain. Measured with four schedulers
 * on two cores: a tenth more placements in a second, and 230 MB at the most instead of 213.
 */
setFlagsFromString('--heap-growing-percent=100');

const isScheduling = (definition: object): definition is SchedulingService => 'rebalancing' in definition;

/** The scheduler: placements of virtual machines, the ledgers of hosts, and plans that move what runs. */
await runService({
  name: 'scheduler',
  config,
  define: (context) => schedulingService({ policy: context.config.SCHEDULING_POLICY }),
  start: async ({ engine, store, bus, clock, lifecycle, config, log, metrics }) => {
    if (!isScheduling(engine.definition)) return;
    registerSchedulingMetrics(metrics.registry, engine.definition.capacity);
    const rebalancer = new Rebalancer(engine.definition.rebalancing, { bus, clock });
    await rebalancer.start();
    lifecycle.onStop('rebalancer', () => rebalancer.stop());
    const caughtUp = (position: number): Promise<void> => engine.caughtUp(position);
    const queries = new FailoverPlanQueries(engine.definition.capacity, { bus, caughtUp });
    await queries.start();
    lifecycle.onStop('queries', () => queries.stop());
    const history = new LifetimeHistory(engine.definition.capacity.standing().lifetimes, store);
    lifecycle.onStop('history', () => history.stop());
    history
      .read()
      .catch((error: unknown) => log.warn({ err: error }, 'lifetimes of machines before this start are not known'));
    const membership = new Membership(config.INSTANCE, engine.definition.share, { bus, clock });
    await membership.start();
    lifecycle.onStop('membership', () => membership.stop());
  },
});
