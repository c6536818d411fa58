import { apiVersionOf, contentOf, type DesiredMetadata, type KindDefinition } from '@xenolith/contracts';
import { ok, reject, type FieldCause, type JsonObject, type Result } from '@xenolith/kernel';
import { causesOf, duplicateValue, fieldPath } from './causes.js';
import { readMetadata, type ReadMetadata } from './metadata.js';
import { duplicateKeys, prune } from './prune.js';
import { isRecord, specShapeOf } from './shape.js';

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface ParseOptions {
  readonly fieldValidation: FieldValidation;
  /** Paths of fields that the body named more than once. */
  readonly duplicateFields?: readonly (readonly (string | number)[])[];
  /** Name in the URL (update, patch), or the one that was generated; absent on create: the body's. */
  readonly name?: string | undefined;
  /** Namespace in the URL; absent for cluster-scoped kinds. */
  readonly namespace?: string | undefined;
}

/** What a client may say of an object, parsed: `metadata` and `spec` are the data of `Change<Kind>`. */
export interface ParsedObject {
  readonly metadata: DesiredMetadata;
  /** With all defaults, in its normal form. */
  readonly spec: JsonObject;
  /** The `metadata.resourceVersion` and `metadata.uid` that the client stated, to be used as preconditions. */
  readonly resourceVersion?: string;
  readonly uid?: string;
  /** Texts for `Warning` headers. */
  readonly warnings: readonly string[];
}

/** Most causes and unknown fields that one answer names: what is beyond helps nobody, and headers have a limit. */
const MAX_REPORTED = 50;

const TOP_LEVEL_FIELDS: readonly string[] = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

const malformed = (message: string): Result<never> => reject('request_malformed', message);

const article = (word: string): string => (/^[AEIOU]/.test(word) ? 'an' : 'a');

/** What the URL says against what the object says of itself; null when they agree. */
const mismatch = (kind: KindDefinition, input: JsonObject, options: ParseOptions): string | null => {
  const { apiVersion = '', kind: stated = '' } = input;
  if (apiVersion !== '' && apiVersion !== apiVersionOf(kind))
    return `the API version in the data (${JSON.stringify(apiVersion)}) does not match the expected API version (${apiVersionOf(kind)})`;
  if (stated !== '' && stated !== kind.kind)
    return `the kind in the data (${JSON.stringify(stated)}) does not match the expected kind (${kind.kind})`;
  const metadata = input['metadata'] ?? {};
  if (!isRecord(metadata)) return `metadata must be an object, found ${JSON.stringify(metadata).slice(0, 64)}`;
  const { name, namespace } = metadata;
  if (typeof name === 'string' && name !== '' && options.name !== undefined && name !== options.name)
    return `the name of the object (${name}) does not match the name on the URL (${options.name})`;
  if (
    typeof namespace === 'string' &&
    namespace !== '' &&
    options.namespace !== undefined &&
    namespace !== options.namespace
  )
    return `the namespace of the object (${namespace}) does not match the namespace on the URL (${options.namespace})`;
  return null;
};

