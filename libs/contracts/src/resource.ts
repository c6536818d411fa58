import { bytesOf, type JsonObject } from '@xenolith/kernel';
import { z } from 'zod';

/** DNS label (RFC 1123), as Kubernetes asks of names. */
export const dnsLabel = z
  .string()
  .min(1)
  .max(63)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
    'must be a DNS label: lower-case letters, digits and "-", starting and ending with a letter or digit',
  );

/** DNS subdomain (RFC 1123): labels joined by dots. */
export const dnsSubdomain = z
  .string()
  .min(1)
  .max(253)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'must be a DNS subdomain: lower-case letters, digits, "-" and ".", starting and ending with a letter or digit',
  );

/** A name that may stand in a path, as Kubernetes' RBAC has them: anything but what would be another path. */
export const pathSegmentName = z
  .string()
  .min(1)
  .max(253)
  .refine((name) => name !== '.' && name !== '..', 'may not be "." or ".."')
  .refine((name) => !/[/%\p{Cc}]/u.test(name), 'may not contain "/", "%" or control characters');

export const quantity = z
  .string()
  .regex(/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+|[EPTGM]i?|Ki|k|m)?$/, 'must be a quantity such as 512Mi, 4Gi or 20G')
  .refine(
    (text) => Math.abs(bytesOf(text)) <= Number.MAX_SAFE_INTEGER,
    'must be less than 8Pi, the most that is counted to the byte',
  );

/** A Kubernetes quantity, which clients may also send as a bare number. */
export const quantityInput = z
  .union([quantity, z.number().transform(String)])
  .describe('A quantity such as 512Mi, 4Gi or 20G.');

export const ownerReference = z.strictObject({
  apiVersion: z.string().describe('API version of the owner.'),
  kind: z.string().describe('Kind of the owner.'),
  name: z.string().describe('Name of the owner.'),
  uid: z.string().describe('UID of the owner.'),
  controller: z.boolean().optional().describe('True when the owner manages this object.'),
  blockOwnerDeletion: z
    .boolean()
    .optional()
    .describe('True when the owner cannot go before this object with foreground deletion.'),
});
export type OwnerReference = z.infer<typeof ownerReference>;

export const managedFieldsEntry = z.strictObject({
  manager: z.string().optional(),
  operation: z.enum(['Apply', 'Update']),
  apiVersion: z.string(),
  time: z.string().optional(),
  fieldsType: z.literal('FieldsV1').optional(),
  fieldsV1: z.record(z.string(), z.unknown()).optional(),
  subresource: z.string().optional(),
});
export type ManagedFieldsEntry = z.infer<typeof managedFieldsEntry>;

const stringMap = z.record(z.string(), z.string());

/** What a client may say of an object's metadata; the platform keeps uid, generation and the timestamps. */
export const desiredMetadata = z.strictObject({
  name: z.string(),
  namespace: z.string().optional(),
  generateName: z.string().optional(),
  labels: stringMap.default({}),
  annotations: stringMap.default({}),
  finalizers: z.array(z.string()).default([]),
  ownerReferences: z.array(ownerReference).default([]),
  managedFields: z.array(managedFieldsEntry).default([]),
});
export type DesiredMetadata = z.infer<typeof desiredMetadata>;

/** The envelope that every object carries, as its stream's state. Times are RFC 3339 with seconds. */
export interface ObjectEnvelope extends DesiredMetadata {
  readonly uid: string;
  readonly generation: number;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string;
}

