import {
  categoryOf,
  FOREGROUND_FINALIZER,
  KINDS,
  namespaceKind,
  ORPHAN_FINALIZER,
  type KindDefinition,
  type ObjectEnvelope,
} from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';
import { NAMESPACE_FINALIZER } from './namespace.js';

/** Finalizers that the collector takes off, when nothing hangs on the object any more. */
export const COLLECTOR_FINALIZERS = [FOREGROUND_FINALIZER, ORPHAN_FINALIZER, NAMESPACE_FINALIZER];

/** What the collector knows of a living object. */
export interface Collectable {
  readonly uid: Uuid;
  readonly kind: KindDefinition;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly owners: readonly Uuid[];
  readonly finalizers: readonly string[];
  readonly deleting: boolean;
  /** `status.phase`, where the kind has one. */
  readonly phase: string | undefined;
}

const KIND_OF = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));

/** Who owns whom, and who lives where. */
export class CollectorIndex implements Index {
  readonly name = 'collector';
  readonly categories: readonly string[] = [...KIND_OF.keys()];
  private objects = new Map<Uuid, Collectable>();
  private dependents = new Map<Uuid, Set<Uuid>>();
  private residents = new Map<string, Set<Uuid>>();
  private namespaces = new Map<string, Uuid>();
  private held = new Set<Uuid>();

  load(documents: readonly StoredDocument[]): void {
    this.objects = new Map();
    this.dependents = new Map();
    this.residents = new Map();
    this.namespaces = new Map();
    this.held = new Set();
    for (const stored of documents) this.put(stored.streamId, stored.category, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.put(event.streamId, event.category, event.document);
  }

  object(uid: Uuid): Collectable | undefined {
    return this.objects.get(uid);
  }

  /** Living objects that name this one among their owners. */
  dependentsOf(uid: Uuid): readonly Collectable[] {
    return this.known(this.dependents.get(uid));
  }

  residentsOf(namespace: string): readonly Collectable[] {
    return this.known(this.residents.get(namespace));
  }

  namespace(name: string | undefined): Collectable | undefined {
    const uid = name === undefined ? undefined : this.namespaces.get(name);
    return uid === undefined ? undefined : this.objects.get(uid);
  }

  /** Objects on their way out that the collector holds back. */
  waiting(): readonly Collectable[] {
    return this.known(this.held);
  }

  private known(uids: ReadonlySet<Uuid> | undefined): readonly Collectable[] {
    return [...(uids ?? [])].flatMap((uid) => this.objects.get(uid) ?? []);
  }

  private put(uid: Uuid, category: string, document: JsonObject | null): void {
    this.remove(uid);
    const kind = KIND_OF.get(category);
    if (document === null || !kind) return;
    const object = collectable(uid, kind, document);
    this.objects.set(uid, object);
    for (const owner of object.owners) addTo(this.dependents, owner, uid);
    if (object.namespace !== undefined) addTo(this.residents, object.namespace, uid);
    if (kind === namespaceKind) this.namespaces.set(object.name, uid);
    if (object.deleting && object.finalizers.some((finalizer) => COLLECTOR_FINALIZERS.includes(finalizer)))
      this.held.add(uid);
  }

  private remove(uid: Uuid): void {
    const object = this.objects.get(uid);
    if (!object) return;
    this.objects.delete(uid);
    this.held.delete(uid);
    for (const owner of object.owners) removeFrom(this.dependents, owner, uid);
    if (object.namespace !== undefined) removeFrom(this.residents, object.namespace, uid);
    if (object.kind === namespaceKind) this.namespaces.delete(object.name);
  }
}

const collectable = (uid: Uuid, kind: KindDefinition, document: JsonObject): Collectable => {
  const { metadata, status } = document as unknown as {
    metadata: Partial<ObjectEnvelope> & { name: string };
    status?: { phase?: string };
  };
  return {
    uid,
    kind,
    name: metadata.name,
    namespace: kind.namespaced ? metadata.namespace : undefined,
    owners: metadata.ownerReferences?.map((owner) => owner.uid) ?? [],
    finalizers: metadata.finalizers ?? [],
    deleting: metadata.deletionTimestamp !== undefined,
    phase: status?.phase,
  };
};

const addTo = (sets: Map<string, Set<Uuid>>, key: string, uid: Uuid): void => {
  const set = sets.get(key) ?? new Set();
  set.add(uid);
  sets.set(key, set);
};

const removeFrom = (sets: Map<string, Set<Uuid>>, key: string, uid: Uuid): void => {
  const set = sets.get(key);
  set?.delete(uid);
  if (set?.size === 0) sets.delete(key);
};
