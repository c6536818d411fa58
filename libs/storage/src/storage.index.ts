import type { ImageSpec, StorageDomainSpec, VolumeSpec } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { bytesOf, formatBytes, ok, reject, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { IMAGE_CATEGORY } from './image.js';
import { STORAGE_DOMAIN_CATEGORY } from './storage-domain.js';
import { SHOWN_USERS, type Users } from './users.js';
import { VOLUME_CATEGORY } from './volume.js';
import type { HeldContent, ResolvedVolume } from './volume.decide.js';

interface Document {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: JsonObject;
  readonly status: JsonObject;
}

interface KnownVolume {
  readonly label: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly sealed: boolean;
  readonly storageDomain: string;
  readonly image: string | null;
  /** UID of the machine that holds the lease. */
  readonly machine: Uuid | null;
}

/** Objects of one kind by uid, and their uids by name. Names are unique: their claims see to that. */
class Named<Item extends { readonly name: string }> {
  private readonly byUid = new Map<Uuid, Item>();
  private readonly uids = new Map<string, Uuid>();

  put(uid: Uuid, item: Item | null): void {
    const before = this.byUid.get(uid);
    if (before && this.uids.get(before.name) === uid) this.uids.delete(before.name);
    if (item === null) {
      this.byUid.delete(uid);
      return;
    }
    this.byUid.set(uid, item);
    this.uids.set(item.name, uid);
  }

  uidOf(name: string): Uuid | undefined {
    return this.uids.get(name);
  }

  find(name: string): Item | undefined {
    const uid = this.uids.get(name);
    return uid === undefined ? undefined : this.byUid.get(uid);
  }

  get(uid: Uuid): Item | undefined {
    return this.byUid.get(uid);
  }

  all(): IterableIterator<Item> {
    return this.byUid.values();
  }

  clear(): void {
    this.byUid.clear();
    this.uids.clear();
  }
}

/** Which volumes use a thing, or whose they are, by its name or UID. */
class Uses {
  private readonly users = new Map<string, Set<Uuid>>();

  add(name: string, user: Uuid): void {
    const users = this.users.get(name) ?? new Set();
    users.add(user);
    this.users.set(name, users);
  }

  remove(name: string, user: Uuid): void {
    const users = this.users.get(name);
    users?.delete(user);
    if (users?.size === 0) this.users.delete(name);
  }

  of(name: string): ReadonlySet<Uuid> {
    return this.users.get(name) ?? new Set();
  }

  clear(): void {
    this.users.clear();
  }
}

/** Storage domains and images by name, and who uses them: what deciding about one volume cannot know. */
export class StorageIndex implements Index {
  readonly name = 'storage';
  readonly categories = [STORAGE_DOMAIN_CATEGORY, IMAGE_CATEGORY, VOLUME_CATEGORY];
  private readonly domains = new Named<{ name: string; spec: StorageDomainSpec }>();
  private readonly images = new Named<{ name: string; spec: ImageSpec }>();
  private readonly volumes = new Map<Uuid, KnownVolume>();
  private readonly domainUses = new Uses();
  private readonly imageUses = new Uses();
  private readonly leases = new Uses();

  load(documents: readonly StoredDocument[]): void {
    for (const known of [this.domains, this.images, this.volumes, this.domainUses, this.imageUses, this.leases])
      known.clear();
    for (const { category, streamId, document } of documents) this.put(category, streamId, document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.put(event.category, event.streamId, event.document);
  }

  /** Where a new volume of that spec would live and how big it would be, or why it cannot be made. */
  resolve(spec: VolumeSpec): ResolvedVolume {
    const image = spec.source ? this.images.find(spec.source.image) : undefined;
    if (spec.source && !image)
      return reject('image_not_found', `image "${spec.source.image}" does not exist; see the list of images`);
    const sizeBytes = bytesOf(spec.size ?? image?.spec.size ?? '');
    const tooSmall = image !== undefined && sizeBytes < bytesOf(image.spec.size);
    if (sizeBytes <= 0 || tooSmall) {
      const message = tooSmall
        ? `${spec.size ?? ''} is less than the ${image.spec.size} of image "${image.name}"`
        : 'is needed, as there is no image to take it from, and must be more than nothing';
      return reject('object_invalid', `spec.size: ${message}`, {
        causes: [{ field: 'spec.size', reason: tooSmall ? 'FieldValueInvalid' : 'FieldValueRequired', message }],
      });
    }
    const storageDomain = spec.storageDomain ?? this.defaultDomain();
    if (storageDomain === undefined)
      return reject(
        'storage_domain_not_found',
        'the volume names no storage domain, and no storage domain is marked as the default',
      );
    const storageDomainUid = this.domains.uidOf(storageDomain);
    if (storageDomainUid === undefined)
      return reject('storage_domain_not_found', `storage domain "${storageDomain}" does not exist`);
    return ok({
      allocation: { storageDomain, storageDomainUid, sizeBytes, provisioning: spec.provisioning },
      spec: { ...spec, size: spec.size ?? formatBytes(sizeBytes), storageDomain },
    });
  }

  usersOfDomain(uid: Uuid): Users {
    return this.usersOf(this.domainUses, this.domains.get(uid)?.name);
  }

  usersOfImage(uid: Uuid): Users {
    return this.usersOf(this.imageUses, this.images.get(uid)?.name);
  }

  /** What a volume is put back to. */
  heldIn(uid: Uuid): HeldContent {
    const volume = this.volumes.get(uid);
    if (volume === undefined) return reject('not_found', `there is no volume ${uid} to put it back to`);
    const { name, sizeBytes } = volume;
    return volume.sealed
      ? ok({ name, sizeBytes })
      : reject('volume_not_available', `volume "${name}" is no part of a snapshot`);
  }

  /** Volumes whose lease a machine holds. */
  leasedBy(machine: Uuid): readonly Uuid[] {
    return [...this.leases.of(machine)];
  }

  private usersOf(uses: Uses, name: string | undefined): Users {
    const users = name === undefined ? new Set<Uuid>() : uses.of(name);
    const names: string[] = [];
    for (const uid of users) {
      if (names.length === SHOWN_USERS) break;
      names.push(this.volumes.get(uid)?.label ?? uid);
    }
    return { count: users.size, names };
  }

  /** The default domain; of several the first by name, so that every process chooses the same. */
  private defaultDomain(): string | undefined {
    let chosen: string | undefined;
    for (const { name, spec } of this.domains.all())
      if (spec.default && spec.class === 'data' && (chosen === undefined || name < chosen)) chosen = name;
    return chosen;
  }

  private put(category: string, uid: Uuid, raw: JsonObject | null): void {
    const document = raw as unknown as Document | null;
    const named = document && { name: document.metadata.name, spec: document.spec };
    if (category === STORAGE_DOMAIN_CATEGORY) this.domains.put(uid, named as { name: string; spec: StorageDomainSpec });
    else if (category === IMAGE_CATEGORY) this.images.put(uid, named as { name: string; spec: ImageSpec });
    else this.putVolume(uid, document);
  }

  private putVolume(uid: Uuid, document: Document | null): void {
    const before = this.volumes.get(uid);
    if (before) {
      this.domainUses.remove(before.storageDomain, uid);
      if (before.image !== null) this.imageUses.remove(before.image, uid);
      if (before.machine !== null) this.leases.remove(before.machine, uid);
      this.volumes.delete(uid);
    }
    if (!document) return;
    const { source } = document.spec as unknown as VolumeSpec;
    const status = document.status as unknown as {
      storageDomain: string;
      size: string;
      sealed?: boolean;
      attachedToUid?: Uuid;
    };
    const volume: KnownVolume = {
      label: `${document.metadata.namespace ?? ''}/${document.metadata.name}`,
      name: document.metadata.name,
      sizeBytes: bytesOf(status.size),
      sealed: status.sealed === true,
      storageDomain: status.storageDomain,
      image: source?.image ?? null,
      machine: status.attachedToUid ?? null,
    };
    this.volumes.set(uid, volume);
    this.domainUses.add(volume.storageDomain, uid);
    if (volume.image !== null) this.imageUses.add(volume.image, uid);
    if (volume.machine !== null) this.leases.add(volume.machine, uid);
  }
}
