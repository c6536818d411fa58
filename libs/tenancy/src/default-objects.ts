import { categoryOf, PROTECTED_NAMESPACES, type PolicyRule, type RoleSubject } from '@xenolith/contracts';
import {
  sameJson,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type StoredDocument,
  type Uuid,
} from '@xenolith/kernel';
import { DEFAULT_ACCESS, type DefaultObject } from './access/default-roles.js';

/** Kubernetes' mark of what its server makes, and of what it keeps complete; an administrator who turns that off keeps what they wrote. */
const BOOTSTRAP_LABEL = { 'kubernetes.io/bootstrapping': 'rbac-defaults' };
const AUTO_UPDATE = 'rbac.authorization.kubernetes.io/autoupdate';

const emptyMetadata = { labels: {}, annotations: {}, finalizers: [], ownerReferences: [], managedFields: [] };

const command = (
  type: string,
  ids: { readonly commandId: Uuid; readonly streamId: Uuid },
  data: JsonObject,
  at: number,
): CommandMessage => ({
  ...ids,
  type,
  data,
  actor: 'system:gateway',
  correlationId: ids.commandId,
  causationId: ids.commandId,
  at,
});

/** Commands that make the platform's own namespaces. Their ids never change, so that sending them at each start makes them once. */
export const ensureDefaultNamespaces = (now: number): readonly CommandMessage[] =>
  PROTECTED_NAMESPACES.map((name) =>
    command(
      'ChangeNamespace',
      { commandId: uuidFrom('ensure-namespace', name), streamId: uuidFrom('namespace', name) },
      { intent: 'create', metadata: { name, ...emptyMetadata }, spec: { finalizers: [] } },
      now,
    ),
  );

const creation = ({ kind, name, spec }: DefaultObject, now: number): CommandMessage => {
  const commandId = uuidFrom('ensure-access', kind.kind, name, now);
  const metadata = {
    ...emptyMetadata,
    name,
    labels: BOOTSTRAP_LABEL,
    annotations: { [AUTO_UPDATE]: 'true' },
  };
  const ids = { commandId, streamId: commandId };
  return command(`Change${kind.kind}`, ids, { intent: 'create', metadata, spec: spec as unknown as JsonObject }, now);
};

interface AccessDocument {
  readonly metadata: {
    readonly name: string;
    readonly labels?: JsonObject;
    readonly annotations?: JsonObject;
    readonly finalizers?: readonly string[];
    readonly ownerReferences?: readonly JsonObject[];
    readonly managedFields?: readonly JsonObject[];
  };
  readonly rules?: readonly PolicyRule[];
  readonly roleRef?: JsonObject;
  readonly subjects?: readonly RoleSubject[];
}

const withMissing = <Item>(found: readonly Item[], wanted: readonly Item[]): readonly Item[] => [
  ...found,
  ...wanted.filter((item) => !found.some((other) => sameJson(other, item))),
];

/** What a default object of an earlier release lacks of today's; null: nothing, or its administrators keep it themselves. */
const completion = (
  { kind, name, spec }: DefaultObject,
  stored: StoredDocument,
  now: number,
): CommandMessage | null => {
  const document = stored.document as unknown as AccessDocument;
  const { metadata, rules = [], roleRef, subjects = [] } = document;
  if (metadata.annotations?.[AUTO_UPDATE] !== 'true') return null;
  const before = 'rules' in spec ? rules : subjects;
  const after =
    'rules' in spec ? withMissing<unknown>(rules, spec.rules) : withMissing<unknown>(subjects, spec.subjects);
  if (after.length === before.length) return null;
  const { labels, annotations, finalizers, ownerReferences, managedFields } = metadata;
  const wished = { ...emptyMetadata, name, labels, annotations, finalizers, ownerReferences, managedFields };
  const present = Object.fromEntries(Object.entries(wished).filter(([, value]) => value !== undefined));
  const content = 'rules' in spec ? { rules: after } : { roleRef, subjects: after };
  return command(
    `Change${kind.kind}`,
    { commandId: uuidFrom('complete-access', stored.streamId, stored.version), streamId: stored.streamId },
    { intent: 'update', metadata: { ...emptyMetadata, ...present }, spec: content } as unknown as JsonObject,
    now,
  );
};

/**
 * Commands that make the roles and bindings that every platform has and that are not there, and that add to those of an earlier release what they lack; `stored`
 * are the documents of `ACCESS_CATEGORIES`.
 */
export const ensureDefaultAccess = (stored: readonly StoredDocument[], now: number): readonly CommandMessage[] => {
  const found = new Map(
    stored.map((document) => {
      const { metadata } = document.document as unknown as AccessDocument;
      return [`${document.category}/${metadata.name}`, document];
    }),
  );
  return DEFAULT_ACCESS.flatMap((wanted) => {
    const there = found.get(`${categoryOf(wanted.kind)}/${wanted.name}`);
    return (there === undefined ? creation(wanted, now) : completion(wanted, there, now)) ?? [];
  });
};
