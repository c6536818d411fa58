import { categoryOf } from '@xenolith/contracts';
import { present, type EventLog, type LogFeed, type LoggedEvent, type Subscription, type Uuid } from '@xenolith/kernel';
import type { ServedKind } from '../discovery/index.js';
import { cachedObject, indexerOf, type CachedObject, type Indexer } from './cached-object.js';
import { KindStore } from './kind-store.js';
import { LoadedDocuments } from './loaded-documents.js';
import { LogHead } from './log-head.js';
import { selectablePaths } from './selectable-paths.js';
import { Waiting } from './waiting.js';

/** Streams that ended lately, so that who waits for a deletion learns of it even when it came first. */
const REMEMBERED_ENDS = 10_000;

interface KindEntry {
  readonly store: KindStore;
  readonly indexer: Indexer;
}

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
      /** The documents, when somebody has read them already. */
      readonly loaded?: LoadedDocuments;
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
    const { position, objects } = (await this.loadedDocuments()).handOver();
    for (const [category, { store }] of this.kinds) {
      const loaded = objects.get(category) ?? [];
      for (const object of loaded) this.byUid.set(object.uid, object);
      store.load(loaded, position);
    }
    this.reachedPosition = position;
  }

  private async loadedDocuments(): Promise<LoadedDocuments> {
    if (this.ports.loaded !== undefined) return this.ports.loaded;
    const documents = new LoadedDocuments([...this.stores.keys()]);
    await documents.read(this.ports.log);
    return documents;
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
