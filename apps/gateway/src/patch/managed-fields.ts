import type { KindDefinition, ManagedFieldsEntry } from '@xenolith/contracts';
import { sameJson, type JsonObject } from '@xenolith/kernel';
import { isRecord } from '../schema/shape.js';
import { difference, EMPTY_SET, isEmptySet, nodeOf, union, type FieldSet } from './field-set.js';
import { capManagers, encodeManagers, isManager, managersFor, takeFrom, withManager } from './managers.js';
import { compareFields, ownedPart, ownedShapeOf } from './owned-fields.js';

export interface UpdateRecord {
  /** The object before; null: it is being created. */
  readonly before: JsonObject | null;
  /** The object as it will be stored: `metadata` and `spec` out of `parseObject` (its managedFields are the client's, if it sent any). */
  readonly after: JsonObject;
  readonly manager: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const managedFieldsOf = (object: JsonObject | null): readonly ManagedFieldsEntry[] | undefined => {
  const metadata = object?.['metadata'];
  return isRecord(metadata) ? (metadata['managedFields'] as readonly ManagedFieldsEntry[] | undefined) : undefined;
};

/** Nobody owns `metadata` as such. */
const withoutMetadataItself = (set: FieldSet): FieldSet =>
  nodeOf(
    [...set.children].map(([element, child]) => [
      element,
      element === 'f:metadata' ? { ...child, self: false } : child,
    ]),
  );

/**
 * `metadata.managedFields` after a create, update or patch (all but apply): the manager owns what it added or changed, every other loses that and what was
 * removed. The list is the one before, times included, when nothing changed.
 */
export const managedFieldsAfterUpdate = (kind: KindDefinition, update: UpdateRecord): ManagedFieldsEntry[] => {
  const shape = ownedShapeOf(kind);
  const before = update.before ? ownedPart(kind, update.before) : {};
  const comparison = compareFields(shape, before, ownedPart(kind, update.after));
  const changed = withoutMetadataItself(union(comparison.added, comparison.modified));
  const removed = withoutMetadataItself(comparison.removed);
  const managers = managersFor(managedFieldsOf(update.before), managedFieldsOf(update.after));
  if (isEmptySet(changed) && isEmptySet(removed)) return encodeManagers(managers);
  const own = managers.find((manager) => isManager(manager, kind, update.manager, 'Update'));
  const fields = difference(union(own?.fields ?? EMPTY_SET, changed), removed);
  const others = takeFrom(managers, own, union(changed, removed));
  return encodeManagers(
    capManagers(
      withManager(kind, others, { name: update.manager, operation: 'Update', fields, changed: true, at: update.at }),
    ),
  );
};

/**
 * The object that a patch made out of `live`, without the resourceVersion and uid that were only there because the live object has them: what is
 * left of them are the client's preconditions.
 */
export const withoutLivePreconditions = (live: JsonObject, patched: JsonObject): JsonObject => {
  const [before, after] = [live['metadata'], patched['metadata']];
  if (!isRecord(before) || !isRecord(after)) return patched;
  const metadata = Object.fromEntries(
    Object.entries(after).filter(
      ([name, value]) => !(['resourceVersion', 'uid'].includes(name) && sameJson(value, before[name])),
    ),
  );
  return { ...patched, metadata };
};
