import { fieldPath } from './causes.js';
import { ANYTHING, isRecord, shapeFor, type Shape } from './shape.js';

type Path = readonly (string | number)[];

interface Pruning {
  /** Paths of fields that the schema does not know. */
  readonly unknown: string[];
}

const pruneStruct = (
  shape: Shape & { type: 'struct' },
  value: Readonly<Record<string, unknown>>,
  at: Path,
  pruning: Pruning,
): unknown => {
  const kept: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    const field = shape.fields.get(name) ?? (shape.open ? ANYTHING : undefined);
    if (!field) pruning.unknown.push(fieldPath([...at, name]));
    else if (member !== null && member !== undefined) kept.push([name, pruneAt(field, member, [...at, name], pruning)]);
  }
  return Object.fromEntries(kept);
};

const pruneAt = (shape: Shape, value: unknown, at: Path, pruning: Pruning): unknown => {
  const fitting = shapeFor(shape, value);
  switch (fitting.type) {
    case 'struct':
      return isRecord(value) ? pruneStruct(fitting, value, at, pruning) : value;
    case 'map':
      if (!isRecord(value)) return value;
      return Object.fromEntries(
        Object.entries(value).map(([key, member]) => [key, pruneAt(fitting.values, member, [...at, key], pruning)]),
      );
    case 'keyed':
    case 'list':
      if (!Array.isArray(value)) return value;
      return value.map((item, index) => pruneAt(fitting.items, item, [...at, index], pruning));
    case 'scalar':
      return fitting.quantity && typeof value === 'number' ? String(value) : value;
    case 'set':
    case 'anything':
    case 'either':
      return value;
  }
};

/**
 * The value without the fields that its schema does not know, which are named, and without nulls, which Kubernetes counts as absent. Quantities that
 * came as bare numbers become text.
 */
export const prune = (
  shape: Shape,
  value: unknown,
  at: Path,
): { readonly value: unknown; readonly unknown: readonly string[] } => {
  const pruning: Pruning = { unknown: [] };
  return { value: pruneAt(shape, value, at, pruning), unknown: pruning.unknown };
};

/** Where a keyed list names one key twice: the path of the second item's key, and the key. */
export const duplicateKeys = (shape: Shape, value: unknown, at: Path): readonly { field: string; value: string }[] => {
  const fitting = shapeFor(shape, value);
  if (fitting.type === 'struct' && isRecord(value))
    return [...fitting.fields].flatMap(([name, field]) => duplicateKeys(field, value[name], [...at, name]));
  if (fitting.type !== 'keyed' || !Array.isArray(value)) return [];
  const seen = new Set<string>();
  const found: { field: string; value: string }[] = [];
  value.forEach((item: unknown, index) => {
    if (!isRecord(item)) return;
    const key = JSON.stringify(fitting.keys.map((name) => item[name] ?? null));
    const [first = ''] = fitting.keys;
    const path = fitting.keys.length === 1 ? [...at, index, first] : [...at, index];
    if (seen.has(key)) found.push({ field: fieldPath(path), value: String(item[first]) });
    seen.add(key);
    found.push(...duplicateKeys(fitting.items, item, [...at, index]));
  });
  return found;
};
