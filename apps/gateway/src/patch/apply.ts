import {
  apiVersionOf,
  contentMembers,
  contentOf,
  type KindDefinition,
  type ManagedFieldsEntry,
} from '@xenolith/contracts';
import { ok, reject, sameJson, type FieldCause, type JsonObject, type Result } from '@xenolith/kernel';
import { isRecord, type Shape } from '../schema/shape.js';
import { difference, EMPTY_SET, intersection, isEmptySet, nodeOf, pathsOf, union, type FieldSet } from './field-set.js';
import {
  capManagers,
  decodeManagers,
  encodeManagers,
  isManager,
  takeFrom,
  withManager,
  type Manager,
} from './managers.js';
import {
  compareFields,
  isOwnedMetadata,
  normalForm,
  ownedPart,
  ownedShapeOf,
  statedFields,
  withNamedContainers,
} from './owned-fields.js';
import { structuredMerge, withoutFields } from './structured-merge.js';

export interface ApplyRequest {
  /** The object as it is; null: it does not exist, apply creates it. */
  readonly live: JsonObject | null;
  /** The body of the request. */
  readonly applied: unknown;
  readonly manager: string;
  readonly force: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

interface Conflict {
  readonly manager: Manager;
  readonly fields: FieldSet;
}

/** The manager name of kubectl's server-side apply, and where its client-side apply keeps what it applied last. */
const KUBECTL = 'kubectl';
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** Most conflicting fields that one answer names. */
const MAX_REPORTED = 50;

const managerText = (manager: Manager): string => {
  const subresource = manager.subresource === '' ? '' : ` with subresource "${manager.subresource}"`;
  return manager.operation === 'Update'
    ? `"${manager.name}"${subresource} using ${manager.apiVersion}`
    : `"${manager.name}"${subresource}`;
};

const conflictRefusal = (conflicts: readonly Conflict[]): Result<never> => {
  const causes = conflicts.flatMap(({ manager, fields }) =>
    pathsOf(fields).map((field): FieldCause => ({
      field,
      reason: 'FieldManagerConflict',
      message: `conflict with ${managerText(manager)}`,
    })),
  );
  const [only] = causes;
  const text =
    causes.length === 1 && only
      ? `${only.message}: ${only.field}`
      : conflicts
          .map(({ manager, fields }) =>
            [`conflicts with ${managerText(manager)}:`, ...pathsOf(fields).map((field) => `- ${field}`)].join('\n'),
          )
          .join('\n');
  return reject(
    'apply_conflict',
    `Apply failed with ${causes.length} conflict${causes.length === 1 ? '' : 's'}: ${text}`,
    {
      causes: causes.slice(0, MAX_REPORTED),
    },
  );
};

/** The set without `metadata` and `spec` themselves; what is in them stays. */
const withoutParts = (set: FieldSet): FieldSet =>
  nodeOf(
    [...set.children].map(([element, child]) => [
      element,
      element === 'f:metadata' || element === 'f:spec' ? { ...child, self: false } : child,
    ]),
  );

/** Fields that the manager applied before and does not any more, and that nobody owns now: they go, with what is below them. */
const abandonedFields = (shape: Shape, merged: JsonObject, before: FieldSet, owned: FieldSet): FieldSet => {
  const all = withNamedContainers(shape, merged, statedFields(shape, merged));
  const once = withNamedContainers(shape, merged, before);
  const abandoned = difference(intersection(all, once), withNamedContainers(shape, merged, owned));
  // `metadata` and `spec` themselves stay, however little is left in them.
  return withoutParts(abandoned);
};

const malformedReason = (kind: KindDefinition, applied: unknown): string | null => {
  if (!isRecord(applied)) return `the body of an apply must be a ${kind.kind} as an object`;
  const { apiVersion, metadata } = applied;
  if (apiVersion !== undefined && apiVersion !== apiVersionOf(kind))
    return `the API version in the data (${JSON.stringify(apiVersion)}) does not match the expected API version (${apiVersionOf(kind)})`;
  if (isRecord(metadata) && Array.isArray(metadata['managedFields']) && metadata['managedFields'].length > 0)
    return 'metadata.managedFields must be nil';
  return null;
};

const metadataOf = (object: JsonObject): JsonObject => (isRecord(object['metadata']) ? object['metadata'] : {});

const managedFieldsOf = (object: JsonObject | null): readonly ManagedFieldsEntry[] =>
  object ? ((metadataOf(object)['managedFields'] ?? []) as unknown as readonly ManagedFieldsEntry[]) : [];

const envelopeOf = ({ apiVersion, kind }: JsonObject): JsonObject => ({ apiVersion, kind });

/** The merged object with the rest of the live one; of uid and resourceVersion only what the client stated, as these are its preconditions. */
const assemble = (
  kind: KindDefinition,
  { live, applied, merged }: { readonly live: JsonObject; readonly applied: JsonObject; readonly merged: JsonObject },
  managers: readonly Manager[],
): JsonObject => {
  const content = contentOf(kind, merged);
  const { uid: _uid, resourceVersion: _version, ...liveMetadata } = metadataOf(live);
  const kept = Object.entries(liveMetadata).filter(([name]) => !isOwnedMetadata(name));
  const managedFields = encodeManagers(managers) as unknown as JsonObject[];
  return {
    // What stands at the top of the object is in what was merged, or was abandoned.
    ...(kind.content === 'top' ? envelopeOf(applied) : applied),
    metadata: { ...Object.fromEntries(kept), ...metadataOf(applied), ...metadataOf(merged), managedFields },
    ...(content !== undefined && contentMembers(kind, content)),
  };
};

/** The fields that a configuration states: not the root, and neither `metadata` nor `spec` by themselves. */
const configuredFields = (shape: Shape, config: JsonObject): FieldSet => {
  const stated = statedFields(shape, config);
  return withoutParts(stated);
};

/**
 * Fields that kubectl itself applied from the client's side, as its annotation tells: with `kubectl apply --server-side` it takes them over without
 * force (Kubernetes does so for this one manager name).
 */
const fieldsOfClientSideApply = (kind: KindDefinition, live: JsonObject, manager: string): FieldSet => {
  if (manager !== KUBECTL) return EMPTY_SET;
  const { annotations } = metadataOf(live);
  const text = isRecord(annotations) ? annotations[LAST_APPLIED] : undefined;
  if (typeof text !== 'string') return EMPTY_SET;
  const shape = ownedShapeOf(kind);
  const config = parseJson(text);
  return isRecord(config)
    ? configuredFields(shape, ownedPart(kind, normalForm(shape, config) as JsonObject))
    : EMPTY_SET;
};

/**
 * kubectl's annotation follows its server-side apply, where the object has one, so that a later client-side apply starts from the truth
 * (Kubernetes, lastapplied updater).
 */
const withLastApplied = (owned: JsonObject, applied: unknown, manager: string): JsonObject => {
  const metadata = metadataOf(owned);
  const { annotations } = metadata;
  if (manager !== KUBECTL || !isRecord(annotations) || annotations[LAST_APPLIED] === undefined) return owned;
  const text = `${JSON.stringify(applied)}\n`;
  return { ...owned, metadata: { ...metadata, annotations: { ...annotations, [LAST_APPLIED]: text } } };
};

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    // People may write what they like into an annotation.
    return null;
  }
};

