import type { LogBacklog, SequencerState, StoreLogFeed } from '@xenolith/event-store';
import type { LoggedEvent } from '@xenolith/kernel';
import { Gauge, Histogram, type Registry } from 'prom-client';
import { SECONDS_BUCKETS } from './buckets.js';

/** A scrape ends before Prometheus gives it up, also while the database does not answer: what else there is to see matters most then. */
const BACKLOG_LIMIT_MS = 1_000;
const MS_PER_SECOND = 1_000;

/** The figures of the log as one process sees it. */
export interface LogMetrics {
  /** The same feed, with each follower's position and delay measured. */
  measured(feed: StoreLogFeed): StoreLogFeed;
  /** Lets each scrape ask how far the log is and what it has still to do. */
  watchLog(backlog: () => Promise<LogBacklog>): void;
  /** Lets each scrape ask whether this process holds the sequencer, and how far the feed is. */
  watchSequencer(state: () => SequencerState): void;
}

export const logMetrics = (registry: Registry): LogMetrics => {
  const positions = new Map<string, number>();
  const backlog = sharedBacklog();
  return {
    watchLog: (read) => {
      backlog.readWith(read);
      showBacklog(registry, backlog);
      showLag(registry, positions, backlog);
    },
    watchSequencer: (state) => showSequencer(registry, state, backlog),
    measured: (feed) => measured(registry, positions, feed),
  };
};

interface SharedBacklog {
  /** The newest that could be had; undefined before the first. */
  get(): Promise<LogBacklog | undefined>;
  readWith(read: () => Promise<LogBacklog>): void;
}

/** All figures of one scrape come from one question. One that gets no answer keeps the last figures: readiness says that the database is away. */
const sharedBacklog = (): SharedBacklog => {
  let read: (() => Promise<LogBacklog>) | undefined;
  let newest: LogBacklog | undefined;
  let asked: Promise<LogBacklog | undefined> | undefined;
  const ask = async (question: () => Promise<LogBacklog>): Promise<LogBacklog | undefined> => {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), BACKLOG_LIMIT_MS);
    });
    const answer = await Promise.race([question().catch(() => undefined), limit]);
    clearTimeout(timer);
    newest = answer ?? newest;
    asked = undefined;
    return newest;
  };
  return {
    readWith: (given) => {
      read = given;
    },
    get: () => (asked ??= read === undefined ? Promise.resolve(undefined) : ask(read)),
  };
};

const BACKLOG_GAUGES: readonly {
  readonly name: string;
  readonly help: string;
  readonly of: (backlog: LogBacklog) => number;
}[] = [
  {
    name: 'xenolith_log_head_position',
    help: 'Position of the newest event of the log.',
    of: ({ position }) => position,
  },
  {
    name: 'xenolith_sequencer_lag_events',
    help: 'Committed events that have no position yet.',
    of: ({ unsequenced }) => unsequenced,
  },
  {
    name: 'xenolith_sequencer_lag_seconds',
    help: 'How long the oldest event without a position has waited for one.',
    of: ({ unsequencedMs }) => unsequencedMs / MS_PER_SECOND,
  },
  {
    name: 'xenolith_timers_overdue',
    help: 'Timers whose command should have been delivered by now.',
    of: ({ overdueTimers }) => overdueTimers,
  },
  {
    name: 'xenolith_timers_overdue_seconds',
    help: 'How late the oldest of them is.',
    of: ({ overdueMs }) => overdueMs / MS_PER_SECOND,
  },
];

const showBacklog = (registry: Registry, backlog: SharedBacklog): void => {
  for (const { name, help, of } of BACKLOG_GAUGES) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [registry],
      collect: async () => {
        const newest = await backlog.get();
        if (newest) gauge.set(of(newest));
      },
    });
  }
};

const showLag = (registry: Registry, positions: ReadonlyMap<string, number>, backlog: SharedBacklog): void => {
  const lag: Gauge = new Gauge({
    name: 'xenolith_log_lag_events',
    help: 'Events of the log that a follower has not seen yet.',
    labelNames: ['follower'],
    registers: [registry],
    collect: async () => {
      const newest = await backlog.get();
      lag.reset();
      if (newest) for (const [follower, seen] of positions) lag.set({ follower }, Math.max(0, newest.position - seen));
    },
  });
};

const showSequencer = (registry: Registry, state: () => SequencerState, backlog: SharedBacklog): void => {
  const registers = [registry];
  const held: Gauge = new Gauge({
    name: 'xenolith_sequencer_held',
    help: '1 in the process that gives events their positions and fills the feed.',
    registers,
    collect: (): void => held.set(state().role === 'holder' ? 1 : 0),
  });
  const broken: Gauge = new Gauge({
    name: 'xenolith_relay_broken',
    help: '1 where the sequencer is held and the feed in NATS can not be filled: followers poll the database meanwhile.',
    registers,
    collect: (): void => broken.set(state().role === 'holder' && !state().relaying ? 1 : 0),
  });
  const relayed: Gauge = new Gauge({
    name: 'xenolith_relay_lag_events',
    help: 'Events with a position that are not in the feed yet, where the sequencer is held.',
    registers,
    collect: async () => {
      const newest = await backlog.get();
      const now = state();
      relayed.set(now.role === 'holder' && newest ? Math.max(0, newest.position - now.relayed) : 0);
    },
  });
};

const measured = (registry: Registry, positions: Map<string, number>, feed: StoreLogFeed): StoreLogFeed => {
  const delay = new Histogram({
    name: 'xenolith_log_delay_seconds',
    help: 'Time from a command to the moment its last event was followed, by follower.',
    labelNames: ['follower'],
    buckets: SECONDS_BUCKETS,
    registers: [registry],
  });
  const seen = (name: string, events: readonly LoggedEvent[]): void => {
    const last = events.at(-1);
    if (!last) return;
    positions.set(name, last.position);
    delay.observe({ follower: name }, Math.max(0, Date.now() - last.metadata.at) / MS_PER_SECOND);
  };
  return measuredFeed(feed, {
    seen,
    begins: (name, after) => void positions.set(name, after),
    ends: (name) => void positions.delete(name),
  });
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
