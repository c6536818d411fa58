import {
  ok,
  reject,
  sameJson,
  type ClaimChange,
  type Command,
  type Consequences,
  type EventPlace,
  type FieldCause,
  type JsonObject,
  type NewEvent,
  type Rejection,
  type Result,
} from '@xenolith/kernel';
import { z } from 'zod';
import { eventOf } from './messages.js';
import {
  apiVersionOf,
  contentMembers,
  desiredMetadata,
  timestamp,
  type DesiredMetadata,
  type KindDefinition,
  type ObjectEnvelope,
} from './resource.js';

/**
 * The life that all kinds share: created, changed in metadata or spec, asked to go, gone. A kind adds its own events, its rules
 * and its status; names, envelopes, finalizers and the document's outer form are here, once.
 */
export type ObjectState<Spec, Own> =
  | { readonly phase: 'absent' }
  | ({ readonly phase: 'present' } & PresentObject<Spec, Own>)
  | ({ readonly phase: 'deleted' } & PresentObject<Spec, Own>);

export interface PresentObject<Spec, Own> {
  readonly meta: ObjectEnvelope;
  readonly spec: Spec;
  /** What the kind keeps beside metadata and spec; its status is computed from it. */
  readonly own: Own;
}

/** Data of `Change<Kind>`: the whole wished metadata and spec. The spec has been parsed by the kind's schema, defaults and all. */
export const changeData = z.strictObject({
  intent: z.enum(['create', 'update']),
  metadata: desiredMetadata,
  spec: z.record(z.string(), z.unknown()),
});
export type ChangeData = z.infer<typeof changeData>;

/** Data of `Delete<Kind>`. A stated resourceVersion arrives as the message's expectedVersion. */
export const deleteData = z.strictObject({
  uid: z.string().optional(),
  propagationPolicy: z.enum(['Orphan', 'Background', 'Foreground']).default('Background'),
});
export type DeleteData = z.infer<typeof deleteData>;

/** Data of `Release<Kind>`: takes one finalizer, or one owner, off. What is not there (any more): nothing to do. */
export const releaseData = z.strictObject({ finalizer: z.string().optional(), owner: z.string().optional() });
export type ReleaseData = z.infer<typeof releaseData>;

/** Kubernetes' finalizers for foreground and orphaning deletion. */
export const FOREGROUND_FINALIZER = 'foregroundDeletion';
export const ORPHAN_FINALIZER = 'orphan';

export interface ObjectRules<Spec, Own> {
  readonly kind: KindDefinition;
  /** Finalizer that the owning service puts on a new object and takes off when its teardown is done; absent: nothing to tear down. */
  readonly teardownFinalizer?: string;
  /** The kind's own part of a new object's state. */
  readonly initialOwn: (spec: Spec) => Own;
  /** Causes that forbid this creation. */
  readonly checkCreate?: (spec: Spec, metadata: DesiredMetadata) => readonly FieldCause[];
  /** Events that the kind adds to a creation. */
  readonly onCreate?: (object: PresentObject<Spec, Own>, command: Command) => readonly NewEvent[];
  /** Refuses or answers the kind's events for a change of spec; absent: `<Kind>SpecChanged`. Called only when the spec differs. */
  readonly onSpecChange?: (
    object: PresentObject<Spec, Own>,
    wished: Spec,
    command: Command,
  ) => Result<readonly NewEvent[]>;
  /** Refuses, or adds events to, the first request for deletion. */
  readonly onDeletion?: (object: PresentObject<Spec, Own>, command: Command) => Result<readonly NewEvent[]>;
  /** The status of the document. */
  readonly status: (object: PresentObject<Spec, Own>) => JsonObject;
}

/** Scope of the claim that keeps names of a kind unique in a namespace (or in the whole platform). */
export const nameScope = (kind: KindDefinition, namespace: string | undefined): string =>
  `name/${kind.group}/${kind.kind}/${kind.namespaced ? (namespace ?? '') : ''}`;

