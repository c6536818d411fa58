import type pg from 'pg';
import { WRITE_LIMIT_MS } from './connection.js';
import type { Report } from './reporting.js';

const OLD_WRITERS = 'select * from es.end_offenders($1, $2)';

const OLD_PREPARED = `select gid, database, owner from pg_prepared_xacts where prepared < clock_timestamp() - make_interval(secs => $1)`;

interface Offender {
  readonly pid: number;
  readonly ended: boolean;
}

/**
 * Ends write transactions that are older than a second, in any database of the cluster: while one is open, no event that committed after its
 * start reaches a reader. `spared` are our own backends. A prepared transaction can't be ended from here: it is reported.
 */
export const endOffenders = async (pool: pg.Pool, spared: readonly number[], report: Report): Promise<number> => {
  const seconds = WRITE_LIMIT_MS / 1000;
  const { rows } = await pool.query<Offender>(OLD_WRITERS, [spared, seconds]);
  for (const offender of rows) {
    report(
      offender.ended ? 'warn' : 'error',
      `a write transaction was open for more than ${WRITE_LIMIT_MS} ms and held back every reader of the log: ` +
        (offender.ended ? 'its connection was ended' : 'its connection could not be ended'),
      { ...offender },
    );
  }
  const prepared = await pool.query<Record<string, unknown>>(OLD_PREPARED, [seconds]);
  for (const transaction of prepared.rows) {
    report(
      'error',
      'a prepared transaction holds back every reader of the log: roll it back or commit it',
      transaction,
    );
  }
  return rows.length;
};
