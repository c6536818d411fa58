import type { EventLog, LogFeed, LoggedEvent, StoredDocument, Subscription, Uuid } from '@xenolith/kernel';
import type { Index, IndexedEvent, IndexLoading } from './service.js';

/** Where own appends are shown before the feed brings them. */
export interface IndexFeed {
  applyOwn(events: readonly IndexedEvent[]): void;
}

/** Keeps the pages until all are there. */
const wholeLoading = (index: Index): IndexLoading => {
  const pages: StoredDocument[][] = [];
  return {
    take: (documents) => void pages.push([...documents]),
    end: (position) => index.load(pages.flat(), position),
  };
};

/** Keeps a service's indexes: loads their documents, follows the log, and shows own appends early, each event once. */
export class Indexes implements IndexFeed {
  private readonly seen = new Map<Uuid, number>();
  private readonly categories: ReadonlySet<string>;
  private subscription: Subscription | null = null;
  /** The log's position up to which every index has seen everything. */
  private position = 0;
  private waiting: { readonly position: number; readonly resolve: () => void }[] = [];

  /** `onLogged` is shown every event that the log brings, own ones too, before the indexes are. */
  constructor(
    private readonly indexes: readonly Index[],
    private readonly onLogged: (event: LoggedEvent) => void,
  ) {
    this.categories = new Set(indexes.flatMap((index) => index.categories));
  }

  /** Settles when every index has its documents and follows the log. */
  async start(service: string, log: EventLog, feed: LogFeed): Promise<void> {
    if (this.indexes.length === 0) return;
    const position = await this.load(log);
    this.position = position;
    this.subscription = await feed.follow({
      name: `${service}-indexes`,
      after: position,
      onBatch: (events) => {
        for (const event of events) {
          this.onLogged(event);
          this.applyLogged(event);
        }
        this.reach(events.at(-1)?.position ?? this.position);
        return Promise.resolve();
      },
    });
  }

  /** Answers the position that the indexes are exact as of. */
  private async load(log: EventLog): Promise<number> {
    const loadings = this.indexes.map((index) => ({
      categories: new Set(index.categories),
      loading: index.loading?.() ?? wholeLoading(index),
    }));
    const position = await log.scanDocuments([...this.categories], (documents) => {
      for (const document of documents) this.seen.set(document.streamId, document.version);
      for (const { categories, loading } of loadings)
        loading.take(documents.filter(({ category }) => categories.has(category)));
    });
    for (const { loading } of loadings) loading.end(position);
    return position;
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
    this.reach(Number.POSITIVE_INFINITY);
  }

  /** Settles when the indexes have seen the log up to `position`; at once when there are none, or when they are stopped. */
  caughtUp(position: number): Promise<void> {
    if (this.indexes.length === 0 || this.position >= position) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push({ position, resolve }));
  }

  private reach(position: number): void {
    this.position = Math.max(this.position, position);
    const reached = this.waiting.filter((waiter) => waiter.position <= this.position);
    if (reached.length === 0) return;
    this.waiting = this.waiting.filter((waiter) => waiter.position > this.position);
    for (const waiter of reached) waiter.resolve();
  }

  /** An own event is shown early only when nothing of its stream is missing; else the log brings it in its turn. */
  applyOwn(events: readonly IndexedEvent[]): void {
    for (const event of events) {
      if (event.version === (this.seen.get(event.streamId) ?? 0) + 1) this.apply(event);
    }
  }

  private applyLogged(event: LoggedEvent): void {
    if (event.version > (this.seen.get(event.streamId) ?? 0)) this.apply(event);
  }

  private apply(event: IndexedEvent): void {
    if (!this.categories.has(event.category)) return;
    this.seen.set(event.streamId, event.version);
    for (const index of this.indexes) if (index.categories.includes(event.category)) index.apply(event);
  }
}
