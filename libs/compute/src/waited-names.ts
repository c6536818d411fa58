import type { Index, IndexedEvent } from '@xenolith/engine';
import type { StoredDocument, Uuid } from '@xenolith/kernel';
import { networkKey, storageDomainKey } from './operation.waits.js';

/** Under which keys operations wait for networks and storage domains, by uid: their later events do not name them. */
export class WaitedNames implements Index {
  readonly name = 'waited-names';
  readonly categories = ['network', 'storagedomain'];
  private readonly keys = new Map<Uuid, string>();

  key(uid: Uuid): string | undefined {
    return this.keys.get(uid);
  }

  load(documents: readonly StoredDocument[]): void {
    this.keys.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(uid: Uuid, document: StoredDocument['document'] | null): void {
    if (document === null) {
      this.keys.delete(uid);
      return;
    }
    const { name, namespace } = document['metadata'] as { name: string; namespace?: string };
    this.keys.set(uid, namespace === undefined ? storageDomainKey(name) : networkKey(namespace, name));
  }
}