/** Scope whose values are the names of active namespaces, held by the namespaces themselves. */
export const ACTIVE_NAMESPACE_SCOPE = 'namespace/active';

const describeObject = (kind: KindDefinition, metadata: { name: string; namespace?: string | undefined }): string =>
  `${kind.plural}.${kind.group} "${metadata.name}"${kind.namespaced ? ` in namespace "${metadata.namespace ?? ''}"` : ''}`;

const finalizersWith = (finalizers: readonly string[], extra: string | undefined): string[] =>
  extra === undefined || finalizers.includes(extra) ? [...finalizers] : [...finalizers, extra];

const decideCreate = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  command: Command,
  data: ChangeData,
): Result<readonly NewEvent[]> => {
  const spec = data.spec as Spec;
  const causes = rules.checkCreate?.(spec, data.metadata) ?? [];
  if (causes.length > 0) return invalid(rules.kind, data.metadata, causes);
  const metadata = { ...data.metadata, finalizers: finalizersWith(data.metadata.finalizers, rules.teardownFinalizer) };
  const created = eventOf(`${rules.kind.kind}Created`, { metadata, spec: data.spec } as JsonObject);
  const object = presentFrom(rules, { metadata, spec }, { uid: command.streamId, at: command.at });
  return ok([created, ...(rules.onCreate?.(object, command) ?? [])]);
};

/** A refusal with one cause per wrong field (HTTP 422). */
export const invalid = (
  kind: KindDefinition,
  metadata: { name: string; namespace?: string | undefined },
  causes: readonly FieldCause[],
): { readonly ok: false; readonly rejection: Rejection } =>
  reject(
    'object_invalid',
    `${describeObject(kind, metadata)} is invalid: ${causes.map((cause) => `${cause.field}: ${cause.message}`).join('; ')}`,
    { causes },
  );

const presentFrom = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  data: { metadata: DesiredMetadata; spec: Spec },
  place: { uid: string; at: number },
): PresentObject<Spec, Own> => ({
  meta: { ...data.metadata, uid: place.uid, generation: 1, creationTimestamp: timestamp(place.at) },
  spec: data.spec,
  own: rules.initialOwn(data.spec),
});

const metadataOf = (metadata: DesiredMetadata): JsonObject => ({
  labels: metadata.labels,
  annotations: metadata.annotations,
  finalizers: metadata.finalizers,
  ownerReferences: metadata.ownerReferences,
  managedFields: metadata.managedFields as unknown as JsonObject[],
});

const decideUpdate = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  object: PresentObject<Spec, Own>,
  command: Command,
  data: ChangeData,
): Result<readonly NewEvent[]> => {
  const { kind } = rules;
  const deleting = object.meta.deletionTimestamp !== undefined;
  const added = data.metadata.finalizers.filter((finalizer) => !object.meta.finalizers.includes(finalizer));
  if (deleting && added.length > 0) {
    const message = `no new finalizers can be added if the object is being deleted, found ${added.join(', ')}`;
    return invalid(kind, object.meta, [{ field: 'metadata.finalizers', reason: 'FieldValueForbidden', message }]);
  }
  // The service's own finalizer goes only when its teardown is done, never by a client's hand.
  const teardownHeld =
    rules.teardownFinalizer !== undefined && object.meta.finalizers.includes(rules.teardownFinalizer);
  const finalizers = teardownHeld
    ? finalizersWith(data.metadata.finalizers, rules.teardownFinalizer)
    : data.metadata.finalizers;
  const metadata = { ...data.metadata, finalizers };
  const events: NewEvent[] = [];
  if (!sameJson(metadataOf(metadata), metadataOf(object.meta)))
    events.push(eventOf(`${kind.kind}MetadataChanged`, metadataOf(metadata)));
  if (!sameJson(data.spec, object.spec)) {
    const wished = data.spec as Spec;
    const changed =
      rules.onSpecChange?.(object, wished, command) ??
      ok([eventOf(`${kind.kind}SpecChanged`, { spec: data.spec } as JsonObject)]);
    if (!changed.ok) return changed;
    events.push(...changed.value);
  }
  if (deleting && finalizers.length === 0) events.push(eventOf(`${kind.kind}Deleted`, {}));
  return ok(events);
};

