import { categoryOf } from '@xenolith/contracts';
import {
  present,
  type EventLog,
  type LogFeed,
  type LoggedEvent,
  type StoredDocument,
  type Subscription,
  type Uuid,
} from '@xenolith/kernel';
import type { ServedKind } from '../discovery/index.js';
import { cachedObject, indexerOf, type CachedObject, type Indexer } from './cached-object.js';
import { KindStore } from './kind-store.js';
import { LogHead } from './log-head.js';
import { Waiting } from './waiting.js';

/** Streams that ended lately, so that who waits for a deletion learns of it even when it came first. */
const REMEMBERED_ENDS = 10_000;

/** Shows the newest documents in pages, all exact as of the position that it answers. */
export type ScanDocuments = (
  categories: readonly string[],
  onPage: (documents: readonly StoredDocument[]) => void,
) => Promise<number>;

interface KindEntry {
  readonly store: KindStore;
  readonly indexer: Indexer;
}

/** Where the values of a kind's field selectors lie. */
export const selectablePaths = (kind: ServedKind): readonly string[] =>
  kind.fieldSelectors.map((label) => kind.fieldPaths?.[label] ?? label);

/** A follower inside this process that sees each batch before those who watch do. */
export interface BatchObserver {
  observe(events: readonly LoggedEvent[]): void;
}

/** Every document of the log as of one position, which moves on with the feed. Reads are of one moment: nothing moves between two steps of one call. */
export class DocumentCache {
  /** Kinds whose documents are in the log, by category. */
  private readonly kinds = new Map<string, KindEntry>();
  private readonly stores = new Map<ServedKind, KindStore>();
  private readonly byUid = new Map<Uuid, CachedObject>();
  private readonly ends = new Map<Uuid, number>();
  private readonly positions = new Waiting();
  private readonly versions = new Map<Uuid, Waiting>();
  private readonly head: LogHead;
  private readonly observers: BatchObserver[] = [];
  private subscription: Subscription | null = null;
  private reachedPosition = 0;
  private loaded = false;

  constructor(
    private readonly ports: {
      readonly log: EventLog;
      readonly feed: LogFeed;
      readonly name: string;
      readonly scanDocuments?: ScanDocuments;
    },
    kinds: readonly ServedKind[],
  ) {
    this.head = new LogHead(ports.log);
    for (const kind of kinds) {
      const store = new KindStore();
      this.stores.set(kind, store);
      if (kind.definition !== null)
        this.kinds.set(categoryOf(kind), { store, indexer: indexerOf(selectablePaths(kind)) });
    }
  }

  /** Settles when all documents are here; `follow` then keeps them up. */
  async load(): Promise<void> {
    const byCategory = new Map<string, CachedObject[]>([...this.kinds.keys()].map((category) => [category, []]));
    const take = (documents: readonly StoredDocument[]): void => {
      for (const stored of documents) {
        const entry = this.kinds.get(stored.category);
        if (entry === undefined) continue;
        const object = cachedObject({ ...stored, uid: stored.streamId, indexer: entry.indexer });
        this.byUid.set(object.uid, object);
        byCategory.get(stored.category)?.push(object);
      }
    };
    const position = await this.readDocuments([...this.kinds.keys()], take);
    for (const [category, entry] of this.kinds) entry.store.load(byCategory.get(category) ?? [], position);
    this.reachedPosition = position;
  }

  /** Parsed documents take several times the memory of their text: they are read page by page where that can be had. */
  private async readDocuments(
    categories: readonly string[],
    take: (documents: readonly StoredDocument[]) => void,
  ): Promise<number> {
    if (this.ports.scanDocuments !== undefined) return this.ports.scanDocuments(categories, take);
    const { position, documents } = await this.ports.log.documents(categories);
    take(documents);
    return position;
  }

  /** Settles when the log is followed from where the documents were loaded. */
  async follow(): Promise<void> {
    this.loaded = true;
    this.subscription = await this.ports.feed.follow({
      name: this.ports.name,
      after: this.reachedPosition,
      onBatch: (events) => {
        this.apply(events);
        return Promise.resolve();
      },
    });
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
  }

  get ready(): boolean {
    return this.loaded;
  }

  /** The position up to which every document is known. */
  get position(): number {
    return this.reachedPosition;
  }

  observeWith(observer: BatchObserver): void {
    this.observers.push(observer);
  }

  store(kind: ServedKind): KindStore {
    return present(this.stores.get(kind), `the cache was told of kind ${kind.kind}`);
  }

  byId(uid: Uuid): CachedObject | undefined {
    return this.byUid.get(uid);
  }

  /** Settles with false when `position` was not reached in time. */
  async reach(position: number, timeoutMs: number): Promise<boolean> {
    return position <= this.reachedPosition || this.positions.wait(position, timeoutMs);
  }

  /** Waits until everything acknowledged before the call is here. Throws when the log can't be asked; false: not in time. */
  async catchUp(timeoutMs: number): Promise<boolean> {
    return this.reach(await this.head.ask(), timeoutMs);
  }

  /** Settles with true once the stream is here at `version` or later, ended ones included. */
  async reachVersion(uid: Uuid, version: number, timeoutMs: number): Promise<boolean> {
    const known = this.byUid.get(uid)?.version ?? this.ends.get(uid) ?? 0;
    if (known >= version) return true;
    let waiting = this.versions.get(uid);
    if (waiting === undefined) {
      waiting = new Waiting();
      this.versions.set(uid, waiting);
    }
    const reached = await waiting.wait(version, timeoutMs);
    if (waiting.empty) this.versions.delete(uid);
    return reached;
  }

  /** Events again after a fault, or already loaded, change nothing. */
  private apply(events: readonly LoggedEvent[]): void {
    const fresh = events.filter((event) => event.position > this.reachedPosition);
    const last = fresh.at(-1);
    if (last === undefined) return;
    for (const observer of this.observers) observer.observe(fresh);
    const moved: LoggedEvent[] = [];
    for (const event of fresh) if (this.applyOne(event)) moved.push(event);
    this.reachedPosition = last.position;
    for (const store of this.stores.values()) store.flush();
    for (const event of moved) this.versions.get(event.streamId)?.reached(event.version);
    this.positions.reached(last.position);
  }

  private applyOne(event: LoggedEvent): boolean {
    if (event.document === undefined) return false;
    const entry = this.kinds.get(event.category);
    if (entry === undefined) return false;
    if (event.document === null) {
      this.end(entry.store, event);
      return true;
    }
    const object = cachedObject({
      uid: event.streamId,
      position: event.position,
      version: event.version,
      document: event.document,
      indexer: entry.indexer,
    });
    this.byUid.set(object.uid, object);
    entry.store.put(object);
    return true;
  }

  private end(store: KindStore, event: LoggedEvent): void {
    const held = this.byUid.get(event.streamId);
    this.byUid.delete(event.streamId);
    this.ends.set(event.streamId, event.version);
    if (this.ends.size > REMEMBERED_ENDS) {
      const oldest = this.ends.keys().next();
      if (oldest.done !== true) this.ends.delete(oldest.value);
    }
    if (held !== undefined) store.remove(held, event.position, event.version);
  }
}
