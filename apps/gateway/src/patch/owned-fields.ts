import { contentMembers, contentOf, type KindDefinition } from '@xenolith/contracts';
import { canonicalJson, sameJson, type JsonObject, type JsonValue } from '@xenolith/kernel';
import { z } from 'zod';
import { ANYTHING, isRecord, shapeFor, specShapeOf, type Shape } from '../schema/shape.js';
import { EMPTY_SET, LEAF, nodeOf, union, type FieldSet } from './field-set.js';

const SCALAR: Shape = { type: 'scalar', quantity: false };

/** Of metadata only what clients decide on has owners; an owner reference is one value. */
const OWNED_METADATA: Shape & { readonly type: 'struct' } = {
  type: 'struct',
  open: false,
  fields: new Map<string, Shape>([
    ['generateName', SCALAR],
    ['labels', { type: 'map', values: SCALAR }],
    ['annotations', { type: 'map', values: SCALAR }],
    ['finalizers', { type: 'set' }],
    ['ownerReferences', { type: 'keyed', keys: ['uid'], items: SCALAR }],
  ]),
};

const shapes = new WeakMap<KindDefinition, Shape>();

/** The shape of what has owners in an object of a kind: some of metadata, and the spec. */
export const ownedShapeOf = (kind: KindDefinition): Shape => {
  const known = shapes.get(kind);
  if (known) return known;
  const content = specShapeOf(kind);
  const fields = new Map<string, Shape>([['metadata', OWNED_METADATA]]);
  if (kind.content !== 'top') fields.set('spec', content);
  else if (content.type === 'struct') for (const [name, field] of content.fields) fields.set(name, field);
  const shape: Shape = { type: 'struct', open: false, fields };
  shapes.set(kind, shape);
  return shape;
};

/** One part of a value: its path element, its shape, whether the schema names it, and the value. */
export interface Part {
  readonly element: string;
  readonly shape: Shape;
  readonly named: boolean;
  readonly value: unknown;
}

const keyElement = (keys: readonly string[], item: unknown): string =>
  `k:${canonicalJson(Object.fromEntries(keys.map((key) => [key, (isRecord(item) ? item[key] : undefined) ?? null])))}`;

const memberParts = (
  value: Readonly<Record<string, unknown>>,
  shapeOfMember: (name: string) => Shape | undefined,
  named: boolean,
): readonly Part[] =>
  Object.entries(value).flatMap(([name, member]) => {
    const shape = shapeOfMember(name);
    return shape && member !== undefined ? [{ element: `f:${name}`, shape, named, value: member }] : [];
  });

const structParts = (shape: Shape & { type: 'struct' }, value: Readonly<Record<string, unknown>>): readonly Part[] => [
  ...memberParts(value, (name) => shape.fields.get(name), true),
  ...(shape.open ? memberParts(value, (name) => (shape.fields.has(name) ? undefined : ANYTHING), false) : []),
];

/** The parts of a value that merge each for itself; null when it is one value as a whole. */
export const partsOf = (shape: Shape, value: unknown): readonly Part[] | null => {
  const fitting = shapeFor(shape, value);
  switch (fitting.type) {
    case 'struct':
      return isRecord(value) ? structParts(fitting, value) : null;
    case 'map':
      return isRecord(value) ? memberParts(value, () => fitting.values, false) : null;
    case 'anything':
      return isRecord(value) ? memberParts(value, () => ANYTHING, false) : null;
    case 'keyed':
      if (!Array.isArray(value)) return null;
      return value.map((item: unknown) => ({
        element: keyElement(fitting.keys, item),
        shape: fitting.items,
        named: false,
        value: item,
      }));
    case 'set':
      if (!Array.isArray(value)) return null;
      return value.map((item: unknown) => ({
        element: `v:${canonicalJson(item)}`,
        shape: SCALAR,
        named: false,
        value: item,
      }));
    case 'scalar':
    case 'list':
    case 'either':
      return null;
  }
};

/** The fields that a configuration states: its leaves, and each item and key that the schema does not name. */
export const statedFields = (shape: Shape, value: unknown): FieldSet => {
  const parts = partsOf(shape, value);
  if (parts === null || parts.length === 0) return LEAF;
  return nodeOf(
    parts.map((part) => {
      const stated = statedFields(part.shape, part.value);
      return [part.element, part.named ? stated : union(stated, LEAF)];
    }),
  );
};

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

