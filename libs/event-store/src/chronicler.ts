import type pg from 'pg';
import type { Report } from './reporting.js';
import { Signal } from './signal.js';

/** Events of one step: some 10 ms of reading, and a few of writing, for which the sequencer waits. */
const STEP_EVENTS = 500;
/** How far the chronicle lags behind the log, about. Each step costs a commit. */
const STEP_EVERY_MS = 250;
/** Pause after a fault. */
const FAULT_PAUSE_MS = 1000;

/** Keeps the chronicle beside the log up to date, wherever the log is sequenced. */
export class Chronicler {
  readonly #pool: pg.Pool;
  readonly #report: Report;
  readonly #work = new Signal();

  constructor(pool: pg.Pool, report: Report) {
    this.#pool = pool;
    this.#report = report;
  }

  /** Looks whether it is over. */
  wake(): void {
    this.#work.wake();
  }

  async run(isOver: () => boolean): Promise<void> {
    let trouble = '';
    while (!isOver()) {
      const began = performance.now();
      let behind = false;
      try {
        behind = await this.#step();
        if (trouble !== '') this.#report('info', 'the past can be read up to now again');
        trouble = '';
      } catch (fault) {
        const message = fault instanceof Error ? fault.message : String(fault);
        // Once for each trouble, not once a second.
        if (message !== trouble) this.#report('warn', 'the past can not be read up to now', { fault });
        trouble = message;
      }
      const pauseMs = trouble === '' ? STEP_EVERY_MS : FAULT_PAUSE_MS;
      if (!behind) await this.#work.rest(began + pauseMs - performance.now(), isOver);
    }
  }

  /** Answers whether there is more to do at once. */
  async #step(): Promise<boolean> {
    const { rows } = await this.#pool.query<{ reached: string | null; head: string }>({
      name: 'es_chronicle_step',
      text: 'select reached, head from es.chronicle_step($1)',
      values: [STEP_EVENTS],
    });
    const [row] = rows;
    return row !== undefined && row.reached !== null && Number(row.reached) < Number(row.head);
  }
}
