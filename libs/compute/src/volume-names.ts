import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';

/** The uids of volumes that no machine owns, by `<namespace>/<name>`. */
export class VolumeNames implements Index {
  readonly name = 'volume-names';
  readonly categories = ['volume'];
  private readonly uids = new Map<string, Uuid>();
  private readonly names = new Map<Uuid, string>();

  uid(name: string): Uuid | undefined {
    return this.uids.get(name);
  }

  load(documents: readonly StoredDocument[]): void {
    this.uids.clear();
    this.names.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(uid: Uuid, document: JsonObject | null): void {
    if (document === null) {
      const name = this.names.get(uid);
      this.names.delete(uid);
      if (name !== undefined && this.uids.get(name) === uid) this.uids.delete(name);
      return;
    }
    const { namespace, name, ownerReferences } = document['metadata'] as {
      namespace?: string;
      name: string;
      ownerReferences?: readonly { controller?: boolean }[];
    };
    // A machine's own disks are found by their derived uid.
    if (ownerReferences?.some((owner) => owner.controller === true) === true) return;
    const key = `${namespace ?? ''}/${name}`;
    this.uids.set(key, uid);
    this.names.set(uid, key);
  }
}
