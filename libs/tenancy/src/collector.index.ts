import {
  categoryOf,
  FOREGROUND_FINALIZER,
  KINDS,
  ORPHAN_FINALIZER,
  type KindDefinition,
  type OwnerReference,
} from '@xenolith/contracts';
import type { Index, IndexedEvent, IndexLoading } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';
import { NAMESPACE_CATEGORY } from './namespace.js';

/** What the collector needs to know of an object. */
export interface CollectedObject {
  readonly uid: Uuid;
  readonly kind: KindDefinition;
  readonly namespace: string | null;
  readonly name: string;
  readonly version: number;
  readonly owners: readonly OwnerReference[];
  readonly deleting: boolean;
  readonly foreground: boolean;
  readonly orphaning: boolean;
  /** Something is being done through it, which its deletion would cut short. */
  readonly busy: boolean;
}

const NO_OWNERS: readonly OwnerReference[] = [];

/** Order in which a namespace empties: users of things go before the things, operations last, as they do the work. */
const WAVES: Readonly<Record<string, number>> = { VirtualMachine: 0, Network: 2, Operation: 3 };
const OTHER_WAVE = 1;
const LAST_WAVE = 3;

const waveOf = (kind: KindDefinition): number => WAVES[kind.kind] ?? OTHER_WAVE;

/** Phases in which an operation still works. */
const BUSY_PHASES: readonly unknown[] = ['Running', 'Compensating', 'NeedsOperator'];

interface Document {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly deletionTimestamp?: string;
    readonly finalizers?: readonly string[];
    readonly ownerReferences?: readonly OwnerReference[];
  };
  readonly status?: { readonly phase?: unknown };
}

class Buckets<Key> {
  private readonly sets = new Map<Key, Set<Uuid>>();

  add(key: Key, uid: Uuid): void {
    const set = this.sets.get(key) ?? new Set();
    this.sets.set(key, set.add(uid));
  }

  delete(key: Key, uid: Uuid): void {
    const set = this.sets.get(key);
    set?.delete(uid);
    if (set?.size === 0) this.sets.delete(key);
  }

  get(key: Key): ReadonlySet<Uuid> {
    return this.sets.get(key) ?? new Set();
  }

  clear(): void {
    this.sets.clear();
  }
}

