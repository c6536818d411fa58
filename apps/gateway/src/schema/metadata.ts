import {
  dnsLabel,
  dnsSubdomain,
  managedFieldsEntry,
  ownerReference,
  pathSegmentName,
  type DesiredMetadata,
  type KindDefinition,
} from '@xenolith/contracts';
import type { FieldCause } from '@xenolith/kernel';
import { z } from 'zod';
import { labelValueFault, qualifiedNameFault } from '../table/qualified-name.js';
import { causesOf, forbidden, invalidValue, requiredValue, tooLong } from './causes.js';
import { prune } from './prune.js';
import { shapeOf, type Shape } from './shape.js';

/** Keys and values of all annotations together, in bytes of UTF-8: Kubernetes' limit (apimachinery, api/validation/objectmeta.go). */
const MAX_ANNOTATIONS_BYTES = 256 * 1024;

const stringMap = z.record(z.string(), z.string());

/** Metadata as clients send it: theirs, and what they read before and send back, which only the server sets. */
const incomingMetadata = z.strictObject({
  name: z.string().optional(),
  generateName: z.string().optional(),
  namespace: z.string().optional(),
  labels: stringMap.default({}),
  annotations: stringMap.default({}),
  finalizers: z.array(z.string()).default([]),
  ownerReferences: z.array(ownerReference).default([]),
  managedFields: z.array(z.looseObject({})).default([]),
  resourceVersion: z.string().optional(),
  uid: z.string().optional(),
  selfLink: z.unknown().optional(),
  generation: z.unknown().optional(),
  creationTimestamp: z.unknown().optional(),
  deletionTimestamp: z.unknown().optional(),
  deletionGracePeriodSeconds: z.unknown().optional(),
});
type IncomingMetadata = z.infer<typeof incomingMetadata>;

/** The shape of metadata, for pruning and for the ownership of its fields: finalizers are a set, owners go by uid. */
export const METADATA_SHAPE: Shape = shapeOf(incomingMetadata, {
  path: 'metadata',
  keys: { 'metadata.ownerReferences': ['uid'] },
  sets: ['metadata.finalizers'],
});

const labelCauses = (labels: Readonly<Record<string, string>>): readonly FieldCause[] =>
  Object.entries(labels).flatMap(([key, value]) => {
    const keyFault = qualifiedNameFault(key);
    const valueFault = labelValueFault(value);
    return [
      ...(keyFault === null ? [] : [invalidValue('metadata.labels', key, keyFault)]),
      ...(valueFault === null ? [] : [invalidValue('metadata.labels', value, valueFault)]),
    ];
  });

const utf8 = new TextEncoder();
const bytesIn = (text: string): number => utf8.encode(text).length;

const annotationCauses = (annotations: Readonly<Record<string, string>>): readonly FieldCause[] => {
  const causes = Object.keys(annotations).flatMap((key) => {
    const fault = qualifiedNameFault(key.toLowerCase());
    return fault === null ? [] : [invalidValue('metadata.annotations', key, fault)];
  });
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + bytesIn(key) + bytesIn(value), 0);
  return size > MAX_ANNOTATIONS_BYTES
    ? [
        ...causes,
        tooLong('metadata.annotations', `may not be more than ${MAX_ANNOTATIONS_BYTES} bytes in all, found ${size}`),
      ]
    : causes;
};

const finalizerCauses = (finalizers: readonly string[]): readonly FieldCause[] =>
  finalizers.flatMap((finalizer) => {
    const fault = qualifiedNameFault(finalizer);
    return fault === null ? [] : [invalidValue('metadata.finalizers', finalizer, fault)];
  });

const ownerCauses = (owners: IncomingMetadata['ownerReferences']): readonly FieldCause[] => {
  const causes = owners.flatMap((owner, index) =>
    (['apiVersion', 'kind', 'name', 'uid'] as const)
      .filter((field) => owner[field] === '')
      .map((field) => requiredValue(`metadata.ownerReferences[${index}].${field}`, `${field} must not be empty`)),
  );
  const controllers = owners.filter((owner) => owner.controller === true);
  return controllers.length > 1
    ? [
        ...causes,
        invalidValue(
          'metadata.ownerReferences',
          controllers.map(({ kind, name }) => `${kind}/${name}`),
          'only one reference can have controller set to true',
        ),
      ]
    : causes;
};

