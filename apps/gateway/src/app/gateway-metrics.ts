import { SECONDS_BUCKETS } from '@xenolith/runtime';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { END_REASONS, type Watching } from '../watch/watch-session.js';
import type { RequestObserver } from './gateway-log.js';

export interface GatewayMetrics extends RequestObserver {
  /** Shows the watches there are, and up to which position the cache is. */
  watch(sessions: () => Iterable<Watching>, position: () => number): void;
}

const showWatches = (registry: Registry, sessions: () => Iterable<Watching>): void => {
  const gauge = (name: string, help: string, value: (pendingBytes: readonly number[]) => number): void => {
    const shown: Gauge = new Gauge({
      name,
      help,
      registers: [registry],
      collect: (): void => shown.set(value(Array.from(sessions(), ({ pendingBytes }) => pendingBytes))),
    });
  };
  gauge('xenolith_api_watches', 'Watches that are open.', ({ length }) => length);
  gauge(
    'xenolith_api_watch_pending_bytes',
    'Bytes that watching clients have not taken yet, over all of them.',
    (all) => all.reduce((sum, bytes) => sum + bytes, 0),
  );
  gauge(
    'xenolith_api_watch_slowest_pending_bytes',
    'Of these, those of the slowest client; 4 MiB end its watch.',
    (all) => all.reduce((most, bytes) => Math.max(most, bytes), 0),
  );
};

export const gatewayMetrics = (registry: Registry): GatewayMetrics => {
  const registers = [registry];
  const requests = new Histogram({
    name: 'xenolith_api_request_seconds',
    help: 'Time from a request of the API to its answer (of a watch: to its beginning), by verb, resource and status code.',
    labelNames: ['verb', 'resource', 'code'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const ended = new Counter({
    name: 'xenolith_api_watches_ended_total',
    help: 'Watches that ended, by reason: the client left, its time was over, it was too slow, its version too old, its right was revoked, or we stopped or failed.',
    labelNames: ['reason'],
    registers,
  });
  // Those that never happened are to show, too: an increase begins at 0.
  for (const reason of END_REASONS) ended.inc({ reason }, 0);
  return {
    answered: ({ verb, resource, code, seconds }) => requests.observe({ verb, resource, code: String(code) }, seconds),
    watchEnded: (reason) => ended.inc({ reason }),
    watch: (sessions, position) => {
      showWatches(registry, sessions);
      const reached: Gauge = new Gauge({
        name: 'xenolith_api_cache_position',
        help: 'Position of the log up to which this gateway knows every document.',
        registers,
        collect: (): void => reached.set(position()),
      });
    },
  };
};
