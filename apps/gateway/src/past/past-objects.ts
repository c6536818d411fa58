import { categoryOf } from '@xenolith/contracts';
import type { LogPast, StoredDocument, Uuid } from '@xenolith/kernel';
import { cachedObject, indexerOf, type CachedObject, type Indexer } from '../cache/cached-object.js';
import { selectablePaths } from '../cache/selectable-paths.js';
import type { ListPage } from '../cache/kind-store.js';
import { selects, type Selection } from '../cache/selection.js';
import type { ServedKind } from '../discovery/index.js';
import { readingPast } from './as-of.js';

/** Documents read by one statement: a few MiB. */
const PAGE_DOCUMENTS = 500;

const indexers = new Map<ServedKind, Indexer>();

const indexerFor = (kind: ServedKind): Indexer => {
  const indexer = indexers.get(kind) ?? indexerOf(selectablePaths(kind));
  indexers.set(kind, indexer);
  return indexer;
};

/** Objects of a kind at a position, made as the cache makes them: what is shown of them is equal byte for byte. */
export class PastObjects {
  private readonly indexer: Indexer;
  readonly category: string;

  constructor(
    private readonly past: LogPast,
    kind: ServedKind,
    private readonly position: number,
  ) {
    this.indexer = indexerFor(kind);
    this.category = categoryOf(kind);
  }

  async get(namespace: string, name: string, uid?: Uuid): Promise<CachedObject | null> {
    const { category, position } = this;
    const stored = await readingPast(() =>
      this.past.documentAt({ category, position, namespace, name, ...(uid !== undefined && { uid }) }),
    );
    return stored === null ? null : this.object(stored);
  }

  /** One page, in the order of keys; all there is without a limit. */
  async list(
    selection: Selection,
    from: { readonly after?: string | undefined; readonly limit?: number | undefined },
  ): Promise<ListPage> {
    const objects: CachedObject[] = [];
    let after = from.after;
    for (;;) {
      const page = await this.page(selection, after);
      for (const object of page) {
        if (!selects(selection, object)) continue;
        if (objects.length === from.limit) return this.cut(selection, objects);
        objects.push(object);
      }
      after = page.at(-1)?.key;
      if (page.length < PAGE_DOCUMENTS || after === undefined) return { objects };
    }
  }

  private async cut(selection: Selection, objects: readonly CachedObject[]): Promise<ListPage> {
    const lastKey = objects.at(-1)?.key ?? '';
    if (selection.matches !== undefined) return { objects, lastKey };
    const left = await readingPast(() => this.past.countAt(this.query(selection, lastKey)));
    return { objects, lastKey, remaining: Math.max(1, left) };
  }

  private async page({ namespace, name, ...selection }: Selection, after?: string): Promise<readonly CachedObject[]> {
    if (name !== undefined && namespace !== '' && after === undefined) {
      const named = await this.get(namespace, name);
      return named === null ? [] : [named];
    }
    const query = this.query({ namespace, ...selection }, after);
    const stored = await readingPast(() => this.past.documentsAt({ ...query, limit: PAGE_DOCUMENTS }));
    return stored.map((document) => this.object(document));
  }

  private query({ namespace }: Selection, after?: string): Omit<Parameters<LogPast['documentsAt']>[0], 'limit'> {
    const { category, position } = this;
    const [behind = '', name = ''] = (after ?? '').split('\u0000');
    return {
      category,
      position,
      ...(namespace !== '' && { namespace }),
      ...(after !== undefined && { after: { namespace: behind, name } }),
    };
  }

  private object({ streamId: uid, position, version, document }: StoredDocument): CachedObject {
    return cachedObject({ uid, position, version, document, indexer: this.indexer });
  }
}