const managedFieldsCauses = (entries: IncomingMetadata['managedFields']): readonly FieldCause[] =>
  entries.flatMap((entry, index) => {
    const parsed = managedFieldsEntry.safeParse(entry);
    // An empty entry is how a client asks for a fresh start.
    if (parsed.success || Object.keys(entry).length === 0) return [];
    return causesOf(parsed.error, ['metadata', 'managedFields', index], entry);
  });

const NAME_RULES = { label: dnsLabel, subdomain: dnsSubdomain, path: pathSegmentName } as const;

const nameCauses = (kind: KindDefinition, name: string | undefined): readonly FieldCause[] => {
  if (name === undefined || name === '') return [requiredValue('metadata.name', 'name or generateName is required')];
  const parsed = NAME_RULES[kind.nameRule ?? 'label'].safeParse(name);
  return parsed.success ? [] : causesOf(parsed.error, ['metadata', 'name'], name);
};

const namespaceCauses = (kind: KindDefinition, namespace: string | undefined): readonly FieldCause[] => {
  if (!kind.namespaced)
    return namespace === undefined || namespace === ''
      ? []
      : [forbidden('metadata.namespace', 'not allowed on this type')];
  if (namespace === undefined || namespace === '') return [requiredValue('metadata.namespace')];
  const parsed = dnsLabel.safeParse(namespace);
  return parsed.success ? [] : causesOf(parsed.error, ['metadata', 'namespace'], namespace);
};

const STANDARD_FINALIZERS: readonly string[] = ['orphan', 'foregroundDeletion', 'kubernetes'];

const finalizerWarnings = (finalizers: readonly string[]): readonly string[] =>
  finalizers
    .filter((finalizer) => !finalizer.includes('/') && !STANDARD_FINALIZERS.includes(finalizer))
    .map(
      (finalizer) =>
        `metadata.finalizers: "${finalizer}": prefer a domain-qualified finalizer name, such as example.com/${finalizer}`,
    );

/** Metadata that has been read, with all that is wrong with it. */
export interface ReadMetadata {
  readonly metadata: DesiredMetadata;
  readonly resourceVersion: string | undefined;
  readonly uid: string | undefined;
  readonly causes: readonly FieldCause[];
  readonly unknown: readonly string[];
  readonly warnings: readonly string[];
}

const NOTHING: DesiredMetadata = {
  name: '',
  labels: {},
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
};

/** `at` has the URL's name and namespace, which count where the object states none. */
export const readMetadata = (
  kind: KindDefinition,
  input: unknown,
  at: { name?: string | undefined; namespace?: string | undefined },
): ReadMetadata => {
  const pruned = prune(METADATA_SHAPE, input ?? {}, ['metadata']);
  const parsed = incomingMetadata.safeParse(pruned.value);
  if (!parsed.success) {
    const causes = causesOf(parsed.error, ['metadata'], pruned.value);
    return {
      metadata: NOTHING,
      resourceVersion: undefined,
      uid: undefined,
      causes,
      unknown: pruned.unknown,
      warnings: [],
    };
  }
  const { data } = parsed;
  const name = data.name === undefined || data.name === '' ? at.name : data.name;
  const namespace = data.namespace === undefined || data.namespace === '' ? at.namespace : data.namespace;
  const metadata: DesiredMetadata = {
    name: name ?? '',
    ...(kind.namespaced && namespace !== undefined && { namespace }),
    ...(data.generateName !== undefined && data.generateName !== '' && { generateName: data.generateName }),
    labels: data.labels,
    annotations: data.annotations,
    finalizers: [...new Set(data.finalizers)],
    ownerReferences: data.ownerReferences,
    managedFields: data.managedFields as DesiredMetadata['managedFields'],
  };
  const causes = [
    ...nameCauses(kind, name),
    ...namespaceCauses(kind, namespace),
    ...labelCauses(data.labels),
    ...annotationCauses(data.annotations),
    ...finalizerCauses(data.finalizers),
    ...ownerCauses(data.ownerReferences),
    ...managedFieldsCauses(data.managedFields),
  ];
  const stated = (text: string | undefined): string | undefined => (text === '' ? undefined : text);
  return {
    metadata,
    resourceVersion: stated(data.resourceVersion),
    uid: stated(data.uid),
    causes,
    unknown: pruned.unknown,
    warnings: finalizerWarnings(data.finalizers),
  };
};
