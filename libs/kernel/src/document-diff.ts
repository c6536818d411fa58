import { sameJson, type JsonObject, type JsonValue } from './json.js';

/** One difference between two documents, at a JSON pointer (RFC 6901). */
export interface FieldChange {
  readonly op: 'add' | 'remove' | 'replace';
  readonly path: string;
  readonly from?: JsonValue;
  readonly value?: JsonValue;
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isList = (value: JsonValue | undefined): value is readonly JsonValue[] => Array.isArray(value);

const escaped = (member: string): string => member.replaceAll('~', '~0').replaceAll('/', '~1');

/** Tells nobody anything: which fields a client's tool owns, and the version, which is the event's own position. */
const UNTOLD: readonly string[] = ['/metadata/managedFields', '/metadata/resourceVersion'];

function* between(path: string, from: JsonValue | undefined, value: JsonValue | undefined): Generator<FieldChange> {
  if (UNTOLD.includes(path) || sameJson(from ?? null, value ?? null)) return;
  if (isObject(from) && isObject(value)) {
    for (const member of new Set([...Object.keys(from), ...Object.keys(value)]))
      yield* between(`${path}/${escaped(member)}`, from[member], value[member]);
  } else if (isList(from) && isList(value) && from.length === value.length) {
    for (const [index, item] of from.entries()) yield* between(`${path}/${index}`, item, value[index]);
  } else if (from === undefined) yield { op: 'add', path, value: value ?? null };
  else if (value === undefined) yield { op: 'remove', path, from };
  else yield { op: 'replace', path, from, value };
}

/** What changed from one document to the next; whole when there was none before, or is none after. */
export const documentDiff = (before: JsonObject | null, after: JsonObject | null): readonly FieldChange[] => {
  if (before === null && after === null) return [];
  if (before === null) return [{ op: 'add', path: '', value: after }];
  if (after === null) return [{ op: 'remove', path: '', from: before }];
  return [...between('', before, after)];
};

/** The value at `spec.nics[0].mac` or `status.conditions[Ready].reason`; undefined: there is none. */
export const fieldAt = (document: JsonObject | null, field: string): JsonValue | undefined => {
  let value: JsonValue | undefined = document ?? undefined;
  for (const step of fieldSteps(field)) {
    if (isList(value)) value = listed(value, step);
    else if (isObject(value)) value = value[step];
    else return undefined;
  }
  return value;
};

/** Elements of a list by their place, or by what names them. */
const listed = (list: readonly JsonValue[], step: string): JsonValue | undefined =>
  /^\d+$/.test(step)
    ? list[Number(step)]
    : list.find((item) => isObject(item) && (item['name'] === step || item['type'] === step));

/** `a.b[c].d` as its steps. */
export const fieldSteps = (field: string): readonly string[] =>
  [...field.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)].map(([, inBrackets, plain]) => inBrackets ?? plain ?? '');
