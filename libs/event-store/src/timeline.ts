import type { Moment, PastEvent, Uuid } from '@xenolith/kernel';
import { LogArchive } from './archive/log-archive.js';
import { openPool, READ_LIMIT_MS } from './connection.js';
import { PostgresPast } from './log-past.js';

/** Events read by one statement. */
const PAGE_EVENTS = 500;
/** Names that are remembered; those of streams that show nothing, too. */
const REMEMBERED_NAMES = 20_000;

export interface TimelineObject {
  readonly namespace: string;
  readonly name: string;
}

export interface TimelineEntry {
  readonly event: PastEvent;
  /** The object that the stream is; null where it shows none. */
  readonly object: TimelineObject | null;
}

/** A moment as a position, or as a time in milliseconds since the epoch. */
export type TimelineBound = { readonly position: number } | { readonly time: number };

export interface Timeline {
  /** Tells this log from others, for ever: not from one before a restore. */
  readonly logId: string;
  /** Events behind one moment, up to another, oldest first. */
  between(from: TimelineBound, to: TimelineBound): AsyncGenerator<TimelineEntry>;
  close(): Promise<void>;
}

/** Opens the log for reading what happened when, whether a platform runs on it or not. */
export const openTimeline = async (databaseUrl: string): Promise<Timeline> => {
  const pool = openPool(databaseUrl, 1, { applicationName: 'xenolith-timeline', statementTimeoutMs: READ_LIMIT_MS });
  const headOf = async () => {
    const { rows } = await pool.query<{ position: string; log_id: string }>(
      'select position, log_id from es.seq_head where id = 1',
    );
    return { position: Number(rows[0]?.position ?? 0), logId: rows[0]?.log_id ?? '' };
  };
  const past = new PostgresPast(pool, { head: async () => (await headOf()).position }, new LogArchive(pool));
  const names = new Map<Uuid, TimelineObject | null>();
  const learn = async (events: readonly PastEvent[]): Promise<void> => {
    const unknown = [...new Set(events.map(({ streamId }) => streamId))].filter((uid) => !names.has(uid));
    if (unknown.length === 0) return;
    if (names.size > REMEMBERED_NAMES) names.clear();
    const { rows } = await pool.query<{ stream_id: Uuid; namespace: string; name: string }>(
      'select stream_id, namespace, name from es.lives where stream_id = any ($1)',
      [unknown],
    );
    for (const uid of unknown) names.set(uid, null);
    for (const { stream_id: uid, namespace, name } of rows) names.set(uid, { namespace, name });
  };
  const positionOf = async (bound: TimelineBound): Promise<number> => {
    if ('position' in bound) return bound.position;
    const moment: Moment = await past.momentAt(bound.time);
    return moment.position;
  };
  const { logId } = await headOf();
  return {
    logId,
    async *between(from, to) {
      const end = await positionOf(to);
      let after = await positionOf(from);
      while (after < end) {
        const events = await past.eventsAfter(after, Math.min(PAGE_EVENTS, end - after));
        const last = events.at(-1);
        if (last === undefined) return;
        await learn(events);
        for (const event of events) yield { event, object: names.get(event.streamId) ?? null };
        after = last.position;
      }
    },
    close: () => pool.end(),
  };
};
