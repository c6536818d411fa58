import {
  categoryOf,
  storageDomainKind,
  volumeKind,
  type PlacementRequest,
  type StorageDomainSpec,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';

const VOLUME_CATEGORY = categoryOf(volumeKind);
const STORAGE_DOMAIN_CATEGORY = categoryOf(storageDomainKind);

interface KnownDomain {
  readonly name: string;
  /** Volumes that name none go to one of those. */
  readonly isDefault: boolean;
  /** A disk pool that every host has: reached from everywhere. */
  readonly isLocal: boolean;
}

interface DomainDocument {
  readonly metadata: { readonly name: string };
  readonly spec: StorageDomainSpec;
}

interface VolumeDocument {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly status: { readonly storageDomain: string };
}

/** In which storage domain each volume lives, fed by the log: a host must reach those of a machine's disks. */
export class VolumeIndex implements Index {
  readonly name = 'volumes';
  readonly categories = [STORAGE_DOMAIN_CATEGORY, VOLUME_CATEGORY];
  private readonly domains = new Map<Uuid, KnownDomain>();
  private readonly keys = new Map<Uuid, string>();
  private readonly domainOf = new Map<string, string>();

  load(documents: readonly StoredDocument[]): void {
    for (const known of [this.domains, this.keys, this.domainOf]) known.clear();
    for (const { category, streamId, document } of documents) this.put(category, streamId, document);
  }

  apply({ category, streamId, document }: IndexedEvent): void {
    if (document !== undefined) this.put(category, streamId, document);
  }

  /** The request with every storage domain that its disks are in, or will be made in; those that every host has left out. */
  located(request: PlacementRequest): PlacementRequest {
    if (!request.storageDomains && !request.volumes) return request;
    const { storageDomains: named, volumes, ...others } = request;
    const domains = new Set(named);
    for (const { name, own } of volumes ?? []) {
      const domain =
        this.domainOf.get(`${request.virtualMachine.namespace}/${name}`) ?? (own ? this.default() : undefined);
      if (domain !== undefined) domains.add(domain);
    }
    for (const { name, isLocal } of this.domains.values()) if (isLocal) domains.delete(name);
    return { ...others, ...(volumes && { volumes }), ...(domains.size > 0 && { storageDomains: [...domains].sort() }) };
  }

  /** Of several the one that storage takes: the first by name. */
  private default(): string | undefined {
    const names = [...this.domains.values()].filter(({ isDefault }) => isDefault).map(({ name }) => name);
    return names.sort()[0];
  }

  private put(category: string, uid: Uuid, document: JsonObject | null): void {
    if (category === STORAGE_DOMAIN_CATEGORY) this.putDomain(uid, document as unknown as DomainDocument | null);
    else this.putVolume(uid, document as unknown as VolumeDocument | null);
  }

  private putDomain(uid: Uuid, document: DomainDocument | null): void {
    this.domains.delete(uid);
    if (!document) return;
    const { metadata, spec } = document;
    this.domains.set(uid, {
      name: metadata.name,
      isDefault: spec.default && spec.class === 'data',
      isLocal: spec.type === 'local',
    });
  }

  private putVolume(uid: Uuid, document: VolumeDocument | null): void {
    this.domainOf.delete(this.keys.get(uid) ?? '');
    this.keys.delete(uid);
    if (!document) return;
    const key = `${document.metadata.namespace}/${document.metadata.name}`;
    this.keys.set(uid, key);
    this.domainOf.set(key, document.status.storageDomain);
  }
}
