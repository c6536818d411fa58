import { ok, reject, type CommandMessage, type JsonObject, type Reply, type Uuid } from '@xenolith/kernel';
import type { VirtualClock } from '@xenolith/testing';

const ANSWER_MS = 1;

/** A party beside compute that keeps what it granted, answers a command id once, and refuses what an undo has cancelled. */
export class Party {
  private readonly answers = new Map<Uuid, Reply>();
  readonly asked: CommandMessage[] = [];
  /** Replaces the answer of a type of command; null: let it through. */
  refusal: ((message: CommandMessage) => Reply | null) | null = null;
  silent = false;
  /** Whether it does a command without ever saying so. */
  hides: ((message: CommandMessage) => boolean) | null = null;

  constructor(
    private readonly clock: VirtualClock,
    private readonly act: (message: CommandMessage) => Reply,
  ) {}

  /** The effect is at once, the answer takes a moment. */
  async handle(message: CommandMessage): Promise<Reply> {
    if (this.silent) return new Promise(() => undefined);
    const reply = this.answer(message);
    if (this.hides?.(message) === true) return new Promise(() => undefined);
    await this.clock.sleep(ANSWER_MS);
    return reply;
  }

  private answer(message: CommandMessage): Reply {
    this.asked.push(message);
    const known = this.answers.get(message.commandId);
    if (known) return known;
    const refused = this.refusal?.(message) ?? null;
    const reply = refused ?? this.act(message);
    this.answers.set(message.commandId, reply);
    if (message.undoes !== undefined && !this.answers.has(message.undoes))
      this.answers.set(message.undoes, reject('command_cancelled', 'an undo came first'));
    return reply;
  }
}

export const field = (message: CommandMessage, name: string): unknown => message.data[name];

/** Grants kept by key: `grant` types take, the others give back. */
export const keeper =
  (kept: Map<Uuid, number>, takes: readonly string[], answer: (message: CommandMessage) => JsonObject) =>
  (message: CommandMessage): Reply => {
    const incarnation = (field(message, 'incarnation') as number | undefined) ?? 1;
    if (takes.includes(message.type)) {
      kept.set(message.streamId, incarnation);
      return ok(answer(message));
    }
    const held = kept.get(message.streamId);
    const deletes = message.type.startsWith('Deprovision') ? field(message, 'delete') === true : true;
    if (held !== undefined && held <= incarnation && deletes) kept.delete(message.streamId);
    return ok({});
  };

/** What hosts are asked. */
export const AGENT_COMMANDS = [
  'StartDomain',
  'ShutdownDomain',
  'RebootDomain',
  'PauseDomain',
  'UnpauseDomain',
  'DestroyDomain',
  'SuspendDomain',
  'CheckpointDomain',
  'ChangeDomain',
  'ReceiveDomain',
  'MigrateDomain',
  'CancelMigration',
  'SettleMigration',
  'AttachDisk',
  'AttachNic',
  'DetachDisk',
  'DetachNic',
  'ResumeDomain',
  'SetFaultRules',
  'GetInventory',
  'PowerOffHost',
  'PowerOnHost',
] as const;
