import { categoryOf, RBAC_KINDS, type PolicyRule, type RoleRef } from '@xenolith/contracts';
import { present, type LoggedEvent } from '@xenolith/kernel';
import { ACCESS_CATEGORIES, AccessIndex, type Subject } from '@xenolith/tenancy';
import { parsed } from '../cache/cached-object.js';
import type { BatchObserver, DocumentCache } from '../cache/document-cache.js';
import { SERVED_KINDS } from '../discovery/index.js';
import { accessRequestOf, type AccessAttributes } from './access.js';

const ALL = { namespace: '', id: 'access' };

/**
 * Answers who may do what by the roles and bindings of the log. It sees each batch before those who wait for it do: once a change of rights is answered, it
 * holds, for every request that comes to this gateway from then on, and for the watches that are open.
 */
export class Authorizer implements BatchObserver {
  private readonly index = new AccessIndex();
  private readonly listeners = new Set<() => void>();

  /** Takes the roles and bindings of a cache that was loaded and does not follow the log yet. */
  load(cache: DocumentCache): void {
    for (const kind of RBAC_KINDS) {
      const served = present(
        SERVED_KINDS.find(({ definition }) => definition === kind),
        `${kind.kind} is served`,
      );
      const objects = cache.store(served).list({ selection: ALL })?.objects ?? [];
      for (const object of objects) this.index.put(categoryOf(kind), object.uid, parsed(object));
    }
  }

  observe(events: readonly LoggedEvent[]): void {
    let changed = false;
    for (const { category, streamId, document } of events) {
      if (document === undefined || !ACCESS_CATEGORIES.includes(category)) continue;
      if (document === null) this.index.remove(streamId);
      else this.index.put(category, streamId, document);
      changed = true;
    }
    if (changed) for (const listener of this.listeners) listener();
  }

  /** Calls back after each change of rights. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  allows(user: Subject, attributes: AccessAttributes): boolean {
    return this.index.allows(user, attributes.namespace ?? '', accessRequestOf(attributes));
  }

  rulesOf(user: Subject, namespace: string): readonly PolicyRule[] {
    return this.index.rulesOf(user, namespace);
  }

  rulesOfRole(ref: RoleRef, namespace: string): readonly PolicyRule[] | null {
    return this.index.rulesOfRole(ref, namespace);
  }
}
