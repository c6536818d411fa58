import { runService, serviceConfig } from '@xenolith/runtime';
import { schedulingService } from '@xenolith/scheduling';
import { z } from 'zod';

const config = serviceConfig.extend({
  SCHEDULING_POLICY: z
    .enum(['balance', 'density'])
    .default('balance')
    .describe(
      'how a host is chosen among those that fit: the least loaded, or so that others stay empty; clusters may say otherwise',
    ),
});

/** The scheduler: placements of virtual machines, and the ledgers of hosts. */
await runService({
  name: 'scheduler',
  config,
  define: (context) => schedulingService({ policy: context.config.SCHEDULING_POLICY }),
});
