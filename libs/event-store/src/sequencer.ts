import type { NatsConnection } from '@nats-io/transport-node';
import type pg from 'pg';
import { APPENDED_SUBJECT } from '@xenolith/contracts';
import { Chronicler, stepChronicle } from './chronicler.js';
import { closeSession, lockKey, openPool, openSession, READ_LIMIT_MS, sqlState, WRITE_LIMIT_MS } from './connection.js';
import { endOffenders } from './offenders.js';
import { Relay, type RelayStep } from './relay.js';
import type { Failpoint, Report } from './reporting.js';
import { Signal } from './signal.js';
import { stopOnce } from './stop-once.js';

export const SEQUENCER_LOCK = lockKey('xenolith/sequencer');

/** A look without work is one statement of 0.1 ms: twenty a second cost nothing, and without NATS a follower is this late at most. */
const POLL_MS = 50;
/** An open transaction, such as that of a checkpoint, ends without a ping; most take a millisecond or two. */
const OPEN_MS = 2;
/**
 * Windows begin this far apart at least: each costs a commit, a message and a wake of every follower, whatever it holds. Whoever appends after a pause
 * waits for nothing.
 */
const WINDOW_EVERY_MS = 5;
/** A window that took longer is followed by a pause as long as it took: on a busy machine they then hold more each. Longer pauses than this help nobody. */
const LONGEST_PAUSE_MS = 20;
/** How often a candidate tries to become the holder: what a take-over adds to the time the log stands still. */
const CANDIDATE_MS = 100;
const OFFENDER_LOOK_MS = 250;
/** A transaction that numbers as many takes about 0.2 s. */
const WINDOW_EVENTS = 20_000;
/** Enough to get past any real set of events that wait for an open transaction. */
const WIDEST_WINDOW = 100 * WINDOW_EVENTS;
/** A feed that was dropped while nothing happened is noticed by then. */
const RELAY_LOOK_MS = 1000;
const QUERY_CANCELED = '57014';

export type SequencerStep = 'lease-taken' | 'epoch-begun' | 'before-sequence' | 'sequenced' | RelayStep;

export interface SequencerOptions {
  readonly databaseUrl: string;
  /** Without it there is no feed: followers poll Postgres. */
  readonly nats?: NatsConnection;
  readonly name?: string;
  readonly report?: Report;
  readonly failpoint?: Failpoint<SequencerStep>;
  /** Whether this process keeps what reads of the past need, while it sequences. It does unless told otherwise. */
  readonly chronicle?: boolean;
}

export interface SequencerState {
  readonly role: 'candidate' | 'holder' | 'stopped';
  readonly epoch: number;
  /** The newest position that this process gave. */
  readonly head: number;
  /** The newest position in the feed, as far as this process knows. */
  readonly relayed: number;
  /** False while the feed can not be filled. */
  readonly relaying: boolean;
}

export interface Sequencer {
  stop(): Promise<void>;
  state(): SequencerState;
}

/** What `es.sequence` says of the window that it took. */
type SequenceState = 'done' | 'open' | 'more' | 'fenced';

/** One time of holding the lock; over when its connection is. */
interface Term {
  over: boolean;
}

/** Somebody else began a later epoch. */
class Fenced extends Error {
  override readonly name = 'Fenced';
}

class Candidate {
  readonly #options: SequencerOptions;
  readonly #report: Report;
  readonly #pool: pg.Pool;
  readonly #work = new Signal();
  readonly #relayWork = new Signal();
  readonly #relay: Relay | undefined;
  readonly #chronicler: Chronicler | undefined;
  readonly #chronicle: pg.Pool;
  #stopped = false;
  #role: SequencerState['role'] = 'candidate';
  #epoch = 0;
  #head = 0;
  #relayed = 0;
  #relaying = true;

