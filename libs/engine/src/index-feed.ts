import type { EventLog, LogFeed, LoggedEvent, StoredEvent, Subscription, Uuid } from '@xenolith/kernel';
import type { IndexFeed } from './command-handler.js';
import type { Index } from './service.js';

/** Keeps a service's indexes: loads their documents, follows the log, and shows own appends early, each event once. */
export class Indexes implements IndexFeed {
  private readonly seen = new Map<Uuid, number>();
  private readonly categories: ReadonlySet<string>;
  private subscription: Subscription | null = null;

  constructor(private readonly indexes: readonly Index[]) {
    this.categories = new Set(indexes.flatMap((index) => index.categories));
  }

  /** Settles when every index has its documents and follows the log. */
  async start(service: string, log: EventLog, feed: LogFeed): Promise<void> {
    if (this.indexes.length === 0) return;
    const { position, documents } = await log.documents([...this.categories]);
    for (const document of documents) this.seen.set(document.streamId, document.version);
    for (const index of this.indexes)
      index.load(documents.filter((document) => index.categories.includes(document.category)));
    this.subscription = await feed.follow({
      name: `${service}-indexes`,
      after: position,
      onBatch: (events) => {
        for (const event of events) this.applyLogged(event);
        return Promise.resolve();
      },
    });
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
  }

  /** An own event is shown early only when nothing of its stream is missing; else the log brings it in its turn. */
  applyOwn(events: readonly StoredEvent[]): void {
    for (const event of events) {
      if (event.version === (this.seen.get(event.streamId) ?? 0) + 1) this.apply(event);
    }
  }

  private applyLogged(event: LoggedEvent): void {
    if (event.version > (this.seen.get(event.streamId) ?? 0)) this.apply(event);
  }

  private apply(event: StoredEvent): void {
    if (!this.categories.has(event.category)) return;
    this.seen.set(event.streamId, event.version);
    for (const index of this.indexes) if (index.categories.includes(event.category)) index.apply(event);
  }
}
