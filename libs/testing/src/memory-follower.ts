import type { LoggedEvent } from '@xenolith/kernel';
import type { MemoryStore } from './memory-store.js';

/** Pause before a batch whose handler threw is shown again. */
const RETRY_PAUSE_MS = 100;
const BATCH_EVENTS = 256;

/** A follower that runs while its connection holds the lease: one turn after the other, however fast the lease comes and goes. */
export class LeasedRunner {
  private turns: Promise<void> = Promise.resolve();
  private cursor: Cursor | null = null;
  private held = 0;
  private halted = false;

  constructor(
    private readonly store: MemoryStore,
    private readonly connection: object,
    private readonly follower: {
      readonly name: string;
      readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
      readonly onLease?: (held: boolean) => Promise<void>;
    },
  ) {}

  readonly grant = (): void => {
    this.held += 1;
    const turn = this.held;
    this.turns = this.turns.then(() => this.begin(turn));
  };

  readonly lose = (): void => {
    this.held += 1;
    this.turns = this.turns.then(() => this.end());
  };

  readonly halt = (): void => {
    this.halted = true;
    this.cursor?.halt();
  };

  async stop(): Promise<void> {
    this.held += 1;
    await this.turns;
    await this.end();
    this.halted = true;
  }

  /** Begins unless the lease is lost again; a runner that could not begin tries again. */
  private async begin(turn: number): Promise<void> {
    while (!this.isOver(turn)) {
      try {
        await this.follower.onLease?.(true);
        if (this.isOver(turn)) return;
        const { name } = this.follower;
        this.cursor = new Cursor(this.store, this.store.checkpoint(name), this.follower.onBatch, (position) =>
          this.store.saveCheckpoint(name, position, this.connection),
        );
        return;
      } catch {
        await this.follower.onLease?.(false);
        await new Promise<void>((resolve) => this.store.clock.after(RETRY_PAUSE_MS, resolve));
      }
    }
  }

  private async end(): Promise<void> {
    const { cursor } = this;
    this.cursor = null;
    await cursor?.stop();
    await this.follower.onLease?.(false);
  }

  private isOver(turn: number): boolean {
    return this.halted || this.held !== turn;
  }
}

/** Shows the log to one handler, batch by batch. */
export class Cursor {
  private running: Promise<void> | null = null;
  private halted = false;
  private readonly unlisten: () => void;

  constructor(
    private readonly store: MemoryStore,
    private position: number,
    private readonly onBatch: (events: readonly LoggedEvent[]) => Promise<void>,
    private readonly onDone: (position: number) => boolean,
  ) {
    this.unlisten = store.onSequenced(() => this.wake());
    this.wake();
  }

  readonly halt = (): void => {
    this.halted = true;
    this.unlisten();
  };

  async stop(): Promise<void> {
    this.halt();
    await this.running;
  }

  private wake(): void {
    this.running ??= this.run().finally(() => {
      this.running = null;
      if (!this.halted && this.position < this.store.log.length) this.wake();
    });
  }

  private async run(): Promise<void> {
    // A turn of the event loop's microtasks lies between an append and its followers, as a network would.
    await Promise.resolve();
    while (!this.halted) {
      const events = this.store.readLog(this.position, BATCH_EVENTS);
      const last = events.at(-1);
      if (last === undefined) return;
      try {
        await this.onBatch(events);
        if (this.isHalted()) return;
        this.position = last.position;
        if (!this.onDone(this.position)) this.halt();
      } catch {
        await new Promise<void>((resolve) => this.store.clock.after(RETRY_PAUSE_MS, resolve));
      }
    }
  }

  private isHalted(): boolean {
    return this.halted;
  }
}