const SAME: Comparison = { added: EMPTY_SET, modified: EMPTY_SET, removed: EMPTY_SET };

/** A value with all that is in it, as when it comes or goes as a whole. */
const everyField = (shape: Shape, value: unknown): FieldSet => {
  const parts = partsOf(shape, value);
  if (parts === null || parts.length === 0) return LEAF;
  return nodeOf(
    parts.map((part) => [part.element, everyField(part.shape, part.value)]),
    true,
  );
};

/** What differs between two values of a shape. A container that comes or goes is itself in the answer, with all that is in it. */
export const compareFields = (shape: Shape, before: unknown, after: unknown): Comparison => {
  if (before === undefined) return after === undefined ? SAME : { ...SAME, added: everyField(shape, after) };
  if (after === undefined) return { ...SAME, removed: everyField(shape, before) };
  const left = partsOf(shape, before);
  const right = partsOf(shape, after);
  if (left === null || right === null || (left.length === 0 && right.length === 0))
    return sameJson(before, after) ? SAME : { ...SAME, modified: LEAF };
  const beforeParts = new Map(left.map((part) => [part.element, part]));
  const afterParts = new Map(right.map((part) => [part.element, part]));
  const compared: [string, Comparison][] = [];
  for (const part of afterParts.values()) {
    const counterpart = beforeParts.get(part.element);
    compared.push([part.element, compareFields(part.shape, counterpart?.value, part.value)]);
  }
  for (const part of beforeParts.values()) {
    if (!afterParts.has(part.element)) compared.push([part.element, compareFields(part.shape, part.value, undefined)]);
  }
  const gather = (which: keyof Comparison): FieldSet =>
    nodeOf(compared.map(([element, comparison]) => [element, comparison[which]]));
  return { added: gather('added'), modified: gather('modified'), removed: gather('removed') };
};

/** The set with every container that the schema names and that has members below it: so that a container goes when all in it goes. */
export const withNamedContainers = (shape: Shape, value: unknown, set: FieldSet): FieldSet => {
  const parts = new Map((partsOf(shape, value) ?? []).map((part) => [part.element, part]));
  return nodeOf(
    [...set.children].map(([element, child]) => {
      const part = parts.get(element);
      if (!part) return [element, child];
      const below = withNamedContainers(part.shape, part.value, child);
      return [element, part.named && child.children.size > 0 ? union(below, LEAF) : below];
    }),
    set.self,
  );
};

/** A value in its normal form: of several forms of one thing the one that is stored, quantities as text, nulls left out. */
export const normalForm = (shape: Shape, value: unknown): unknown => {
  if (shape.type === 'either' && !isRecord(value)) {
    const parsed = z.safeParse(shape.schema, typeof value === 'number' ? String(value) : value);
    return parsed.success ? parsed.data : value;
  }
  const fitting = shapeFor(shape, value);
  if (fitting.type === 'scalar') return fitting.quantity && typeof value === 'number' ? String(value) : value;
  if (Array.isArray(value))
    return fitting.type === 'keyed' || fitting.type === 'list'
      ? value.map((item: unknown) => normalForm(fitting.items, item))
      : value;
  if (!isRecord(value) || fitting.type === 'anything') return value;
  const members = Object.entries(value).filter(([, member]) => member !== null && member !== undefined);
  return Object.fromEntries(
    members.map(([name, member]) => {
      if (fitting.type === 'map') return [name, normalForm(fitting.values, member)];
      const field = fitting.type === 'struct' ? fitting.fields.get(name) : undefined;
      return [name, field ? normalForm(field, member) : member];
    }),
  );
};

const hasContent = (value: unknown): boolean =>
  typeof value !== 'object' || value === null || Object.keys(value).length > 0;

/** The part of an object that has owners. Empty maps and lists of metadata count as absent, as documents leave them out. */
export const ownedPart = (kind: KindDefinition, object: JsonObject): JsonObject => {
  const { metadata } = object;
  const content = contentOf(kind, object);
  const owned = Object.entries(isRecord(metadata) ? metadata : {}).filter(
    ([name, value]) => OWNED_METADATA.fields.has(name) && hasContent(value),
  );
  return {
    metadata: Object.fromEntries<JsonValue>(owned as [string, JsonValue][]),
    ...(content !== undefined && contentMembers(kind, content)),
  };
};

/** True for the members of metadata that have owners. */
export const isOwnedMetadata = (name: string): boolean => OWNED_METADATA.fields.has(name);
