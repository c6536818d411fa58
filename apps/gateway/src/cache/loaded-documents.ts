import { categoryOf } from '@xenolith/contracts';
import type { Index, IndexLoading } from '@xenolith/engine';
import type { EventLog, StoredDocument } from '@xenolith/kernel';
import type { ServedKind } from '../discovery/index.js';
import { cachedObject, indexerOf, type CachedObject, type Indexer } from './cached-object.js';
import { selectablePaths } from './selectable-paths.js';

/** All that the cache holds at a start: objects by category, exact as of the position. */
export interface LoadedObjects {
  readonly position: number;
  readonly objects: ReadonlyMap<string, readonly CachedObject[]>;
}

/**
 * Makes what the cache keeps of the documents that the engine reads for its indexes when it starts: both want the newest document of everything there
 * is, which is most of what a start reads. Parsed documents take several times the memory of their text: each page is let go before the next.
 */
export class LoadedDocuments implements Index {
  readonly name = 'loaded-documents';
  readonly categories: readonly string[];
  private readonly indexers: ReadonlyMap<string, Indexer>;
  private objects = new Map<string, CachedObject[]>();
  private position = 0;

  constructor(kinds: readonly ServedKind[]) {
    const stored = kinds.filter(({ definition }) => definition !== null);
    this.indexers = new Map(stored.map((kind) => [categoryOf(kind), indexerOf(selectablePaths(kind))]));
    this.categories = [...this.indexers.keys()];
  }

  /** For who has no engine that reads. */
  async read(log: Pick<EventLog, 'scanDocuments'>): Promise<void> {
    const loading = this.loading();
    loading.end(await log.scanDocuments(this.categories, (documents) => loading.take(documents)));
  }

  load(documents: readonly StoredDocument[], position: number): void {
    const loading = this.loading();
    loading.take(documents);
    loading.end(position);
  }

  loading(): IndexLoading {
    this.objects = new Map(this.categories.map((category) => [category, []]));
    return {
      take: (documents) => {
        for (const stored of documents) this.take(stored);
      },
      end: (position) => {
        this.position = position;
      },
    };
  }

  /** What happens later the cache follows by itself, from the position of the documents. */
  apply(): void {}

  /** Hands over what was made, and keeps none of it. */
  handOver(): LoadedObjects {
    const { position, objects } = this;
    this.objects = new Map();
    return { position, objects };
  }

  private take(stored: StoredDocument): void {
    const indexer = this.indexers.get(stored.category);
    if (indexer === undefined) return;
    this.objects.get(stored.category)?.push(cachedObject({ ...stored, uid: stored.streamId, indexer }));
  }
}