const decideDelete = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  object: PresentObject<Spec, Own>,
  command: Command,
  data: DeleteData,
): Result<readonly NewEvent[]> => {
  const { kind } = rules;
  if (data.uid !== undefined && data.uid !== object.meta.uid) {
    return reject(
      'precondition_failed',
      `${describeObject(kind, object.meta)} has uid ${object.meta.uid}, the request is for uid ${data.uid}`,
    );
  }
  if (object.meta.deletionTimestamp !== undefined) return ok([]);
  const extra = rules.onDeletion?.(object, command) ?? ok([]);
  if (!extra.ok) return extra;
  const policyFinalizer =
    data.propagationPolicy === 'Foreground'
      ? FOREGROUND_FINALIZER
      : data.propagationPolicy === 'Orphan'
        ? ORPHAN_FINALIZER
        : undefined;
  const finalizers = finalizersWith(object.meta.finalizers, policyFinalizer);
  const requested = eventOf(`${kind.kind}DeletionRequested`, { deletionTimestamp: timestamp(command.at), finalizers });
  const gone = finalizers.length === 0 ? [eventOf(`${kind.kind}Deleted`, {})] : [];
  return ok([requested, ...extra.value, ...gone]);
};

const asObject = <Spec, Own>(state: ObjectState<Spec, Own>): PresentObject<Spec, Own> | null =>
  state.phase === 'present' ? state : null;

export const notFound = (kind: KindDefinition, name: string): { readonly ok: false; readonly rejection: Rejection } =>
  reject('not_found', `${kind.plural}.${kind.group} "${name}" not found`);

/** Answers `Change<Kind>`, `Delete<Kind>` and `Release<Kind>`; null for any other command, which is the kind's own. */
export const decideObject = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  command: Command,
  state: ObjectState<Spec, Own>,
): Result<readonly NewEvent[]> | null => {
  const { kind } = rules;
  const object = asObject(state);
  switch (command.type) {
    case `Change${kind.kind}`: {
      const data = changeData.parse(command.data);
      if (data.intent === 'create') {
        if (state.phase === 'absent') return decideCreate(rules, command, data);
        return reject('already_exists', `${describeObject(kind, data.metadata)} already exists`);
      }
      return object ? decideUpdate(rules, object, command, data) : notFound(kind, data.metadata.name);
    }
    case `Delete${kind.kind}`:
      return object
        ? decideDelete(rules, object, command, deleteData.parse(command.data))
        : notFound(kind, command.streamId);
    case `Release${kind.kind}`: {
      if (!object) return ok([]);
      const { finalizer, owner } = releaseData.parse(command.data);
      if (owner !== undefined) return ok(ownerRemoved(kind, object, owner));
      return ok(finalizer === undefined ? [] : finalizerRemoved(kind, object, finalizer));
    }
    default:
      return null;
  }
};

const ownerRemoved = <Spec, Own>(
  kind: KindDefinition,
  object: PresentObject<Spec, Own>,
  owner: string,
): readonly NewEvent[] => {
  const ownerReferences = object.meta.ownerReferences.filter((reference) => reference.uid !== owner);
  if (ownerReferences.length === object.meta.ownerReferences.length) return [];
  return [eventOf(`${kind.kind}MetadataChanged`, metadataOf({ ...object.meta, ownerReferences }))];
};

/** `<Kind>MetadataChanged` without the finalizer, and `<Kind>Deleted` if it was the last one of an object on its way out. */
export const finalizerRemoved = <Spec, Own>(
  kind: KindDefinition,
  object: PresentObject<Spec, Own>,
  finalizer: string,
): readonly NewEvent[] => {
  if (!object.meta.finalizers.includes(finalizer)) return [];
  const finalizers = object.meta.finalizers.filter((held) => held !== finalizer);
  const changed = eventOf(`${kind.kind}MetadataChanged`, metadataOf({ ...object.meta, finalizers }));
  const gone = object.meta.deletionTimestamp !== undefined && finalizers.length === 0;
  return gone ? [changed, eventOf(`${kind.kind}Deleted`, {})] : [changed];
};

