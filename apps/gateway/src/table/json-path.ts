import { assert, type JsonValue } from '@xenolith/kernel';

/** What one step of a path yields for one value: none, one or several values. */
type Step = (value: unknown) => readonly unknown[];

/** A compiled path: the first value that it finds, undefined when there is none. */
export type JsonPath = (object: unknown) => JsonValue | undefined;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const memberStep =
  (name: string): Step =>
  (value) =>
    isRecord(value) && value[name] !== undefined ? [value[name]] : [];

const indexStep =
  (index: number): Step =>
  (value) => {
    if (!Array.isArray(value)) return [];
    const item: unknown = value.at(index);
    return item === undefined ? [] : [item];
  };

const everyStep: Step = (value) => {
  if (Array.isArray(value)) return value as readonly unknown[];
  return isRecord(value) ? Object.values(value) : [];
};

const filterStep = (field: string, wanted: string): Step => {
  const at = compileJsonPath(field);
  return (value) => {
    if (!Array.isArray(value)) return [];
    return (value as readonly unknown[]).filter((item) => {
      const found = at(item);
      return found !== null && typeof found !== 'object' && String(found) === wanted;
    });
  };
};

const TOKEN =
  /\.((?:\\.|[^.[\]\\])+)|\[(-?\d+)\]|\[\*\]|\['([^']*)'\]|\[\?\(@((?:\.[^.=[\]()"' ]+)+)\s*==\s*["']([^"']*)["']\)\]/y;

const stepOf = (match: RegExpExecArray): Step => {
  const [, name, index, quoted, filterField, filterValue] = match;
  if (name !== undefined) return name === '*' ? everyStep : memberStep(name.replaceAll(/\\(.)/g, '$1'));
  if (index !== undefined) return indexStep(Number(index));
  if (quoted !== undefined) return memberStep(quoted);
  if (filterField !== undefined && filterValue !== undefined) return filterStep(filterField, filterValue);
  return everyStep;
};

/**
 * Compiles the part of JSONPath that columns use: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`; a dot within a name is written
 * `\.`. Paths are ours, so a malformed one is a defect.
 */
export const compileJsonPath = (path: string): JsonPath => {
  const steps: Step[] = [];
  const pattern = new RegExp(TOKEN);
  while (pattern.lastIndex < path.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(path);
    assert(match !== null, `JSONPath "${path}" cannot be read from character ${at} on`);
    steps.push(stepOf(match));
  }
  return (object) => {
    let values: readonly unknown[] = [object];
    for (const step of steps) {
      const [only] = values;
      values = values.length === 1 ? step(only) : values.flatMap((value) => step(value));
      if (values.length === 0) return undefined;
    }
    return values[0] as JsonValue;
  };
};
