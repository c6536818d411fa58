import type { FaultRuleSpec } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import { sameJson, type JsonObject, type StoredDocument, type Uuid } from '@xenolith/kernel';

export interface IndexedFaultRule {
  readonly uid: Uuid;
  readonly name: string;
  readonly spec: FaultRuleSpec;
}

/** The fault rules, in the order of their names; whoever pushes them to hosts listens for their changes. */
export class FaultRuleIndex implements Index {
  readonly name = 'fault-rules';
  readonly categories = ['faultrule'];
  private readonly rules = new Map<Uuid, IndexedFaultRule>();
  private readonly listeners = new Set<() => void>();

  /** The rules that are in force. */
  inForce(): readonly IndexedFaultRule[] {
    return [...this.rules.values()]
      .filter((rule) => rule.spec.enabled)
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  load(documents: readonly StoredDocument[]): void {
    this.rules.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(uid: Uuid, document: JsonObject | null): void {
    const before = this.rules.get(uid);
    if (document === null) {
      if (this.rules.delete(uid)) this.changed();
      return;
    }
    const spec = document['spec'] as unknown as FaultRuleSpec;
    this.rules.set(uid, { uid, name: (document['metadata'] as { name: string }).name, spec });
    // That a rule has struck changes its status only, which no host needs to know.
    if (!before || !sameJson(before.spec, spec)) this.changed();
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }
}
