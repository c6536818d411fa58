import { Gauge, Histogram, type Registry } from 'prom-client';
import type { RequestObserver } from './gateway-log.js';

/** From a read out of the cache to a write that a person would give up on. */
const SECONDS_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export interface GatewayMetrics extends RequestObserver {
  /** Shows how many watches there are, and up to which position the cache is. */
  watch(watches: () => number, position: () => number): void;
}

export const gatewayMetrics = (registry: Registry): GatewayMetrics => {
  const registers = [registry];
  const requests = new Histogram({
    name: 'xenolith_api_request_seconds',
    help: 'Time from a request of the API to its answer (of a watch: to its beginning), by method and status code.',
    labelNames: ['method', 'code'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  return {
    answered: ({ method, code, seconds }) => requests.observe({ method, code: String(code) }, seconds),
    watch: (watches, position) => {
      const watching: Gauge = new Gauge({
        name: 'xenolith_api_watches',
        help: 'Watches that are open.',
        registers,
        collect: (): void => watching.set(watches()),
      });
      const reached: Gauge = new Gauge({
        name: 'xenolith_api_cache_position',
        help: 'Position of the log up to which this gateway knows every document.',
        registers,
        collect: (): void => reached.set(position()),
      });
    },
  };
};
