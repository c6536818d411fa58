import type { EngineObserver } from '@xenolith/engine';
import type { StoreLogFeed } from '@xenolith/event-store';
import type { LoggedEvent } from '@xenolith/kernel';
import type { BusObserver } from '@xenolith/messaging';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** From a cached read to a step that a person would give up on. */
const SECONDS_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The figures of one process, as Prometheus reads them at `/metrics`. */
export interface Metrics {
  /** Apps add their own here. */
  readonly registry: Registry;
  readonly bus: BusObserver;
  readonly engine: EngineObserver;
  /** The same feed, with each follower's position and delay measured. */
  measured(feed: StoreLogFeed): StoreLogFeed;
  /** Lets each scrape ask for the newest position of the log. */
  watchHead(head: () => Promise<number>): void;
  /** Lets each scrape ask whether this process holds the sequencer. */
  watchSequencer(holds: () => boolean): void;
}

export const createMetrics = (labels: { readonly service: string; readonly instance: string }): Metrics => {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    bus: busMetrics(registry),
    engine: engineMetrics(registry),
    ...feedMetrics(registry),
    watchSequencer: (holds) => watchSequencer(registry, holds),
  };
};

const watchSequencer = (registry: Registry, holds: () => boolean): void => {
  const held: Gauge = new Gauge({
    name: 'xenolith_sequencer_held',
    help: '1 in the process that gives events their positions.',
    registers: [registry],
    collect: (): void => held.set(holds() ? 1 : 0),
  });
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
  const attempts = new Counter({
    name: 'xenolith_decision_retries_total',
    help: 'Decisions made again after a conflict or a taken claim, by type of the command.',
    labelNames: ['type'],
    registers,
  });
  const faults = new Counter({
    name: 'xenolith_dispatch_faults_total',
    help: 'Commands of processes and reactions that ended in a fault, by process and kind of fault.',
    labelNames: ['process', 'fault'],
    registers,
  });
  return {
    commandHandled: ({ type, outcome, attempts: made, code }) => {
      decided.inc({ type, outcome, code: code ?? '' });
      if (made > 1) attempts.inc({ type }, made - 1);
    },
    dispatchFaulted: ({ process: name, fault }) => faults.inc({ process: name, fault }),
  };
};

const feedMetrics = (registry: Registry): Pick<Metrics, 'measured' | 'watchHead'> => {
  const registers = [registry];
  const positions = new Map<string, number>();
  let head: (() => Promise<number>) | undefined;
  const delay = new Histogram({
    name: 'xenolith_log_delay_seconds',
    help: 'Time from a command to the moment its last event was followed, by follower.',
    labelNames: ['follower'],
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const lag = new Gauge({
    name: 'xenolith_log_lag_events',
    help: 'Events of the log that a follower has not seen yet.',
    labelNames: ['follower'],
    registers,
  });
  const newest = new Gauge({
    name: 'xenolith_log_head_position',
    help: 'Position of the newest event of the log.',
    registers,
    collect: async () => {
      // A scrape that cannot reach the database keeps the last figures: readiness says that it is away.
      const position = await head?.().catch(() => undefined);
      if (position === undefined) return;
      newest.set(position);
      for (const [follower, seen] of positions) lag.set({ follower }, Math.max(0, position - seen));
    },
  });
  const seen = (name: string, events: readonly LoggedEvent[]): void => {
    const last = events.at(-1);
    if (!last) return;
    positions.set(name, last.position);
    delay.observe({ follower: name }, Math.max(0, Date.now() - last.metadata.at) / 1_000);
  };
  return {
    watchHead: (ask) => {
      head = ask;
    },
    measured: (feed) =>
      measuredFeed(feed, {
        seen,
        begins: (name, after) => void positions.set(name, after),
        ends: (name) => void positions.delete(name),
      }),
  };
};

interface FeedEars {
  seen(follower: string, events: readonly LoggedEvent[]): void;
  begins(follower: string, after: number): void;
  ends(follower: string): void;
}

const measuredFeed = (feed: StoreLogFeed, ears: FeedEars): StoreLogFeed => ({
  head: () => feed.head(),
  leaseBackendId: () => feed.leaseBackendId(),
  close: () => feed.close(),
  follow: (follower) => {
    ears.begins(follower.name, follower.after);
    return feed.follow({
      ...follower,
      onBatch: async (events) => {
        await follower.onBatch(events);
        ears.seen(follower.name, events);
      },
    });
  },
  followLeased: (follower) =>
    feed.followLeased({
      ...follower,
      onBatch: async (events, lease) => {
        await follower.onBatch(events, lease);
        ears.seen(follower.name, events);
      },
      onLease: async (held) => {
        // Another process runs the follower now, and its figures are there.
        if (!held) ears.ends(follower.name);
        await follower.onLease?.(held);
      },
    }),
});