interface Merge {
  readonly config: JsonObject;
  readonly live: JsonObject;
  readonly merged: JsonObject;
  readonly fields: FieldSet;
  readonly managers: readonly Manager[];
  readonly own: Manager | undefined;
}

const mergeApplied = (kind: KindDefinition, request: ApplyRequest, applied: JsonObject): Merge => {
  const shape = ownedShapeOf(kind);
  const live = request.live ? ownedPart(kind, request.live) : {};
  const config = ownedPart(kind, applied);
  const managers = decodeManagers(managedFieldsOf(request.live));
  const own = managers.find((manager) => isManager(manager, kind, request.manager, 'Apply'));
  const fields = configuredFields(shape, config);
  const merged = structuredMerge(shape, live, config) as JsonObject;
  const others = managers.filter((manager) => manager !== own).map((manager) => manager.fields);
  const abandoned = own ? abandonedFields(shape, merged, own.fields, others.reduce(union, fields)) : EMPTY_SET;
  return {
    config,
    live,
    merged: ownedPart(kind, withoutFields(shape, merged, abandoned) as JsonObject),
    fields,
    managers,
    own,
  };
};

const conflictsWith = (merge: Merge, changed: FieldSet): readonly Conflict[] =>
  merge.managers
    .filter((manager) => manager !== merge.own)
    .map((manager): Conflict => ({ manager, fields: intersection(manager.fields, changed) }))
    .filter((conflict) => !isEmptySet(conflict.fields));

const without = (conflicts: readonly Conflict[], allowed: FieldSet): readonly Conflict[] =>
  conflicts
    .map((conflict) => ({ ...conflict, fields: difference(conflict.fields, allowed) }))
    .filter((conflict) => !isEmptySet(conflict.fields));

/**
 * Server-side apply: the merged object, `metadata.managedFields` included, still to be parsed by `parseObject`. What the manager applied before and no longer
 * does goes, unless another owns it. Refusals: `apply_conflict` (409, one `FieldManagerConflict` cause per field), `request_malformed`.
 */
export const applyObject = (kind: KindDefinition, request: ApplyRequest): Result<JsonObject> => {
  const reason = malformedReason(kind, request.applied);
  if (reason !== null) return reject('request_malformed', reason);
  const shape = ownedShapeOf(kind);
  const applied = normalForm(shape, request.applied) as JsonObject;
  const merge = mergeApplied(kind, request, applied);
  const { added, modified, removed } = compareFields(shape, merge.live, merge.merged);
  const conflicts = conflictsWith(merge, union(added, modified));
  const refused = without(conflicts, fieldsOfClientSideApply(kind, request.live ?? {}, request.manager));
  if (refused.length > 0 && !request.force) return conflictRefusal(refused);

  const yielded = conflicts.map((conflict) => conflict.fields).reduce(union, removed);
  const managers = withManager(kind, takeFrom(merge.managers, merge.own, yielded), {
    name: request.manager,
    operation: 'Apply',
    fields: merge.fields,
    changed: !sameJson(merge.live, merge.merged),
    at: request.at,
  });
  const merged = withLastApplied(merge.merged, request.applied, request.manager);
  return ok(assemble(kind, { live: request.live ?? {}, applied, merged }, capManagers(managers)));
};