  constructor(options: SequencerOptions) {
    this.#options = options;
    this.#report = options.report ?? ((): void => undefined);
    this.#pool = openPool(options.databaseUrl, 2, {
      applicationName: `${options.name ?? 'xenolith'} relay`,
      statementTimeoutMs: READ_LIMIT_MS,
    });
    this.#relay = options.nats
      ? new Relay({ nats: options.nats, pool: this.#pool, report: this.#report, failpoint: options.failpoint })
      : undefined;
    // Of its own: the feed waits for no step, and what the chronicle costs can be seen.
    this.#chronicle = openPool(options.databaseUrl, 1, {
      applicationName: `${options.name ?? 'xenolith'} chronicle`,
      statementTimeoutMs: READ_LIMIT_MS,
    });
    this.#chronicler =
      options.chronicle === false
        ? undefined
        : new Chronicler({
            step: () => stepChronicle(this.#chronicle),
            head: () => this.#head,
            report: this.#report,
          });
  }

  state(): SequencerState {
    const [head, relayed] = [this.#head, this.#relayed];
    return { role: this.#role, epoch: this.#epoch, head, relayed, relaying: this.#relaying };
  }

  async run(): Promise<void> {
    while (!this.#isStopped()) {
      try {
        await this.#campaign();
      } catch (fault) {
        this.#report(fault instanceof Fenced ? 'info' : 'warn', 'the sequencer stops here and tries again', { fault });
      }
      this.#role = 'candidate';
      if (!this.#isStopped()) await this.#work.wait(CANDIDATE_MS);
    }
  }

  async stop(finished: Promise<void>): Promise<void> {
    this.#stopped = true;
    this.#work.wake();
    this.#relayWork.wake();
    this.#chronicler?.wake();
    await finished;
    this.#role = 'stopped';
    await Promise.all([this.#pool.end(), this.#chronicle.end()]);
  }

  /** Waits for the lock, then works until something breaks. The lock goes with the connection. */
  async #campaign(): Promise<void> {
    const term: Term = { over: false };
    const session = await openSession(
      this.#options.databaseUrl,
      { applicationName: `${this.#options.name ?? 'xenolith'} sequencer`, statementTimeoutMs: READ_LIMIT_MS },
      () => {
        term.over = true;
        this.#work.wake();
      },
    );
    try {
      while (!(await this.#tryLock(session))) {
        await this.#work.wait(CANDIDATE_MS);
        if (this.#isOver(term)) return;
      }
      await this.#options.failpoint?.('lease-taken');
      await this.#hold(session, term);
    } finally {
      await closeSession(session);
    }
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  #isOver(term: Term): boolean {
    return this.#stopped || term.over;
  }

  async #tryLock(session: pg.Client): Promise<boolean> {
    const { rows } = await session.query<{ held: boolean }>('select pg_try_advisory_lock($1) as held', [
      SEQUENCER_LOCK,
    ]);
    return rows[0]?.held === true;
  }

  async #hold(session: pg.Client, term: Term): Promise<void> {
    const { rows } = await session.query<{ epoch: string; new_era: boolean }>(
      'select epoch, new_era from es.begin_epoch()',
    );
    this.#epoch = Number(rows[0]?.epoch);
    // Only the beginning of an era may take longer: then nothing else runs yet.
    await session.query(`set statement_timeout = ${WRITE_LIMIT_MS}`);
    await this.#options.failpoint?.('epoch-begun');
    this.#role = 'holder';
    this.#report('info', 'this process sequences the log now', { epoch: this.#epoch, newEra: rows[0]?.new_era });
    const relaying = this.#relayLoop(term);
    const chronicling = this.#chronicler?.run(() => this.#isOver(term));
    const offenders = setInterval(() => void this.#lookForOffenders(session), OFFENDER_LOOK_MS);
    // A candidate hears no news: it has nothing to do with them, and each append would wake every process.
    const pings = this.#options.nats?.subscribe(APPENDED_SUBJECT, { callback: () => this.#work.wake() });
    try {
      await this.#sequenceLoop(session, term);
    } finally {
      pings?.unsubscribe();
      clearInterval(offenders);
      term.over = true;
      this.#relayWork.wake();
      this.#chronicler?.wake();
      await Promise.all([relaying, chronicling]);
    }
  }

  async #lookForOffenders(session: pg.Client): Promise<void> {
    // The backend's id is part of pg's client, but not of its types.
    const own = (session as unknown as { readonly processID: number }).processID;
    await endOffenders(this.#pool, [own], this.#report).catch((fault: unknown) => {
      this.#report('warn', 'long write transactions could not be looked for', { fault });
    });
  }

  async #sequenceLoop(session: pg.Client, term: Term): Promise<void> {
    let limit = WINDOW_EVENTS;
    let nextWindow = 0;
    // Whoever pinged has committed; only who comes by itself looks first whether there is anything.
    let known = false;
    while (!this.#isOver(term)) {
      if (!known) {
        const standing = await this.#look(session);
        if (standing !== 'closed') {
          known = await this.#work.wait(standing === 'open' ? OPEN_MS : POLL_MS);
          continue;
        }
      }
      await this.#work.rest(nextWindow - performance.now(), () => this.#isOver(term));
      await this.#options.failpoint?.('before-sequence');
      const began = performance.now();
      const { state, numbered } = await this.#sequence(session, limit);
      if (state === 'fenced') throw new Fenced(`epoch ${this.#epoch} is over`);
      await this.#options.failpoint?.('sequenced');
      if (numbered > 0) {
        const ended = performance.now();
        nextWindow = ended + Math.min(LONGEST_PAUSE_MS, Math.max(WINDOW_EVERY_MS, ended - began));
        this.#relayWork.wake();
      }
      if (state === 'timeout') limit = Math.max(1, Math.floor(limit / 4));
      else if (state === 'more') limit = numbered > 0 ? WINDOW_EVENTS : Math.min(WIDEST_WINDOW, limit * 4);
      else limit = WINDOW_EVENTS;
      // A window that gave nothing is looked at before it is tried again: trying takes a transaction id, looking does not.
      known = state === 'done' || state === 'open' ? await this.#work.wait(state === 'open' ? OPEN_MS : POLL_MS) : true;
      known &&= numbered > 0;
    }
  }

  /**
   * Whether events without a position are in a closed window, only beyond an open transaction, or nowhere. Takes no transaction id, so that an idle
   * log costs none.
   */
  async #look(session: pg.Client): Promise<'closed' | 'open' | 'idle'> {
    const { rows } = await session.query<{ closed: boolean; all: boolean }>({
      name: 'es_look',
      text: `select es.settled(pg_snapshot_xmin(pg_current_snapshot())) as closed,
        es.settled(pg_snapshot_xmax(pg_current_snapshot())) as all`,
    });
    if (rows[0]?.closed !== true) return 'closed';
    return rows[0].all ? 'idle' : 'open';
  }

  async #sequence(
    session: pg.Client,
    limit: number,
  ): Promise<{ readonly state: SequenceState | 'timeout'; readonly numbered: number }> {
    try {
      const { rows } = await session.query<{ state: SequenceState; head: string; numbered: string }>({
        name: 'es_sequence',
        text: 'select state, head, numbered from es.sequence($1, $2)',
        values: [this.#epoch, limit],
      });
      const [row] = rows;
      if (!row) throw new Error('es.sequence answered no row');
      this.#head = Number(row.head);
      return { state: row.state, numbered: Number(row.numbered) };
    } catch (fault) {
      if (sqlState(fault) === QUERY_CANCELED) return { state: 'timeout', numbered: 0 };
      throw fault;
    }
  }

  /** Runs beside the sequencing: while NATS is away, positions are given all the same. */
  async #relayLoop(term: Term): Promise<void> {
    if (!this.#relay) return;
    this.#relaying = true;
    let woken = false;
    while (!this.#isOver(term)) {
      try {
        // What a wake was for may have gone with the run before it.
        if (!this.#relaying || !woken || this.#relay.position < this.#head) await this.#relay.run();
        // None is known after another relay was at work: it is found out with the next run.
        if (this.#relay.position > 0) this.#relayed = this.#relay.position;
        if (!this.#relaying) this.#report('info', 'the feed is filled again');
        this.#relaying = true;
      } catch (fault) {
        if (this.#relaying)
          this.#report('warn', 'the feed can not be filled; followers poll Postgres meanwhile', { fault });
        this.#relaying = false;
      }
      woken = await this.#relayWork.wait(this.#relaying ? RELAY_LOOK_MS : CANDIDATE_MS);
    }
  }
}

/**
 * Makes this process a candidate for the one that gives events their positions and fills the feed. Whoever holds the advisory lock does it; when
 * its connection dies the next one begins a new epoch, from which on the old one's transactions are refused.
 */
export const runSequencer = async (options: SequencerOptions): Promise<Sequencer> => {
  const candidate = new Candidate(options);
  const finished = candidate.run();
  return Promise.resolve({ ...stopOnce(() => candidate.stop(finished)), state: () => candidate.state() });
};
