import type { JsonObject } from '@xenolith/kernel';

/**
 * A set of fields of an object, as a tree. Elements of paths are those of Kubernetes' FieldsV1: `f:<name>` for a member, `k:<keys>` for the item of a keyed
 * list, `v:<value>` for the member of a set. `self` says that the node itself is in the set, beside what is below it.
 */
export interface FieldSet {
  readonly self: boolean;
  readonly children: ReadonlyMap<string, FieldSet>;
}

export const EMPTY_SET: FieldSet = { self: false, children: new Map() };
export const LEAF: FieldSet = { self: true, children: new Map() };

export const isEmptySet = (set: FieldSet): boolean => !set.self && set.children.size === 0;

const node = (self: boolean, children: Iterable<readonly [string, FieldSet]>): FieldSet => {
  const kept = new Map<string, FieldSet>();
  for (const [element, child] of children) if (!isEmptySet(child)) kept.set(element, child);
  return { self, children: kept };
};

/** A node with these children; empty ones vanish. */
export const nodeOf = (children: Iterable<readonly [string, FieldSet]>, self = false): FieldSet => node(self, children);

export const union = (left: FieldSet, right: FieldSet): FieldSet => {
  if (isEmptySet(left)) return right;
  if (isEmptySet(right)) return left;
  const names = new Set([...left.children.keys(), ...right.children.keys()]);
  return node(
    left.self || right.self,
    [...names].map((name) => [
      name,
      union(left.children.get(name) ?? EMPTY_SET, right.children.get(name) ?? EMPTY_SET),
    ]),
  );
};

export const intersection = (left: FieldSet, right: FieldSet): FieldSet =>
  node(
    left.self && right.self,
    [...left.children].map(([name, child]) => [name, intersection(child, right.children.get(name) ?? EMPTY_SET)]),
  );

/** What is in `left` and not in `right`; a node in `right` takes away itself only, not what is below it. */
export const difference = (left: FieldSet, right: FieldSet): FieldSet =>
  node(
    left.self && !right.self,
    [...left.children].map(([name, child]) => [name, difference(child, right.children.get(name) ?? EMPTY_SET)]),
  );

export const sameSet = (left: FieldSet, right: FieldSet): boolean =>
  left.self === right.self &&
  left.children.size === right.children.size &&
  [...left.children].every(([name, child]) => {
    const other = right.children.get(name);
    return other !== undefined && sameSet(child, other);
  });

/** A path element as Kubernetes prints it: `.name`, `[name="root"]`, `[="value"]`. */
const elementText = (element: string): string => {
  const content = element.slice(2);
  if (element.startsWith('f:')) return `.${content}`;
  if (element.startsWith('v:')) return `[=${content}]`;
  if (!element.startsWith('k:')) return `[${content}]`;
  const keys = Object.entries(JSON.parse(content) as JsonObject);
  return `[${keys.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}]`;
};

/** The members' paths in Kubernetes' form, such as `.spec.disks[name="root"].size`. */
export const pathsOf = (set: FieldSet, at = ''): readonly string[] => [
  ...(set.self ? [at] : []),
  ...[...set.children].flatMap(([element, child]) => pathsOf(child, `${at}${elementText(element)}`)),
];

/** FieldsV1: a member without children is `{}`, one with children has `"."`. */
export const encodeFields = (set: FieldSet): JsonObject => {
  const children = [...set.children]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([element, child]): [string, JsonObject] => [element, encodeFields(child)]);
  return Object.fromEntries(set.self && children.length > 0 ? [['.', {}], ...children] : children);
};

const ELEMENT = /^(?:f:|v:|i:|k:\{)/;

const isKeyText = (element: string): boolean => {
  if (!element.startsWith('k:')) return true;
  try {
    const keys: unknown = JSON.parse(element.slice(2));
    return typeof keys === 'object' && keys !== null;
  } catch {
    return false;
  }
};

const decodeNode = (fields: unknown): FieldSet => {
  if (typeof fields !== 'object' || fields === null) return LEAF;
  const entries = Object.entries(fields);
  const children = entries
    .filter(([element]) => ELEMENT.test(element) && isKeyText(element))
    .map(([element, child]): [string, FieldSet] => [element, decodeNode(child)]);
  return node('.' in fields || children.length === 0, children);
};

/** Reads FieldsV1; elements that it does not know are left out, as clients may write what they like. */
export const decodeFields = (fields: unknown): FieldSet => ({ ...decodeNode(fields), self: false });