/** One observation about an object, in Kubernetes' form. */
export const condition = z.strictObject({
  type: z.string().describe('What is observed, such as Ready.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
  reason: z.string().describe('Why, in one word for programs.'),
  message: z.string().describe('Why, in a sentence for people.'),
  lastTransitionTime: z.string().describe('When the status last changed.'),
});
export type Condition = z.infer<typeof condition>;
export const conditions = z.array(condition).describe('What was observed of it, each with its reason.');

/** RFC 3339 with seconds, as Kubernetes writes times, from milliseconds since the epoch. */
export const timestamp = (atMs: number): string => {
  const days = Math.floor(atMs / 86_400_000);
  const seconds = Math.floor((atMs - days * 86_400_000) / 1000);
  // Civil date from a day count (Howard Hinnant, "chrono-compatible low-level date algorithms").
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const pad = (value: number, width = 2): string => String(value).padStart(width, '0');
  const time = `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
  return `${pad(year, 4)}-${pad(month)}-${pad(day)}T${time}Z`;
};

const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/;

/** Milliseconds since the epoch of a time that `timestamp` wrote; null for other texts. */
export const millisecondsOf = (text: string): number | null => {
  const parts = RFC_3339.exec(text)?.slice(1).map(Number);
  if (parts === undefined) return null;
  const [year = 0, month = 0, day = 0, hours = 0, minutes = 0, seconds = 0] = parts;
  // Day count of a civil date, the inverse of the above.
  const yearFromMarch = month <= 2 ? year - 1 : year;
  const era = Math.floor(yearFromMarch / 400);
  const yearOfEra = yearFromMarch - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  const days = era * 146_097 + dayOfEra - 719_468;
  return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000;
};

/** A column of `kubectl get`: `path` is a JSONPath into the object; `priority` above 0 shows with `-o wide` only. */
export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  readonly path: string;
  readonly description: string;
  readonly priority?: number;
  /** What an empty list shows as. */
  readonly ofEmptyList?: string;
}

export type ServiceName = 'gateway' | 'compute' | 'storage' | 'network' | 'scheduler';

/** All that the API needs to know of a kind. */
export interface KindDefinition<Spec extends z.ZodType = z.ZodType, Status extends z.ZodType = z.ZodType> {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** The service that owns the streams of this kind and serves `Change<Kind>` and `Delete<Kind>`. */
  readonly service: ServiceName;
  readonly description: string;
  /** Strict: unknown fields are errors; the gateway prunes them first unless the client asks for `fieldValidation=Strict`. */
  readonly spec: Spec;
  readonly status: Status;
  readonly columns: readonly TableColumn[];
  /** `create` and `delete` may be missing for objects that only the platform makes. Default: all. */
  readonly verbs?: readonly ('create' | 'update' | 'delete')[];
  /** POST to `<plural>/NAME/<action>` makes an Operation. */
  readonly actions?: readonly string[];
  /** GET of `<plural>/NAME/<tool>?arg=…` answers what that tool prints on the host. */
  readonly tools?: readonly string[];
  /** Field selectors beyond metadata.name and metadata.namespace, as JSON paths such as `spec.powerState`. */
  readonly fieldSelectors?: readonly string[];
  /** Lists in spec that merge by key under server-side apply: path (with no indices) to key fields. */
  readonly listMapKeys?: Readonly<Record<string, readonly string[]>>;
  /** Names: `label` (default), `subdomain`, or `path` for anything that may stand in a path. */
  readonly nameRule?: 'label' | 'subdomain' | 'path';
  /**
   * `top`: what `spec` describes stands at the top of the object, which has neither `spec` nor `status`, as in Kubernetes' RBAC. Default: `spec`.
   */
  readonly content?: 'spec' | 'top';
}

/** Keeps the literal schema types of a kind. */
export const defineKind = <Spec extends z.ZodType, Status extends z.ZodType>(
  definition: KindDefinition<Spec, Status>,
): KindDefinition<Spec, Status> => definition;

export const apiVersionOf = (kind: Pick<KindDefinition, 'group' | 'version'>): string =>
  kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;

const ENVELOPE: readonly string[] = ['apiVersion', 'kind', 'metadata', 'status'];

/** What is wished of an object, out of its document or out of what a client sent. */
export const contentOf = (kind: Pick<KindDefinition, 'content'>, object: JsonObject): JsonObject | undefined =>
  kind.content === 'top'
    ? Object.fromEntries(Object.entries(object).filter(([name]) => !ENVELOPE.includes(name)))
    : (object['spec'] as JsonObject | undefined);

/** The members of a document that say what is wished of the object. */
export const contentMembers = (kind: Pick<KindDefinition, 'content'>, spec: JsonObject): JsonObject =>
  kind.content === 'top' ? spec : { spec };

/** Whether the kind is one of Kubernetes itself: its clients know the type, and patch it strategically. */
export const isKubernetesKind = ({ group }: Pick<KindDefinition, 'group'>): boolean =>
  group === '' || group.endsWith('.k8s.io');

/** The category of the streams of a kind: its kind in lower case. */
export const categoryOf = (kind: Pick<KindDefinition, 'kind'>): string => kind.kind.toLowerCase();