/** Folds the shared events; null for any other event, which is the kind's own. */
export const evolveObject = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  state: ObjectState<Spec, Own>,
  event: NewEvent,
  place: EventPlace,
): ObjectState<Spec, Own> | null => {
  const { kind } = rules.kind;
  if (event.type === `${kind}Created`) {
    const data = event.data as unknown as { metadata: DesiredMetadata; spec: Spec };
    return { phase: 'present', ...presentFrom(rules, data, { uid: place.streamId, at: place.at }) };
  }
  if (state.phase === 'absent') return null;
  switch (event.type) {
    case `${kind}MetadataChanged`:
      return { ...state, meta: { ...state.meta, ...(event.data as unknown as Partial<ObjectEnvelope>) } };
    case `${kind}SpecChanged`:
      return {
        ...state,
        spec: event.data['spec'] as unknown as Spec,
        meta: { ...state.meta, generation: state.meta.generation + 1 },
      };
    case `${kind}DeletionRequested`:
      return {
        ...state,
        meta: {
          ...state.meta,
          ...(event.data as unknown as Partial<ObjectEnvelope>),
          generation: state.meta.generation + 1,
        },
      };
    case `${kind}Deleted`:
      return { ...state, phase: 'deleted' };
    default:
      return null;
  }
};

const omitEmpty = (members: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(members).filter(
      ([, value]) =>
        value !== undefined && !(typeof value === 'object' && value !== null && Object.keys(value).length === 0),
    ),
  );

/** The API document without `resourceVersion`, which the log gives; null for what does not exist (any more). */
export const objectResource = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  state: ObjectState<Spec, Own>,
): JsonObject | null => {
  if (state.phase !== 'present') return null;
  const { meta } = state;
  return {
    apiVersion: apiVersionOf(rules.kind),
    kind: rules.kind.kind,
    metadata: omitEmpty({
      name: meta.name,
      generateName: meta.generateName,
      namespace: rules.kind.namespaced ? meta.namespace : undefined,
      uid: meta.uid,
      generation: meta.generation,
      creationTimestamp: meta.creationTimestamp,
      deletionTimestamp: meta.deletionTimestamp,
      deletionGracePeriodSeconds: meta.deletionTimestamp === undefined ? undefined : 0,
      ...metadataOf(meta),
    }),
    ...contentMembers(rules.kind, state.spec as unknown as JsonObject),
    ...(rules.kind.content === 'top' ? {} : { status: rules.status(state) }),
  };
};

/** Claims of the shared events: the name, and an active namespace to be born into. */
export const objectConsequences = <Spec, Own>(
  rules: ObjectRules<Spec, Own>,
  event: NewEvent,
  before: ObjectState<Spec, Own>,
  command: Command,
): Consequences => {
  const { kind } = rules;
  if (event.type === `${kind.kind}Created`) {
    const { metadata } = event.data as unknown as { metadata: DesiredMetadata };
    const claims: ClaimChange[] = [
      { op: 'claim', scope: nameScope(kind, metadata.namespace), value: metadata.name, holder: command.streamId },
    ];
    if (kind.namespaced)
      claims.push({
        op: 'require',
        scope: ACTIVE_NAMESPACE_SCOPE,
        value: metadata.namespace ?? '',
        holder: command.streamId,
      });
    return { claims };
  }
  if (event.type === `${kind.kind}Deleted` && before.phase !== 'absent') {
    return {
      claims: [
        {
          op: 'release',
          scope: nameScope(kind, before.meta.namespace),
          value: before.meta.name,
          holder: command.streamId,
        },
      ],
    };
  }
  return {};
};
