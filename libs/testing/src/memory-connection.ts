import type {
  AppendOutcome,
  AppendRequest,
  CommandResult,
  EventLog,
  LogFeed,
  LoggedEvent,
  Snapshot,
  StoredDocument,
  StoredEvent,
  Subscription,
  Uuid,
} from '@xenolith/kernel';
import { Cursor, LeasedRunner } from './memory-follower.js';
import { MemoryPast } from './memory-past.js';
import type { MemoryStore } from './memory-store.js';

/** A call on a connection that was killed: the process that made it is gone. */
const never = <Value>(): Promise<Value> => new Promise(() => undefined);

/** One process's access to the log. */
export class MemoryConnection implements EventLog, LogFeed {
  /** What was. Answers at once, also to a connection that was killed. */
  readonly past: MemoryPast;
  private killed = false;
  private readonly stops = new Set<() => void>();

  constructor(private readonly store: MemoryStore) {
    this.past = new MemoryPast(store);
  }

  /** As SIGKILL would: nothing that was asked through it is ever answered, and its leases go to the next in line. */
  kill(): void {
    this.killed = true;
    for (const stop of this.stops) stop();
    this.store.releaseLeases(this);
  }

  append(request: AppendRequest): Promise<AppendOutcome> {
    return this.call('append', () => this.store.append(request));
  }

  readStream(streamId: Uuid, afterVersion = 0): Promise<readonly StoredEvent[]> {
    return this.call('read', () => this.store.readStream(streamId, afterVersion));
  }

  commandResult(commandId: Uuid): Promise<CommandResult | null> {
    return this.call('read', () => this.store.commandResult(commandId));
  }

  claimHolder(scope: string, value: string): Promise<Uuid | null> {
    return this.call('read', () => this.store.claimHolder(scope, value));
  }

  snapshot(streamId: Uuid, stateVersion: number): Promise<Snapshot | null> {
    return this.call('read', () => this.store.snapshot(streamId, stateVersion));
  }

  saveSnapshot(snapshot: Snapshot): Promise<void> {
    return this.call('read', () => this.store.saveSnapshot(snapshot));
  }

  readCategory(...asked: Parameters<EventLog['readCategory']>): Promise<readonly LoggedEvent[]> {
    return this.call('read', () => this.store.readCategory(...asked));
  }

  readLog(after: number, limit: number): Promise<readonly LoggedEvent[]> {
    return this.call('read', () => this.store.readLog(after, limit));
  }

  readEvents(after: number, limit: number): Promise<readonly LoggedEvent[]> {
    return this.call('read', () => this.store.readEvents(after, limit));
  }

  head(): Promise<number> {
    return this.call('read', () => this.store.head());
  }

  documents(categories?: readonly string[]): Promise<{ position: number; documents: readonly StoredDocument[] }> {
    return this.call('read', () => this.store.documents(categories));
  }

  async scanDocuments(...[categories, onPage]: Parameters<EventLog['scanDocuments']>): Promise<number> {
    const { position, documents } = await this.documents(categories);
    await onPage(documents);
    return position;
  }

  follow(follower: {
    name: string;
    after: number;
    onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
  }): Promise<Subscription> {
    const cursor = new Cursor(this.store, follower.after, follower.onBatch, () => true);
    return Promise.resolve(this.track(cursor));
  }

  followLeased(follower: {
    name: string;
    onBatch: (events: readonly LoggedEvent[]) => Promise<void>;
    onLease?: (held: boolean) => Promise<void>;
  }): Promise<Subscription> {
    const runner = new LeasedRunner(this.store, this, follower);
    this.stops.add(runner.halt);
    this.store.requestLease(follower.name, { connection: this, grant: runner.grant, lose: runner.lose });
    return Promise.resolve({
      stop: async () => {
        await runner.stop();
        this.stops.delete(runner.halt);
        this.store.releaseLeases(this, follower.name);
      },
    });
  }

  /** Gives its leases up without wanting to, as a process does whose connection breaks: it goes on, and gets in line again. */
  loseLeases(): void {
    this.store.loseLeases(this);
  }

  private track(cursor: Cursor): Subscription {
    this.stops.add(cursor.halt);
    return {
      stop: async () => {
        this.stops.delete(cursor.halt);
        await cursor.stop();
      },
    };
  }

  /** The effect happens after half of the latency, the answer after the other half: a process may die in between. */
  private async call<Value>(kind: 'append' | 'read', action: () => Value): Promise<Value> {
    if (this.killed) return never();
    const latency = this.store.latency[kind]?.() ?? 0;
    if (latency > 0) await this.pause(latency / 2);
    const value = action();
    if (latency > 0) await this.pause(latency / 2);
    return this.isKilled() ? never() : value;
  }

  private isKilled(): boolean {
    return this.killed;
  }

  private pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.store.clock.after(delayMs, resolve));
  }
}
