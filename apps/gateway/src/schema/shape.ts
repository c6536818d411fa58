import { quantity, type KindDefinition } from '@xenolith/contracts';
import type { z } from 'zod';

/**
 * The structure of an object as merging, pruning and field ownership see it: which members are known, which lists are maps by key. It is read off
 * the zod schema, so that there is one description of a kind.
 */
export type Shape =
  | { readonly type: 'scalar'; readonly quantity: boolean }
  /** Free JSON: members of objects stand alone, lists are one value. */
  | { readonly type: 'anything' }
  /** Named fields; `open` ones may have others, which are free JSON. */
  | { readonly type: 'struct'; readonly fields: ReadonlyMap<string, Shape>; readonly open: boolean }
  | { readonly type: 'map'; readonly values: Shape }
  /** Items that merge by the values of `keys`. */
  | { readonly type: 'keyed'; readonly keys: readonly string[]; readonly items: Shape }
  /** A set of scalars. */
  | { readonly type: 'set' }
  /** One value as far as merging goes; `items` is for pruning. */
  | { readonly type: 'list'; readonly items: Shape }
  /** Several forms of one thing; `schema` turns each into the normal one. */
  | { readonly type: 'either'; readonly options: readonly Shape[]; readonly schema: z.core.$ZodType };

export const ANYTHING: Shape = { type: 'anything' };
const SCALAR: Shape = { type: 'scalar', quantity: false };
const QUANTITY: Shape = { type: 'scalar', quantity: true };

/** Nesting of a schema beyond this is a defect: contracts have no recursive kinds. */
const MAX_DEPTH = 32;

const patternsOf = (schema: z.core.$ZodType): readonly string[] => {
  const { checks = [] } = schema._zod.def;
  return checks.flatMap((check) => {
    const { def } = check._zod;
    return 'pattern' in def && def.pattern instanceof RegExp ? [def.pattern.source] : [];
  });
};

const [QUANTITY_PATTERN] = patternsOf(quantity);

const structOf = (schema: z.core.$ZodObject, walk: Walk): Shape => {
  const fields = Object.entries(schema._zod.def.shape).map(([name, field]): [string, Shape] => [
    name,
    shapeAt(field, { ...walk, path: [...walk.path, name] }),
  ]);
  const { catchall } = schema._zod.def;
  return {
    type: 'struct',
    fields: new Map(fields),
    open: catchall !== undefined && catchall._zod.def.type !== 'never',
  };
};

interface Walk {
  readonly path: readonly string[];
  readonly keys: Readonly<Record<string, readonly string[]>>;
  /** Paths of lists of scalars that are sets. */
  readonly sets: ReadonlySet<string>;
}

const listOf = (element: z.core.$ZodType, walk: Walk): Shape => {
  const path = walk.path.join('.');
  const items = shapeAt(element, walk);
  const keys = walk.keys[path];
  if (keys) return { type: 'keyed', keys, items };
  return walk.sets.has(path) ? { type: 'set' } : { type: 'list', items };
};

const shapeAt = (schema: z.core.$ZodType, walk: Walk): Shape => {
  if (walk.path.length > MAX_DEPTH) return ANYTHING;
  const { def } = (schema as z.core.$ZodTypes)._zod;
  // Optional, default, nullable and their like wrap what they make optional.
  if ('innerType' in def) return shapeAt(def.innerType, walk);
  if (def.type === 'pipe') return shapeAt(def.in._zod.def.type === 'transform' ? def.out : def.in, walk);
  if (def.type === 'object') return structOf(schema as z.core.$ZodObject, walk);
  if (def.type === 'record') return { type: 'map', values: shapeAt(def.valueType, walk) };
  if (def.type === 'array') return listOf(def.element, walk);
  if (def.type === 'union')
    return { type: 'either', options: def.options.map((option) => shapeAt(option, walk)), schema };
  if (def.type === 'unknown' || def.type === 'any') return ANYTHING;
  return def.type === 'string' && patternsOf(schema).includes(QUANTITY_PATTERN ?? '') ? QUANTITY : SCALAR;
};

/** The shape of a schema; `path` is where it stands in the object, for the keys of its lists. */
export const shapeOf = (
  schema: z.core.$ZodType,
  lists: { path: string; keys?: Walk['keys']; sets?: readonly string[] },
): Shape =>
  shapeAt(schema, {
    path: lists.path === '' ? [] : lists.path.split('.'),
    keys: lists.keys ?? {},
    sets: new Set(lists.sets ?? []),
  });

const specShapes = new WeakMap<KindDefinition, Shape>();

/** The shape of a kind's spec, read off once. */
export const specShapeOf = (kind: KindDefinition): Shape => {
  const known = specShapes.get(kind);
  if (known) return known;
  const path = kind.content === 'top' ? '' : 'spec';
  const shape = shapeOf(kind.spec, { path, ...(kind.listMapKeys && { keys: kind.listMapKeys }) });
  specShapes.set(kind, shape);
  return shape;
};

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isContainer = (shape: Shape): boolean =>
  shape.type === 'struct' || shape.type === 'map' || shape.type === 'anything';
const isList = (shape: Shape): boolean => shape.type === 'list' || shape.type === 'keyed' || shape.type === 'set';

/** The shape that fits the value: of several forms the one of its JSON type. */
export const shapeFor = (shape: Shape, value: unknown): Shape => {
  if (shape.type !== 'either') return shape;
  const fits = isRecord(value)
    ? isContainer
    : Array.isArray(value)
      ? isList
      : (option: Shape) => option.type === 'scalar';
  const found = shape.options.find(fits) ?? SCALAR;
  return shapeFor(found, value);
};
