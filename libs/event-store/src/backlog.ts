import type pg from 'pg';

/** More than this many are told as this many: a count must not take long when it matters most. */
const MOST_COUNTED = 100_000;

/** What the log has still to do, as it stands in the database. */
export interface LogBacklog {
  /** The newest position that was given. */
  readonly position: number;
  /** Committed events without a position. */
  readonly unsequenced: number;
  /** How long the oldest of them has waited, in milliseconds; 0: there is none. */
  readonly unsequencedMs: number;
  /** Timers whose command should have been delivered by now. */
  readonly overdueTimers: number;
  readonly overdueMs: number;
}

// The index by transaction ends the search at the events of the last window.
const BACKLOG = `select h.position, e.count as unsequenced, e.waited as unsequenced_ms, t.count as overdue, t.waited as overdue_ms
  from es.seq_head h
  cross join lateral (
    select count(*), coalesce(extract(epoch from clock_timestamp() - min(w.recorded_at)) * 1000, 0) as waited
      from (select recorded_at from es.events v where v.txid >= h.next_txid
          and not exists (select from es.event_log l where l.seq = v.seq) limit $2) w) e
  cross join lateral (
    select count(*), coalesce($1 - min(w.due_at), 0) as waited
      from (select due_at from es.timers where due_at < $1 order by due_at limit $2) w) t
  where h.id = 1`;

interface BacklogRow {
  readonly position: string;
  readonly unsequenced: string;
  readonly unsequenced_ms: string;
  readonly overdue: string;
  readonly overdue_ms: string;
}

/** Reads it at once, whether a sequencer runs or not. `now` in milliseconds since the epoch. */
export const readBacklog = async (pool: pg.Pool, now: number): Promise<LogBacklog> => {
  const { rows } = await pool.query<BacklogRow>({
    name: 'es_backlog',
    text: BACKLOG,
    values: [now, MOST_COUNTED],
  });
  const [row] = rows;
  if (!row) throw new Error('es.seq_head has no row: the schema of the log is not there');
  return {
    position: Number(row.position),
    unsequenced: Number(row.unsequenced),
    unsequencedMs: Math.max(0, Number(row.unsequenced_ms)),
    overdueTimers: Number(row.overdue),
    overdueMs: Math.max(0, Number(row.overdue_ms)),
  };
};
