import type { JsonObject, Reply, Uuid } from '@xenolith/kernel';
import type { EntryOf, Strike } from './journal.js';

/** A command that was accepted. */
export interface CommandRecord {
  readonly at: number;
  readonly host: string;
  readonly id: Uuid;
  readonly hash: string;
  readonly type: string;
  readonly uid: Uuid;
  readonly data: JsonObject;
  readonly strikes: readonly Strike[];
  /** Given on the host itself, with this command of a tool; absent: by the control plane. */
  readonly direct?: string | undefined;
  /** `held`: has not taken effect yet. `finishing`: its work is done, its answer is held back. */
  stage: 'held' | 'working' | 'finishing' | 'answered';
  /** When the host had done it. */
  doneAt: number;
  /** Null: none yet, or, once answered, never. */
  reply: Reply | null;
  /** Settles when the command is in the journal for good. */
  durable: Promise<void>;
  waiting: ((reply: Reply | null) => void)[];
}

/**
 * Answers are kept for this long, and not more of them than this. A command that is asked again later still does no harm: its run has
 * ended or goes on, and the host says so.
 */
const KEPT_MS = 15 * 60_000;
const KEPT_COMMANDS = 50_000;

/** What has been accepted, answered and cancelled: the same id gets the same answer. */
export class CommandBook {
  private readonly records = new Map<Uuid, CommandRecord>();
  private readonly cancelled = new Map<Uuid, number>();

  get(id: Uuid): CommandRecord | undefined {
    return this.records.get(id);
  }

  add(record: CommandRecord): void {
    this.records.set(record.id, record);
  }

  /** Whether the run that a direct command was to end or to reboot was then destroyed directly. */
  isOvertaken({ type, uid, data, at }: CommandRecord): boolean {
    if (type === 'DestroyDomain') return false;
    return [...this.records.values()].some(
      (later) =>
        later.direct !== undefined &&
        later.type === 'DestroyDomain' &&
        later.uid === uid &&
        later.data['incarnation'] === data['incarnation'] &&
        later.at >= at &&
        later.stage !== 'held' &&
        later.reply?.ok !== false,
    );
  }

  isCancelled(id: Uuid): boolean {
    return this.cancelled.has(id);
  }

  /** From now on the command must not take effect; one that did is left to its undo. */
  cancel(id: Uuid, at: number): void {
    const record = this.records.get(id);
    if (!record || record.stage === 'held') this.cancelled.set(id, at);
  }

  /** Forgets what nobody asks for any more. */
  sweep(now: number): void {
    for (const [id, record] of this.records) {
      const spare = record.at < now - KEPT_MS || this.records.size > KEPT_COMMANDS;
      if (!spare) break;
      if (record.stage === 'answered') this.records.delete(id);
    }
    for (const [id, at] of this.cancelled) {
      if (at >= now - KEPT_MS && this.cancelled.size <= KEPT_COMMANDS) break;
      this.cancelled.delete(id);
    }
  }

  get size(): number {
    return this.records.size + this.cancelled.size;
  }

  all(): IterableIterator<CommandRecord> {
    return this.records.values();
  }

  snapshot(): (EntryOf<'command'> | EntryOf<'cancelled'>)[] {
    const commands = [...this.records.values()].map(
      ({ at, host, id, hash, type, uid, data, strikes, direct, stage, doneAt, reply }): EntryOf<'command'> => ({
        k: 'command',
        at,
        host,
        id,
        hash,
        type,
        uid,
        // An answered command is never done again: what it asked for is not needed.
        data: stage === 'answered' ? {} : data,
        strikes: [...strikes],
        ...(direct === undefined ? {} : { direct }),
        stage,
        doneAt,
        reply,
      }),
    );
    const cancelled = [...this.cancelled].map(([id, at]): EntryOf<'cancelled'> => ({ k: 'cancelled', at, id }));
    return [...commands, ...cancelled];
  }

  restoreCancelled(id: Uuid, at: number): void {
    this.cancelled.set(id, at);
  }
}
