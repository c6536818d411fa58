import type { Index, IndexedEvent } from '@xenolith/engine';
import type { StoredDocument, Uuid } from '@xenolith/kernel';

/** Clusters by name. */
export class ClusterIndex implements Index {
  readonly name = 'clusters';
  readonly categories = ['cluster'];
  private readonly names = new Map<Uuid, string>();

  clusters(): readonly { readonly uid: Uuid; readonly name: string }[] {
    return [...this.names].map(([uid, name]) => ({ uid, name }));
  }

  load(documents: readonly StoredDocument[]): void {
    this.names.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(uid: Uuid, document: StoredDocument['document'] | null): void {
    if (document === null) this.names.delete(uid);
    else this.names.set(uid, (document['metadata'] as { name: string }).name);
  }
}
