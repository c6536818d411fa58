import { SECONDS_BUCKETS } from '@xenolith/runtime';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { LOGIN_REFUSALS } from '../auth/access.js';
import { EVENT_OUTCOMES, type EventOutcome } from '../cluster/event-export.js';
import { END_REASONS, type Watching } from '../watch/watch-session.js';
import type { RequestObserver } from './gateway-log.js';

export interface GatewayMetrics extends RequestObserver {
  /** Counts what became of an event that was to be written to the cluster. */
  readonly clusterEvent: (outcome: EventOutcome) => void;
  /** Shows the watches there are, and up to which position the cache is. */
  watch(sessions: () => Iterable<Watching>, position: () => number): void;
  /** Says whether what is in a file that is read again can't be used. */
  fileState(name: string, refused: boolean): void;
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
  const refused = new Counter({
    name: 'xenolith_api_logins_refused_total',
    help: 'Requests whose sender did not prove who they are, by reason: nothing was shown, the token is unknown, has expired, is wrong in another way, or was not looked at as too many wrong ones came from its address.',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of LOGIN_REFUSALS) refused.inc({ reason }, 0);
  const files = new Gauge({
    name: 'xenolith_api_file_refused',
    help: "1 when what is in a file that the gateway reads again while it runs can't be used, so that what was read before goes on counting.",
    labelNames: ['file'],
    registers,
  });
  const events = new Counter({
    name: 'xenolith_cluster_events_total',
    help: 'Events for the cluster whose API ours is a part of, by what became of them: written, dropped as too many waited, refused there.',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of EVENT_OUTCOMES) events.inc({ outcome }, 0);
  return {
    loginRefused: (reason) => refused.inc({ reason }),
    fileState: (file, isRefused) => files.set({ file }, isRefused ? 1 : 0),
    clusterEvent: (outcome) => events.inc({ outcome }),
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
