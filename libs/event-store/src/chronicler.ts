import type pg from 'pg';
import type { Report } from './reporting.js';
import { Signal } from './signal.js';

/** Events of one step: some 10 ms of reading, and a few of writing, for which the sequencer waits. */
const STEP_EVENTS = 500;
/** How far the chronicle lags behind the log, about, unless that is busy. Each step costs a commit. */
const LOOK_EVERY_MS = 500;
/** A log that grows faster than by so many events between two looks is busy: whoever appends goes first. */
const BUSY_EVENTS = 2 * STEP_EVENTS;
/** So far behind a busy log the chronicle may fall: what it takes a reader of the newest past about a second to make up for. */
const MOST_BEHIND = 50_000;
/** Pause after a fault. */
const FAULT_PAUSE_MS = 1000;

/** How far the chronicle is, null when another process was faster, and where the log ends. */
export interface ChronicleStep {
  readonly reached: number | null;
  readonly head: number;
}

/** Takes the chronicle one step further, whoever asks for it. */
export const stepChronicle = async (pool: Pick<pg.Pool, 'query'>): Promise<ChronicleStep> => {
  const { rows } = await pool.query<{ reached: string | null; head: string }>({
    name: 'es_chronicle_step',
    text: 'select reached, head from es.chronicle_step($1)',
    values: [STEP_EVENTS],
  });
  const [row] = rows;
  if (row === undefined) throw new Error('es.chronicle_step answered no row');
  return { reached: row.reached === null ? null : Number(row.reached), head: Number(row.head) };
};

export interface ChroniclerOptions {
  readonly step: () => Promise<ChronicleStep>;
  /** Where the log ends, as far as its sequencer knows. */
  readonly head: () => number;
  readonly report: Report;
}

/** Keeps the chronicle beside the log up to date, wherever the log is sequenced; while the log is busy, not before readers ask or it is far behind. */
export class Chronicler {
  readonly #options: ChroniclerOptions;
  readonly #work = new Signal();
  #reached = 0;
  #trouble = '';

  constructor(options: ChroniclerOptions) {
    this.#options = options;
  }

  /** Looks whether it is over. */
  wake(): void {
    this.#work.wake();
  }

  async run(isOver: () => boolean): Promise<void> {
    let seen = this.#options.head();
    while (!isOver()) {
      const began = performance.now();
      const head = this.#options.head();
      const waits = head - seen > BUSY_EVENTS && head - this.#reached < MOST_BEHIND;
      seen = head;
      if (!waits) await this.#catchUp(() => isOver() || performance.now() - began > LOOK_EVERY_MS);
      const pauseMs = this.#trouble === '' ? LOOK_EVERY_MS : FAULT_PAUSE_MS;
      await this.#work.rest(began + pauseMs - performance.now(), isOver);
    }
  }

  /** Steps until the chronicle is where the log is, or no time is left. */
  async #catchUp(isOver: () => boolean): Promise<void> {
    try {
      let behind = true;
      while (behind && !isOver()) {
        const { reached, head } = await this.#options.step();
        behind = reached !== null && reached < head;
        this.#reached = reached ?? this.#reached;
      }
      if (this.#trouble !== '') this.#options.report('info', 'the past can be read up to now again');
      this.#trouble = '';
    } catch (fault) {
      const message = fault instanceof Error ? fault.message : String(fault);
      // Once for each trouble, not once a second.
      if (message !== this.#trouble) this.#options.report('warn', 'the past can not be read up to now', { fault });
      this.#trouble = message;
    }
  }
}
