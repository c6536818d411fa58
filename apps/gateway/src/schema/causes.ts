import type { FieldCause } from '@xenolith/kernel';
import type { z } from 'zod';

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/** A path as Kubernetes writes it: `spec.disks[0].size`, and `[key]` for keys that are no plain words. */
export const fieldPath = (path: Path): string =>
  path.reduce<string>((text, segment) => {
    if (typeof segment === 'number') return `${text}[${segment}]`;
    const name = String(segment);
    if (!/^[A-Za-z_][\w-]*$/.test(name)) return `${text}[${name}]`;
    return text === '' ? name : `${text}.${name}`;
  }, '');

/** Longest part of a refused value that a message repeats. */
const MAX_SHOWN = 128;

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return 'null';
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
};

export const requiredValue = (field: string, message = ''): FieldCause => ({
  field,
  reason: 'FieldValueRequired',
  message: message === '' ? 'Required value' : `Required value: ${message}`,
});

export const invalidValue = (field: string, value: unknown, message: string): FieldCause => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${shown(value)}: ${message}`,
});

export const forbidden = (field: string, message: string): FieldCause => ({
  field,
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${message}`,
});

export const tooLong = (field: string, message: string): FieldCause => ({
  field,
  reason: 'FieldValueTooLong',
  message: `Too long: ${message}`,
});

export const duplicateValue = (field: string, value: unknown): FieldCause => ({
  field,
  reason: 'FieldValueDuplicate',
  message: `Duplicate value: ${shown(value)}`,
});

const TYPE_NAMES: Readonly<Record<string, string>> = { int: 'integer', record: 'object' };

const typeInvalid = (field: string, value: unknown, expected: readonly string[]): FieldCause => ({
  field,
  reason: 'FieldValueTypeInvalid',
  message: `Invalid value: ${shown(value)}: must be of type ${expected.map((name) => TYPE_NAMES[name] ?? name).join(' or ')}`,
});

const notSupported = (field: string, value: unknown, supported: readonly unknown[]): FieldCause => ({
  field,
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${shown(value)}: supported values: ${supported.map(shown).join(', ')}`,
});

const COLLECTIONS: readonly string[] = ['array', 'set', 'map'];

const tooBig = (issue: Issue & { code: 'too_big' }, field: string, value: unknown): FieldCause => {
  const limit = Number(issue.maximum);
  if (COLLECTIONS.includes(issue.origin)) {
    const count = Array.isArray(value) ? value.length : 0;
    return { field, reason: 'FieldValueTooMany', message: `Too many: ${count}: must have at most ${limit} items` };
  }
  if (issue.origin === 'string') return tooLong(field, `may not be more than ${limit} characters`);
  return invalidValue(field, value, `must be less than ${issue.inclusive === false ? '' : 'or equal to '}${limit}`);
};

const tooSmall = (issue: Issue & { code: 'too_small' }, field: string, value: unknown): FieldCause => {
  const limit = Number(issue.minimum);
  if (COLLECTIONS.includes(issue.origin)) return invalidValue(field, value, `must have at least ${limit} items`);
  if (issue.origin === 'string')
    return value === '' ? requiredValue(field) : invalidValue(field, value, `must be at least ${limit} characters`);
  return invalidValue(field, value, `must be greater than ${issue.inclusive === false ? '' : 'or equal to '}${limit}`);
};

const valueAt = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (inner, segment) =>
      typeof inner === 'object' && inner !== null
        ? (inner as Readonly<Record<PropertyKey, unknown>>)[segment]
        : undefined,
    value,
  );

const isTypeIssue = (issue: Issue): issue is Issue & { code: 'invalid_type' } =>
  issue.code === 'invalid_type' && issue.path.length === 0;

/** Of several forms, the one whose JSON type the value has; when none does, the types that would have been right. */
const unionCauses = (issue: Issue & { code: 'invalid_union' }, at: Place): readonly FieldCause[] => {
  const field = fieldPath(at.path);
  if (at.value === undefined) return [requiredValue(field)];
  const meant = issue.errors.find((issues) => !issues.some(isTypeIssue));
  if (meant) return meant.flatMap((inner) => issueCauses(inner, at));
  return [
    typeInvalid(field, at.value, [
      ...new Set(
        issue.errors
          .flat()
          .filter(isTypeIssue)
          .map(({ expected }) => expected),
      ),
    ]),
  ];
};

interface Place {
  readonly path: Path;
  readonly value: unknown;
}

const issueCauses = (issue: Issue, base: Place): readonly FieldCause[] => {
  const at: Place = { path: [...base.path, ...issue.path], value: valueAt(base.value, issue.path) };
  const { value } = at;
  const field = fieldPath(at.path);
  switch (issue.code) {
    case 'invalid_type':
      return [value === undefined ? requiredValue(field) : typeInvalid(field, value, [issue.expected])];
    case 'invalid_value':
      return [value === undefined ? requiredValue(field) : notSupported(field, value, issue.values)];
    case 'too_big':
      return [tooBig(issue, field, value)];
    case 'too_small':
      return [tooSmall(issue, field, value)];
    case 'unrecognized_keys':
      return issue.keys.map((key) => forbidden(fieldPath([...at.path, key]), 'unknown field'));
    case 'invalid_union':
      return unionCauses(issue, at);
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues.flatMap((inner) => issueCauses(inner, at));
    case 'invalid_format':
    case 'not_multiple_of':
    case 'custom':
      return [invalidValue(field, value, issue.message)];
  }
};

/** What a schema says of a value, in Kubernetes' words. `root` is where the value stands. */
export const causesOf = (error: z.core.$ZodError, root: Path, value: unknown): readonly FieldCause[] => {
  const causes = error.issues.flatMap((issue) => issueCauses(issue, { path: root, value }));
  return [...new Map(causes.map((cause) => [`${cause.field} ${cause.message}`, cause])).values()];
};
