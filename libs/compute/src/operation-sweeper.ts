import { commandSubject } from '@xenolith/contracts';
import { BusFault, rootCommand, uuidFrom, type Clock, type MessageBus, type Uuid } from '@xenolith/kernel';
import type { FinishedOperations } from './finished-operations.index.js';

/** How long finished operations can be looked at. */
export interface OperationRetention {
  /** At most so many finished ones are kept, over all namespaces; the oldest go first. */
  readonly keep: number;
  /** Milliseconds after its end that one goes in any case. The timer of the operation itself is the longest: an hour. */
  readonly lifeMs: number;
}

/** A page of `kubectl get operations` is 500; some minutes of a busy platform, some 8 MiB of the gateway's memory. */
export const DEFAULT_KEPT_OPERATIONS = 1_000;
/** As long as Kubernetes keeps its events. */
export const LONGEST_OPERATION_LIFE_MS = 3_600_000;

/** Removals under way at once: each is one small append, and must not hold up what users wait for. */
const AT_ONCE = 4;
/** Removals between two looks at what is there. */
const BATCH = 32;
const COMMAND_MS = 15_000;
/** After a fault, or when nothing went: what is in the way goes by itself, or does not. */
const RETRY_MS = 5_000;

/** Takes finished operations away that are too many or too old, in small batches, as long as there are some. */
export class OperationSweeper {
  private running = false;
  private sweeping = false;
  private cancelWake: (() => void) | null = null;
  private unlisten: () => void = () => undefined;

  constructor(
    private readonly finished: FinishedOperations,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
    private readonly retention: OperationRetention,
  ) {}

  start(): void {
    this.running = true;
    this.unlisten = this.finished.onMore(() => this.look());
    this.look();
  }

  stop(): void {
    this.running = false;
    this.unlisten();
    this.cancelWake?.();
  }

  private look(): void {
    if (!this.running || this.sweeping) return;
    if (this.due(1).length === 0) {
      this.wakeForOldest();
      return;
    }
    this.sweeping = true;
    void this.sweep().then((pauseMs) => {
      this.sweeping = false;
      if (!this.running) return;
      if (pauseMs === 0) this.look();
      else this.wakeAfter(pauseMs);
    });
  }

  private due(atMost: number): readonly Uuid[] {
    const { keep, lifeMs } = this.retention;
    const tooMany = this.finished.size - keep;
    const endedBefore = this.ports.clock.now() - lifeMs;
    return this.finished
      .oldest(atMost)
      .filter(([, end], index) => index < tooMany || end <= endedBefore)
      .map(([uid]) => uid);
  }

  /** One batch; the answer is how long to wait before the next. */
  private async sweep(): Promise<number> {
    const before = this.finished.size;
    const due = this.due(BATCH);
    try {
      for (let from = 0; from < due.length; from += AT_ONCE)
        await Promise.all(due.slice(from, from + AT_ONCE).map((uid) => this.remove(uid)));
    } catch (fault) {
      // The bus or the log is away for a moment, and tells so itself.
      if (fault instanceof BusFault) return RETRY_MS;
      throw fault;
    }
    return this.finished.size < before ? 0 : RETRY_MS;
  }

  /** A refusal is an answer: another instance of the service was faster. */
  private async remove(uid: Uuid): Promise<void> {
    const at = this.ports.clock.now();
    const commandId = uuidFrom(uid, 'sweep', at);
    const type = 'RemoveOperation';
    const message = rootCommand({ commandId, type, streamId: uid, data: {}, actor: 'system:compute', at });
    await this.ports.bus.request(commandSubject('compute', type), message, { timeoutMs: COMMAND_MS });
  }

  /** Operations whose own timer is due no later than here need nobody to look. */
  private wakeForOldest(): void {
    const { lifeMs } = this.retention;
    const [oldest] = this.finished.oldest(1);
    if (oldest === undefined || lifeMs >= LONGEST_OPERATION_LIFE_MS || this.cancelWake !== null) return;
    this.wakeAfter(Math.max(1, oldest[1] + lifeMs - this.ports.clock.now()));
  }

  private wakeAfter(delayMs: number): void {
    this.cancelWake?.();
    this.cancelWake = this.ports.clock.after(delayMs, () => {
      this.cancelWake = null;
      this.look();
    });
  }
}
