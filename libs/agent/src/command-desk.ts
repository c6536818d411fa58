import {
  hashOf,
  ok,
  present,
  reject,
  type CommandMessage,
  type JsonObject,
  type Reply,
  type Result,
  type ServeContext,
  type Uuid,
} from '@xenolith/kernel';
import type { HostAnswer } from '@xenolith/xen';
import { CommandBook, type CommandRecord } from './command-book.js';
import type { FaultRules } from './fault-rules.js';
import type { Fleet, HostSlot } from './fleet.js';
import type { EntryOf, JournalEntry, Strike } from './journal.js';
import { inputOf } from './messages.js';
import type { AgentObserver } from './observer.js';
import type { TimerQueue } from './timer-queue.js';

/** A command that is never answered is let go of after this long, whatever its sender's deadline. */
const LONGEST_SILENCE_MS = 3_600_000;

export interface DeskParts {
  readonly fleet: Fleet;
  readonly faults: FaultRules;
  readonly timers: TimerQueue;
  readonly observer: AgentObserver;
  /** Keeps a line; the promise settles when it would survive a crash. */
  readonly keep: (entry: JournalEntry) => Promise<void>;
  /** A command is about to be taken: the host is told of what else it must know. */
  readonly prepare: (slot: HostSlot) => void;
  /** Is told of each firing of a fault rule; `crashing` is the host that the rule makes crash. */
  readonly onFired: (rule: Uuid, crashing?: string) => void;
  /** Is told, while the journal is read, of a firing that made a host crash. */
  readonly onStruckDown: (host: string, rule: Uuid) => void;
  /** Is told of what was asked for on the host itself and is done, as often as the journal is read. */
  readonly onDirect: (record: CommandRecord, answer: HostAnswer, at: number) => void;
  /** Is told of a host that did what its asker is not told of. */
  readonly onHidden: (host: string) => void;
}

/** A command that somebody gives on the host itself. */
export interface DirectCall {
  /** The tool and its word. */
  readonly command: string;
  /** Whether its answer is waited for, or only that it is taken. */
  readonly waits: boolean;
}

const stopping = (): Error => new Error('the agent stops; ask again with the same command id');

const delayOf = (strikes: readonly Strike[]): number => strikes.reduce((sum, { delayMs }) => sum + delayMs, 0);

const inPhase = (record: CommandRecord, phase: Strike['phase']): readonly Strike[] =>
  record.strikes.filter((strike) => strike.phase === phase);

/**
 * Takes commands that change domains: journals each before it takes effect, does it once however often it is asked, lets fault rules strike, and gives
 * every asker the same answer.
 */
export class CommandDesk {
  readonly book = new CommandBook();
  /** Struck commands whose host has crashed already, found in the journal. */
  private readonly crashedFor = new Set<Uuid>();
  private live = false;
  private closed = false;
  private readonly open = new Set<(fault: Error) => void>();

  constructor(private readonly parts: DeskParts) {}

  /** The answer to a command whose data its schema has parsed. Throws when the agent stops first, or a fault rule wills it. */
  async handle(
    slot: HostSlot,
    message: CommandMessage,
    context: Pick<ServeContext, 'deadline'>,
    direct?: DirectCall,
  ): Promise<Reply> {
    const hash = hashOf([slot.name, message.type, message.streamId, message.data]);
    const known = this.book.get(message.commandId);
    if (known && known.hash !== hash)
      return reject('command_id_reused', `command id ${message.commandId} was used for another request`);
    if (!known && this.book.isCancelled(message.commandId))
      return reject('command_cancelled', `command ${message.commandId} was cancelled before it came`);
    const record = known ?? this.accept(slot, message, { hash, direct: direct?.command });
    await record.durable;
    if (direct?.waits === false && record.stage !== 'answered') return ok({});
    const reply = await this.outcome(record);
    return reply ?? (await this.silence(context));
  }

  /** The host has done the command, or refused it. */
  hostAnswered(ticket: Uuid, result: Result<HostAnswer>, at: number): void {
    const record = this.book.get(ticket);
    if (record?.stage !== 'working') return;
    record.stage = 'finishing';
    record.doneAt = at;
    record.reply = result.ok ? ok(result.value as JsonObject) : result;
    if (record.direct !== undefined && result.ok && !this.book.isOvertaken(record))
      this.parts.onDirect(record, result.value, at);
    if (this.live) this.finish(record);
  }

  /** Nobody is answered any more; their commands go on and are answered after a restart. */
  close(): void {
    this.closed = true;
    for (const fail of [...this.open]) fail(stopping());
  }

  // Recovery: the lines of the journal, in order.

  recover(entry: EntryOf<'accepted'>): void {
    if (entry.undoes !== undefined) this.cancel(entry.undoes, entry.at);
    for (const { rule, then } of entry.strikes) {
      this.parts.faults.count(rule, entry.host, entry.type);
      if (then === 'crash') this.parts.onStruckDown(entry.host, rule);
    }
    const { k: _k, undoes: _undoes, ...command } = entry;
    const record: CommandRecord = {
      ...command,
      stage: 'held',
      doneAt: 0,
      reply: null,
      durable: Promise.resolve(),
      waiting: [],
    };
    this.book.add(record);
    if (inPhase(record, 'before').length === 0) this.perform(record, entry.at);
  }

  recoverApplied(id: Uuid, at: number): void {
    this.perform(present(this.book.get(id), `the journal has command ${id}`), at);
  }

  recoverAnswer(id: Uuid, reply: Reply | null): void {
    const record = this.book.get(id);
    if (!record) return;
    record.stage = 'answered';
    record.reply = reply;
  }

  recoverCrash(cause: Uuid): void {
    this.crashedFor.add(cause);
  }

