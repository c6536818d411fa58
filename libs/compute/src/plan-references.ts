import type { PlanStep } from '@xenolith/contracts';
import type { JsonObject, JsonValue } from '@xenolith/kernel';

/** Answers of finished steps, by step. */
export type Answers = ReadonlyMap<string, JsonObject>;

interface Reference {
  readonly $from: string;
  readonly path: string;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isReference = (value: unknown): value is Reference =>
  isObject(value) && typeof value['$from'] === 'string' && typeof value['path'] === 'string';

const follow = (answer: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), answer);

/** The value with every `{ "$from", "path" }` in it replaced by what that step answered; what was not answered is left out. */
export const resolveReferences = (value: unknown, answers: Answers): JsonValue | undefined => {
  if (isReference(value)) return follow(answers.get(value.$from), value.path) as JsonValue | undefined;
  if (Array.isArray(value)) return value.map((item) => resolveReferences(item, answers) ?? null);
  if (!isObject(value)) return value as JsonValue | undefined;
  const resolved: Record<string, JsonValue> = {};
  for (const [key, member] of Object.entries(value)) {
    const found = resolveReferences(member, answers);
    if (found !== undefined) resolved[key] = found;
  }
  return resolved;
};

const collect = (value: unknown, found: Reference[]): void => {
  if (isReference(value)) found.push(value);
  else if (Array.isArray(value)) for (const item of value) collect(item, found);
  else if (isObject(value)) for (const member of Object.values(value)) collect(member, found);
};

/** Every reference in a plan, with the step that makes it. */
export const referencesOf = (plan: readonly PlanStep[]): readonly { step: PlanStep; from: string; path: string }[] =>
  plan.flatMap((step) => {
    const found: Reference[] = [];
    collect([step.to, step.data, step.undo?.data], found);
    return found.map((reference) => ({ step, from: reference.$from, path: reference.path }));
  });

/** The part of an answer that some step of the plan refers to: the rest need not enter the log. */
export const neededAnswer = (plan: readonly PlanStep[], name: string, answer: JsonObject): JsonObject => {
  const keys = new Set(
    referencesOf(plan)
      .filter((reference) => reference.from === name)
      .map((reference) => reference.path.split('.')[0] ?? ''),
  );
  return Object.fromEntries(Object.entries(answer).filter(([key]) => keys.has(key)));
};
