import {
  categoryOf,
  imageKind,
  KINDS,
  resourceQuotaKind,
  type Amounts,
  type KindDefinition,
} from '@xenolith/contracts';
import type { Index, IndexedEvent, IndexLoading } from '@xenolith/engine';
import { bytesOf, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';
import { amountsOf, isPart } from './usage.js';

const IMAGE = categoryOf(imageKind);
const QUOTA = categoryOf(resourceQuotaKind);

/** Ends of objects that are remembered, so that who comes later in the log knows where they were. */
const REMEMBERED_ENDS = 50_000;

interface Counted {
  readonly kind: KindDefinition;
  readonly amounts: Amounts;
}

interface Identity {
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** What every namespace has, and which quotas hold there. Parts of machines are left out: they are the most, and take nothing. */
export class QuotaIndex implements Index {
  readonly name = 'quota';
  readonly categories: readonly string[] = [...KINDS.filter(({ namespaced }) => namespaced).map(categoryOf), IMAGE];
  private readonly kinds = new Map(
    KINDS.filter(({ namespaced }) => namespaced).map((kind) => [categoryOf(kind), kind]),
  );
  private readonly objects = new Map<string, Map<Uuid, Counted>>();
  private readonly namespaces = new Map<Uuid, string>();
  /** Namespaces of what ended lately; empty for what was a part of something. */
  private readonly ends = new Map<Uuid, string>();
  private readonly quotas = new Map<string, Set<Uuid>>();
  private readonly images = new Map<string, number>();
  private readonly imageNames = new Map<Uuid, string>();

  load(documents: readonly StoredDocument[]): void {
    const loading = this.loading();
    loading.take(documents);
    loading.end(0);
  }

  loading(): IndexLoading {
    for (const known of [this.objects, this.namespaces, this.ends, this.quotas, this.images, this.imageNames])
      known.clear();
    // Machines without sizes of their own are as large as their images, which may come later.
    const waiting: StoredDocument[] = [];
    return {
      take: (documents) => {
        for (const stored of documents.filter(({ category }) => category === IMAGE)) this.put(stored);
        for (const stored of documents.filter(({ category }) => category !== IMAGE))
          if (this.lacksImage(stored)) waiting.push(stored);
          else this.put(stored);
      },
      end: () => {
        for (const stored of waiting) this.put(stored);
      },
    };
  }

  apply({ category, streamId, document }: IndexedEvent): void {
    if (document === undefined) return;
    if (document === null) this.remove(category, streamId);
    else this.put({ category, streamId, document });
  }

  quotasOf(namespace: string): ReadonlySet<Uuid> {
    return this.quotas.get(namespace) ?? new Set();
  }

  /** What there is in a namespace, by uid. */
  objectsOf(namespace: string): ReadonlyMap<Uuid, Counted> {
    return this.objects.get(namespace) ?? new Map();
  }

  /** The quotas that may have counted an object that has ended: all, when it ended before this index began. */
  quotasOfEnded(uid: Uuid): Iterable<Uuid> {
    const namespace = this.namespaces.get(uid) ?? this.ends.get(uid);
    return namespace === undefined
      ? [...this.quotas.values()].flatMap((quotas) => [...quotas])
      : this.quotasOf(namespace);
  }

  amountsOf(category: string, document: JsonObject): Amounts | null {
    const kind = this.kinds.get(category);
    return kind === undefined ? null : amountsOf(kind, document, (image) => this.images.get(image) ?? 0);
  }

  private lacksImage({ category, document }: StoredDocument): boolean {
    const kind = this.kinds.get(category);
    let lacking = false;
    if (kind !== undefined)
      amountsOf(kind, document, (image) => {
        lacking ||= !this.images.has(image);
        return 0;
      });
    return lacking;
  }

  private put({ category, streamId, document }: Pick<StoredDocument, 'category' | 'streamId' | 'document'>): void {
    const { name, namespace = '' } = (document as unknown as Identity).metadata;
    if (category === IMAGE) {
      const { size } = document['spec'] as { size?: string };
      this.images.set(name, size === undefined ? 0 : bytesOf(size));
      this.imageNames.set(streamId, name);
      return;
    }
    const kind = this.kinds.get(category);
    const amounts = this.amountsOf(category, document);
    if (kind === undefined || amounts === null || isPart(document)) return;
    this.namespaces.set(streamId, namespace);
    const objects = this.objects.get(namespace) ?? new Map<Uuid, Counted>();
    this.objects.set(namespace, objects.set(streamId, { kind, amounts }));
    if (category === QUOTA) this.quotas.set(namespace, (this.quotas.get(namespace) ?? new Set()).add(streamId));
  }

  private remove(category: string, uid: Uuid): void {
    const image = this.imageNames.get(uid);
    if (image !== undefined) this.images.delete(image);
    this.imageNames.delete(uid);
    const namespace = this.namespaces.get(uid);
    this.remember(uid, namespace ?? '');
    if (namespace === undefined) return;
    this.namespaces.delete(uid);
    removeFrom(this.objects, namespace, uid);
    if (category === QUOTA) removeFrom(this.quotas, namespace, uid);
  }

  private remember(uid: Uuid, namespace: string): void {
    this.ends.set(uid, namespace);
    if (this.ends.size <= REMEMBERED_ENDS) return;
    const oldest = this.ends.keys().next();
    if (oldest.done !== true) this.ends.delete(oldest.value);
  }
}

const removeFrom = (
  sets: Map<string, { delete(uid: Uuid): boolean; readonly size: number }>,
  namespace: string,
  uid: Uuid,
): void => {
  const set = sets.get(namespace);
  set?.delete(uid);
  if (set?.size === 0) sets.delete(namespace);
};