/** Every object's owners and place, kept so that what has to go is known at once: each question costs what its answer holds. */
export class CollectorIndex implements Index {
  readonly name = 'collector';
  readonly categories = KINDS.map(categoryOf);
  private readonly kinds = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));
  private readonly objects = new Map<Uuid, CollectedObject>();
  private readonly dependents = new Buckets<Uuid>();
  /** By namespace and wave. */
  private readonly content = new Buckets<string>();
  private readonly activeNamespaces = new Set<string>();
  private readonly terminating = new Map<string, Uuid>();
  private readonly garbageFound = new Set<Uuid>();
  private readonly waitingOwners = new Set<Uuid>();

  load(documents: readonly StoredDocument[]): void {
    const loading = this.loading();
    loading.take(documents);
    loading.end(0);
  }

  loading(): IndexLoading {
    for (const known of [
      this.objects,
      this.dependents,
      this.content,
      this.activeNamespaces,
      this.terminating,
      this.garbageFound,
      this.waitingOwners,
    ])
      known.clear();
    return {
      take: (documents) => {
        for (const stored of documents) this.put(stored.category, stored);
      },
      end: () => {
        // Owners and namespaces may have come after what needs them: judged once all are here.
        this.garbageFound.clear();
        for (const object of this.objects.values()) this.judge(object);
      },
    };
  }

  apply(event: IndexedEvent): void {
    const { document } = event;
    if (document === undefined) return;
    if (document === null) this.remove(event.streamId);
    else this.put(event.category, { streamId: event.streamId, version: event.version, document });
  }

  get(uid: Uuid): CollectedObject | undefined {
    return this.objects.get(uid);
  }

  /** Objects whose owners are all gone, or whose namespace is. */
  garbage(): ReadonlySet<Uuid> {
    return this.garbageFound;
  }

  /** Objects on their way out that wait for their dependents to go, or to be set free. */
  owners(): ReadonlySet<Uuid> {
    return this.waitingOwners;
  }

  dependentsOf(uid: Uuid): readonly CollectedObject[] {
    return [...this.dependents.get(uid)].flatMap((dependent) => this.objects.get(dependent) ?? []);
  }

  /** Namespaces on their way out, with their uids. */
  terminatingNamespaces(): ReadonlyMap<string, Uuid> {
    return this.terminating;
  }

  /** What a namespace holds that is to go next; null once it is empty. */
  nextToGo(namespace: string): ReadonlySet<Uuid> | null {
    for (let wave = 0; wave <= LAST_WAVE; wave += 1) {
      const uids = this.content.get(`${namespace}/${wave}`);
      if (uids.size > 0) return uids;
    }
    return null;
  }

  private put(category: string, stored: { streamId: Uuid; version: number; document: JsonObject }): void {
    const kind = this.kinds.get(category);
    if (!kind) return;
    const object = objectOf(kind, stored);
    this.unlink(object.uid);
    this.objects.set(object.uid, object);
    for (const owner of object.owners) this.dependents.add(owner.uid, object.uid);
    if (object.namespace !== null) this.content.add(`${object.namespace}/${waveOf(kind)}`, object.uid);
    if (object.deleting && (object.foreground || object.orphaning)) this.waitingOwners.add(object.uid);
    if (category === NAMESPACE_CATEGORY) this.putNamespace(object);
    this.judge(object);
  }

  private putNamespace(namespace: CollectedObject): void {
    if (namespace.deleting) {
      this.activeNamespaces.delete(namespace.name);
      this.terminating.set(namespace.name, namespace.uid);
    } else this.activeNamespaces.add(namespace.name);
  }

  private remove(uid: Uuid): void {
    const object = this.objects.get(uid);
    if (!object) return;
    this.unlink(uid);
    this.objects.delete(uid);
    if (categoryOf(object.kind) === NAMESPACE_CATEGORY) {
      this.terminating.delete(object.name);
      this.activeNamespaces.delete(object.name);
    }
    for (const dependent of this.dependentsOf(uid)) this.judge(dependent);
  }

  private unlink(uid: Uuid): void {
    const object = this.objects.get(uid);
    this.garbageFound.delete(uid);
    this.waitingOwners.delete(uid);
    if (!object) return;
    for (const owner of object.owners) this.dependents.delete(owner.uid, uid);
    if (object.namespace !== null) this.content.delete(`${object.namespace}/${waveOf(object.kind)}`, uid);
  }

  private judge(object: CollectedObject): void {
    if (object.deleting) return;
    const abandoned = object.owners.length > 0 && object.owners.every((owner) => !this.objects.has(owner.uid));
    const homeless =
      object.namespace !== null &&
      !this.activeNamespaces.has(object.namespace) &&
      !this.terminating.has(object.namespace);
    if (abandoned || homeless) this.garbageFound.add(object.uid);
  }
}

const objectOf = (
  kind: KindDefinition,
  stored: { streamId: Uuid; version: number; document: JsonObject },
): CollectedObject => {
  const { metadata, status } = stored.document as unknown as Document;
  const finalizers = metadata.finalizers ?? [];
  return {
    uid: stored.streamId,
    kind,
    namespace: kind.namespaced ? (metadata.namespace ?? '') : null,
    name: metadata.name,
    version: stored.version,
    owners: metadata.ownerReferences ?? NO_OWNERS,
    deleting: metadata.deletionTimestamp !== undefined,
    foreground: finalizers.includes(FOREGROUND_FINALIZER),
    orphaning: finalizers.includes(ORPHAN_FINALIZER),
    busy: kind.kind === 'Operation' && BUSY_PHASES.includes(status?.phase),
  };
};
