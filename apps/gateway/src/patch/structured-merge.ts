import type { Shape } from '../schema/shape.js';
import { isRecord, shapeFor } from '../schema/shape.js';
import { EMPTY_SET, type FieldSet } from './field-set.js';
import { partsOf, type Part } from './owned-fields.js';

const mergeRecords = (
  shape: Shape,
  live: Readonly<Record<string, unknown>>,
  applied: Readonly<Record<string, unknown>>,
): unknown => {
  const shapes = new Map((partsOf(shape, { ...live, ...applied }) ?? []).map((part) => [part.element, part.shape]));
  const merged = new Map(Object.entries(live));
  for (const [name, value] of Object.entries(applied)) {
    const member = shapes.get(`f:${name}`);
    merged.set(name, member ? structuredMerge(member, merged.get(name), value) : value);
  }
  return Object.fromEntries(merged);
};

/**
 * Items of both lists: those of `applied` in its order, each merged with the live one of its key; the others of `live` keep their place before the item
 * that they stood before.
 */
const mergeItems = (live: readonly Part[], applied: readonly Part[]): unknown => {
  const liveItems = new Map(live.map((part) => [part.element, part]));
  const appliedElements = new Set(applied.map(({ element }) => element));
  const taken = new Set<string>();
  const merged: unknown[] = [];
  let next = 0;
  /** Up to the next live item that `applied` has too and that has not come yet. */
  const takeOthers = (): void => {
    for (let part = live[next]; part; part = live[next]) {
      if (appliedElements.has(part.element) && !taken.has(part.element)) return;
      if (!appliedElements.has(part.element)) merged.push(part.value);
      next += 1;
    }
  };
  for (const part of applied) {
    takeOthers();
    const counterpart = liveItems.get(part.element);
    merged.push(counterpart ? structuredMerge(part.shape, counterpart.value, part.value) : part.value);
    taken.add(part.element);
  }
  takeOthers();
  return merged;
};

/** `applied` over `live`: containers merge member by member, keyed lists and sets item by item, everything else is replaced. */
export const structuredMerge = (shape: Shape, live: unknown, applied: unknown): unknown => {
  if (live === undefined || live === null) return applied;
  const fitting = shapeFor(shape, applied);
  if (isRecord(live) && isRecord(applied) && partsOf(fitting, applied) !== null)
    return mergeRecords(fitting, live, applied);
  const liveItems = Array.isArray(live) ? partsOf(fitting, live) : null;
  const appliedItems = Array.isArray(applied) ? partsOf(fitting, applied) : null;
  return liveItems && appliedItems ? mergeItems(liveItems, appliedItems) : applied;
};

/** The value without the members of `set`, each with all that is below it; undefined when the value itself is one. */
export const withoutFields = (shape: Shape, value: unknown, set: FieldSet): unknown => {
  if (set.self) return undefined;
  if (set.children.size === 0) return value;
  const parts = partsOf(shape, value);
  if (parts === null) return value;
  const kept = parts.flatMap((part) => {
    const inner = withoutFields(part.shape, part.value, set.children.get(part.element) ?? EMPTY_SET);
    return inner === undefined ? [] : [{ element: part.element, value: inner }];
  });
  if (Array.isArray(value)) return kept.map((part) => part.value);
  const gone = new Set(parts.map(({ element }) => element.slice(2)));
  const untouched = Object.entries(value as Readonly<Record<string, unknown>>).filter(([name]) => !gone.has(name));
  return Object.fromEntries([
    ...untouched,
    ...kept.map((part): [string, unknown] => [part.element.slice(2), part.value]),
  ]);
};