/** `VirtualMachine.compute.xenolith.dev`, as Kubernetes names a kind in messages. */
const qualifiedKind = (kind: KindDefinition): string => (kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`);

/** The refusal of an object with one cause per wrong field (HTTP 422), in Kubernetes' words. */
export const objectInvalid = (kind: KindDefinition, name: string, causes: readonly FieldCause[]): Result<never> => {
  const reported = causes.slice(0, MAX_REPORTED);
  const texts = reported.map((cause) => `${cause.field}: ${cause.message}`);
  const text = texts.length === 1 ? (texts[0] ?? '') : `[${texts.join(', ')}]`;
  return reject('object_invalid', `${qualifiedKind(kind)} "${name}" is invalid: ${text}`, { causes: reported });
};

/** What a strict reader would not take: warnings, or the refusal. */
const checkFields = (
  kind: KindDefinition,
  unknown: readonly string[],
  { fieldValidation, duplicateFields = [] }: ParseOptions,
): Result<readonly string[]> => {
  if (unknown.length + duplicateFields.length === 0 || fieldValidation === 'Ignore') return ok([]);
  const texts = [
    ...duplicateFields.map((path) => `duplicate field "${fieldPath(path)}"`),
    ...unknown.map((field) => `unknown field "${field}"`),
  ].slice(0, MAX_REPORTED);
  if (fieldValidation === 'Warn') return ok(texts);
  return malformed(
    `${kind.kind} in version "${kind.version}" cannot be handled as ${article(kind.kind)} ${kind.kind}: strict decoding error: ${texts.join(', ')}`,
  );
};

interface ReadSpec {
  readonly spec: JsonObject;
  readonly causes: readonly FieldCause[];
  readonly unknown: readonly string[];
}

const readSpec = (kind: KindDefinition, input: unknown): ReadSpec => {
  const shape = specShapeOf(kind);
  const at = kind.content === 'top' ? [] : ['spec'];
  const pruned = prune(shape, input ?? {}, at);
  const parsed = kind.spec.safeParse(pruned.value);
  const duplicates = duplicateKeys(shape, pruned.value, at).map(({ field, value }) => duplicateValue(field, value));
  if (!parsed.success)
    return {
      spec: {},
      causes: [...causesOf(parsed.error, at, pruned.value), ...duplicates],
      unknown: pruned.unknown,
    };
  return { spec: parsed.data as JsonObject, causes: duplicates, unknown: pruned.unknown };
};

const parsedObject = (read: ReadMetadata, spec: JsonObject, warnings: readonly string[]): ParsedObject => ({
  metadata: read.metadata,
  spec,
  ...(read.resourceVersion !== undefined && { resourceVersion: read.resourceVersion }),
  ...(read.uid !== undefined && { uid: read.uid }),
  warnings: [...read.warnings, ...warnings],
});

/**
 * Parses an incoming object. Refusals: `request_malformed` (400: not an object, another apiVersion, kind, name or namespace than the URL's, unknown
 * fields and fields named twice under `Strict`) and `object_invalid` (422, one cause per wrong field). What only the server sets (uid, timestamps, generation, status, …) is
 * ignored, and unknown fields are left out.
 */
export const parseObject = (kind: KindDefinition, input: unknown, options: ParseOptions): Result<ParsedObject> => {
  if (!isRecord(input)) return malformed(`the body must be ${article(kind.kind)} ${kind.kind} as a JSON object`);
  const object = input as JsonObject;
  const fault = mismatch(kind, object, options);
  if (fault !== null) return malformed(fault);
  const read = readMetadata(kind, object['metadata'], options);
  const { spec, causes, unknown } = readSpec(kind, contentOf(kind, object));
  const top = kind.content === 'top' ? [] : Object.keys(object).filter((field) => !TOP_LEVEL_FIELDS.includes(field));
  const warnings = checkFields(kind, [...top, ...read.unknown, ...unknown], options);
  if (!warnings.ok) return warnings;
  const allCauses = [...read.causes, ...causes];
  if (allCauses.length > 0) return objectInvalid(kind, read.metadata.name, allCauses);
  return ok(parsedObject(read, spec, warnings.value));
};

/** Characters of a generated name's random end, and how long its beginning may be (a DNS label has 63). */
const SUFFIX_LENGTH = 5;
const MAX_PREFIX_LENGTH = 63 - SUFFIX_LENGTH;
/** Kubernetes leaves out vowels and what looks alike, so that no words form. */
const SUFFIX_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';

/** A name out of `generateName`, which is cut where it is too long. `below(n)` draws a whole number in [0, n). */
export const generatedName = (generateName: string, below: (bound: number) => number): string => {
  const letters = Array.from({ length: SUFFIX_LENGTH }, () => SUFFIX_LETTERS.charAt(below(SUFFIX_LETTERS.length)));
  return `${generateName.slice(0, MAX_PREFIX_LENGTH)}${letters.join('')}`;
};
