import type pg from 'pg';
import { rowsOf, type SqlRunner } from './connection.js';

/** Another process has begun a later epoch for this consumer: what was done since must not be saved. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

// A plain SELECT around the UPDATE, as drivers differ in what they answer to the latter.
const SAVE = `with saved as (
    update es.checkpoints set position = $3 where consumer = $1 and epoch = $2 and position <= $3 returning 1)
  select count(*)::int as saved from saved`;

/**
 * Saves that `consumer` has handled everything up to `position`, in the caller's transaction, so that a view and its checkpoint move together. Throws
 * `LeaseLost` when a later epoch has begun: the transaction must then be rolled back.
 */
export const checkpointIn = async (
  runner: SqlRunner,
  consumer: string,
  epoch: number,
  position: number,
): Promise<void> => {
  const [row] = rowsOf(await runner.query(SAVE, [consumer, epoch, position]));
  refuseLost(row, consumer, epoch);
};

const refuseLost = (row: Record<string, unknown> | undefined, consumer: string, epoch: number): void => {
  if (row?.['saved'] !== 1) throw new LeaseLost(`${consumer} is run by another process since epoch ${epoch}`);
};

/** The same in a transaction of its own, by a statement that is planned once. */
export const saveCheckpoint = async (
  pool: pg.Pool,
  { consumer, epoch, position }: { readonly consumer: string; readonly epoch: number; readonly position: number },
): Promise<void> => {
  const { rows } = await pool.query<Record<string, unknown>>({
    name: 'es_checkpoint',
    text: SAVE,
    values: [consumer, epoch, position],
  });
  refuseLost(rows[0], consumer, epoch);
};

/** Begins a new epoch for `consumer`; from here on checkpoints of earlier ones are refused. */
export const beginEpoch = async (
  runner: SqlRunner,
  consumer: string,
): Promise<{ readonly epoch: number; readonly position: number }> => {
  const [row] = rowsOf(
    await runner.query(
      `with begun as (
        insert into es.checkpoints as c (consumer, epoch) values ($1, 1)
          on conflict (consumer) do update set epoch = c.epoch + 1 returning epoch, position)
      select epoch, position from begun`,
      [consumer],
    ),
  );
  return { epoch: Number(row?.['epoch']), position: Number(row?.['position']) };
};