  restore(entry: EntryOf<'command'>): void {
    const { k: _k, ...command } = entry;
    this.book.add({ ...command, durable: Promise.resolve(), waiting: [] });
  }

  /** The journal has been read: goes on with what was under way. */
  goLive(): void {
    this.live = true;
    for (const record of [...this.book.all()]) {
      if (record.stage === 'held') this.hold(record);
      else if (record.stage === 'finishing') this.finish(record);
    }
  }

  private accept(
    slot: HostSlot,
    message: CommandMessage,
    { hash, direct }: { readonly hash: string; readonly direct: string | undefined },
  ): CommandRecord {
    const { fleet, faults, observer, keep } = this.parts;
    const at = fleet.now();
    const { commandId: id, type, streamId: uid, data, undoes } = message;
    this.parts.prepare(slot);
    if (undoes !== undefined) this.cancel(undoes, at);
    const strikes = faults.strike(slot.name, { type, id });
    const command = {
      at,
      host: slot.name,
      id,
      hash,
      type,
      uid,
      data,
      strikes,
      ...(direct === undefined ? {} : { direct }),
    };
    const durable = keep({ k: 'accepted', ...command, ...(undoes === undefined ? {} : { undoes }) });
    const record: CommandRecord = { ...command, stage: 'held', doneAt: 0, reply: null, durable, waiting: [] };
    this.book.add(record);
    for (const { rule, then } of strikes) {
      observer.struck?.(record, rule);
      this.parts.onFired(rule, then === 'crash' ? slot.name : undefined);
    }
    if (inPhase(record, 'before').length === 0) this.perform(record, at);
    else this.hold(record);
    return record;
  }

  private cancel(id: Uuid, at: number): void {
    this.book.cancel(id, at);
    const record = this.book.get(id);
    if (record?.stage === 'held')
      this.settle(record, reject('command_cancelled', `command ${id} was cancelled before it took effect`));
  }

  /** A fault rule struck before the command's effect. */
  private hold(record: CommandRecord): void {
    const strikes = inPhase(record, 'before');
    this.parts.timers.at(record.at + delayOf(strikes), () => {
      if (record.stage !== 'held') return;
      if (this.strikeDown(record, strikes)) return;
      this.parts.prepare(this.parts.fleet.slot(record.host));
      const at = this.parts.fleet.now();
      void this.parts.keep({ k: 'applied', at, id: record.id });
      this.perform(record, at);
    });
  }

  private perform(record: CommandRecord, at: number): void {
    record.stage = 'working';
    this.parts.fleet.apply(this.parts.fleet.slot(record.host), inputOf(record), at);
  }

  /** The work is done; a fault rule may have its say before the answer goes out. */
  private finish(record: CommandRecord): void {
    const strikes = inPhase(record, 'after');
    const answer = (): void => {
      if (record.stage !== 'finishing') return;
      if (this.strikeDown(record, strikes)) {
        this.parts.onHidden(record.host);
        return;
      }
      this.settle(record, present(record.reply, 'a command that is done has its reply'));
    };
    const delayMs = delayOf(strikes);
    if (delayMs === 0) answer();
    else this.parts.timers.at(record.doneAt + delayMs, answer);
  }

  /** Does what the first decisive strike says; false when there is none. */
  private strikeDown(record: CommandRecord, strikes: readonly Strike[]): boolean {
    const strike = strikes.find(({ then }) => then !== 'none');
    switch (strike?.then) {
      case undefined:
      case 'none':
        return false;
      case 'fail':
        this.settle(record, reject(strike.code, strike.message, { details: { faultRule: strike.rule } }));
        return true;
      case 'timeout':
        this.settle(record, null);
        return true;
      case 'crash':
        this.crash(record);
        return true;
    }
  }

  private crash(record: CommandRecord): void {
    const { fleet, keep } = this.parts;
    if (!this.crashedFor.has(record.id)) {
      const at = fleet.now();
      void keep({ k: 'crashed', at, host: record.host, cause: record.id });
      fleet.apply(fleet.slot(record.host), { do: 'crash' }, at);
    }
    this.settle(record, reject('host_crashed', `${record.host} crashed, as a fault rule wanted it`));
  }

  private settle(record: CommandRecord, reply: Reply | null): void {
    record.stage = 'answered';
    record.reply = reply;
    // Replay would come to the same answer: nobody needs to wait until this line is safe.
    if (this.live) void this.parts.keep({ k: 'answered', id: record.id, reply });
    this.parts.observer.answered?.(record, reply);
    for (const tell of record.waiting.splice(0)) tell(reply);
  }

  private outcome(record: CommandRecord): Promise<Reply | null> {
    if (record.stage === 'answered') return Promise.resolve(record.reply);
    return this.unlessClosed((resolve) => record.waiting.push(resolve));
  }

  /** Nothing is said until nobody waits any more. */
  private silence(context: Pick<ServeContext, 'deadline'>): Promise<never> {
    const { timers, fleet } = this.parts;
    return this.unlessClosed((_resolve, fail) => {
      timers.at(Math.min(context.deadline, fleet.now() + LONGEST_SILENCE_MS), () =>
        fail(new Error('a fault rule wants no answer to this command')),
      );
    });
  }

  private unlessClosed<Value>(
    begin: (resolve: (value: Value) => void, fail: (fault: Error) => void) => void,
  ): Promise<Value> {
    if (this.closed) return Promise.reject(stopping());
    return new Promise<Value>((resolve, giveUp) => {
      const fail = (fault: Error): void => {
        this.open.delete(fail);
        giveUp(fault);
      };
      this.open.add(fail);
      begin((value) => {
        this.open.delete(fail);
        resolve(value);
      }, fail);
    });
  }
}
