import { DEFAULT_KEPT_OPERATIONS, LONGEST_OPERATION_LIFE_MS } from '@xenolith/compute';
import { serviceConfig } from '@xenolith/runtime';
import { z } from 'zod';

/** Below a minute an operation could go before the person who asked for it has looked. */
const SHORTEST_LIFE_SECONDS = 60;
const LONGEST_LIFE_SECONDS = LONGEST_OPERATION_LIFE_MS / 1000;
/** A gateway holds them in memory, some 8 KiB each. */
const MOST_KEPT = 100_000;

/** Ten series each: what one Prometheus takes from one target without trouble. */
const DEFAULT_MACHINES_SHOWN = 2_000;
const MOST_MACHINES_SHOWN = 100_000;

/** An empty variable counts as none: that is how shells and charts unset one. */
const orDefault = (schema: z.ZodType<number>, value: number) =>
  z.preprocess((given) => (given === undefined || given === '' ? value : given), schema);

/** What the compute service is told by its environment, beside what every service is. */
export const computeConfig = serviceConfig.extend({
  OPERATION_LIFE_SECONDS: orDefault(
    z.coerce.number().int().min(SHORTEST_LIFE_SECONDS).max(LONGEST_LIFE_SECONDS),
    LONGEST_LIFE_SECONDS,
  ).describe('how long an operation that has ended can be looked at, in seconds'),
  OPERATIONS_KEPT: orDefault(z.coerce.number().int().min(0).max(MOST_KEPT), DEFAULT_KEPT_OPERATIONS).describe(
    'how many operations that have ended are kept at most, over all namespaces; the oldest go first',
  ),
  METRICS_MACHINES: orDefault(z.coerce.number().int().min(0).max(MOST_MACHINES_SHOWN), DEFAULT_MACHINES_SHOWN).describe(
    'how many virtual machines show figures of their own at /metrics at most; 0: none',
  ),
});
