import type { KindDefinition } from '@xenolith/contracts';
import { canonicalJson, ok, reject, type JsonObject, type JsonValue, type Result } from '@xenolith/kernel';

/** Lists of metadata that merge, as in Kubernetes' types: owner references by uid, finalizers as a set. */
const METADATA_KEYS: Readonly<Record<string, string>> = { 'metadata.ownerReferences': 'uid' };
const SETS: readonly string[] = ['metadata.finalizers'];

const DIRECTIVE = '$patch';
const DELETE_FROM_LIST = '$deleteFromPrimitiveList/';
const ORDER = '$setElementOrder/';
const RETAIN = '$retainKeys';
const DIRECTIVES: readonly unknown[] = ['replace', 'merge', 'delete'];

type Keys = Readonly<Record<string, string>>;

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const itemsOf = (value: JsonValue | undefined): readonly JsonValue[] =>
  Array.isArray(value) ? (value as readonly JsonValue[]) : [];

interface Place {
  readonly path: string;
  readonly keys: Keys;
}

const memberPlace = (place: Place, name: string): Place => ({
  path: place.path === '' ? name : `${place.path}.${name}`,
  keys: place.keys,
});

const isReplacement = (item: JsonValue): boolean =>
  isObject(item) && item[DIRECTIVE] === 'replace' && Object.keys(item).length === 1;

/** What is wrong with a patch's form; null: nothing. After this check merging cannot fail. */
const faultOf = (patch: JsonValue | undefined, place: Place): string | null => {
  if (Array.isArray(patch)) {
    const key = place.keys[place.path];
    const items = patch as readonly JsonValue[];
    const keyless = key !== undefined && items.some((item) => !isReplacement(item) && !(isObject(item) && key in item));
    if (keyless) return `each item of ${place.path} must have "${key}"`;
    return items.map((item) => faultOf(item, place)).find((fault) => fault !== null) ?? null;
  }
  if (!isObject(patch)) return null;
  for (const [name, value] of Object.entries(patch)) {
    if (name === DIRECTIVE && !DIRECTIVES.includes(value)) return `$patch must be replace, merge or delete`;
    const needsList = name === RETAIN || name.startsWith(DELETE_FROM_LIST) || name.startsWith(ORDER);
    if (needsList && !Array.isArray(value)) return `${name} must be a list`;
    const fault = name.startsWith('$') ? null : faultOf(value, memberPlace(place, name));
    if (fault !== null) return fault;
  }
  return null;
};

/** Items by their key: a patched one merges with the live one, `$patch: delete` removes it, new ones go to the end. */
const mergeKeyed = (
  live: readonly JsonValue[],
  patch: readonly JsonValue[],
  place: Place & { key: string },
): readonly JsonValue[] => {
  const { key } = place;
  if (patch.some(isReplacement)) return patch.filter((item) => !isReplacement(item));
  const merged = [...live];
  for (const item of patch) {
    if (!isObject(item)) continue;
    const at = merged.findIndex((other) => isObject(other) && other[key] === item[key]);
    if (item[DIRECTIVE] === 'delete') {
      if (at >= 0) merged.splice(at, 1);
    } else if (at >= 0) merged[at] = mergeValue(merged[at], item, place);
    else merged.push(mergeValue(undefined, item, place));
  }
  return merged;
};

const inOrder = (items: readonly JsonValue[], order: readonly JsonValue[], key?: string): readonly JsonValue[] => {
  const nameOf = (item: JsonValue): string =>
    canonicalJson(key !== undefined && isObject(item) ? (item[key] ?? null) : item);
  const ranks = new Map(order.map((item, index) => [nameOf(item), index]));
  const rank = (item: JsonValue): number => ranks.get(nameOf(item)) ?? order.length;
  return items.toSorted((left, right) => rank(left) - rank(right));
};

const mergeList = (live: JsonValue | undefined, patch: readonly JsonValue[], place: Place): JsonValue => {
  const key = place.keys[place.path];
  const current = itemsOf(live);
  if (key !== undefined) return mergeKeyed(current, patch, { ...place, key });
  if (!SETS.includes(place.path)) return patch;
  return [...current, ...patch.filter((item) => !current.includes(item))];
};

type Members = Map<string, JsonValue | undefined>;

/** The directives that stand beside the members that they are about. */
const followDirectives = (members: Members, patch: JsonObject, place: Place): void => {
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith(DELETE_FROM_LIST)) {
      const field = name.slice(DELETE_FROM_LIST.length);
      const gone = itemsOf(value);
      if (members.has(field))
        members.set(
          field,
          itemsOf(members.get(field)).filter((item) => !gone.includes(item)),
        );
    } else if (name.startsWith(ORDER)) {
      const field = name.slice(ORDER.length);
      const key = place.keys[memberPlace(place, field).path];
      if (members.has(field)) members.set(field, inOrder(itemsOf(members.get(field)), itemsOf(value), key));
    } else if (name === RETAIN) {
      const retained = itemsOf(value);
      for (const member of members.keys()) if (!retained.includes(member)) members.delete(member);
    }
  }
};

const mergeObject = (live: JsonObject, patch: JsonObject, place: Place): JsonObject => {
  const members: Members = new Map(Object.entries(live));
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith('$')) continue;
    if (value === null) members.delete(name);
    else if (value !== undefined) members.set(name, mergeValue(members.get(name), value, memberPlace(place, name)));
  }
  followDirectives(members, patch, place);
  return Object.fromEntries(members);
};

const mergeValue = (live: JsonValue | undefined, patch: JsonValue, place: Place): JsonValue => {
  if (Array.isArray(patch)) return mergeList(live, patch as readonly JsonValue[], place);
  if (!isObject(patch)) return patch;
  if (patch[DIRECTIVE] === 'delete') return {};
  const base = patch[DIRECTIVE] !== 'replace' && isObject(live) ? live : {};
  return mergeObject(base, patch, place);
};

/**
 * Strategic merge patch: merge patch, with the lists that have keys merged by them, and the directives `$patch`, `$deleteFromPrimitiveList`,
 * `$setElementOrder` and `$retainKeys` (Kubernetes, "Update API objects in place using kubectl patch"). Refusal: `request_malformed`.
 */
export const strategicMergePatch = (kind: KindDefinition, target: JsonObject, patch: unknown): Result<JsonObject> => {
  if (!isObject(patch as JsonValue)) return reject('request_malformed', 'a strategic merge patch must be an object');
  const ownKeys = Object.entries(kind.listMapKeys ?? {}).flatMap(([path, [key]]): [string, string][] =>
    key === undefined ? [] : [[path, key]],
  );
  const place: Place = { path: '', keys: { ...METADATA_KEYS, ...Object.fromEntries(ownKeys) } };
  const fault = faultOf(patch as JsonObject, place);
  return fault === null ? ok(mergeObject(target, patch as JsonObject, place)) : reject('request_malformed', fault);
};
